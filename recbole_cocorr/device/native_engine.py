"""A session's clicks by the native library: CoCorrRec alone."""

import ctypes

import numpy as np

from recbole_cocorr.artifact.manifest import POLICIES
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.correction import Correction
from recbole_cocorr.device.engine import most_recent
from recbole_cocorr.device.native_library import ARRAYS, Parts, check, library
from recbole_cocorr.device.state import Snapshot

_TABLES = ("fp32", "fp16", "int8")


def runs_natively(artifact: Artifact) -> bool:
    """Whether the library is there, and the artifact holds weights for it and nothing that it does not know."""
    return "native" in artifact.arrays and not _unknown(artifact) and library() is not None


def _unknown(artifact: Artifact) -> bool:
    """Whether something is added to the scores that the library does not add."""
    return any(name.startswith("popular_") for name in artifact.arrays)


class NativeEngine:
    """:class:`~recbole_cocorr.device.engine.Engine` on the native library.

    Parameters
    ----------
    artifact : Artifact
        With the array ``native``.
    policy : {"carry", "window"}

    Raises
    ------
    UserError
        If the library is not there, or refuses the artifact.
    """

    def __init__(self, artifact: Artifact, policy: str):
        manifest = artifact.manifest
        self.artifact, self.policy = artifact, policy
        self._library = library()
        if self._library is None:
            raise UserError(
                "the native runtime is not here: no library was built with the package; runtime='onnx' runs without it"
            )
        if _unknown(artifact):
            raise UserError(f"{artifact.folder} adds popularity to scores, which runtime='onnx' does alone")
        if "native" not in artifact.arrays:
            raise UserError(
                f"{artifact.folder} holds no weights for the native runtime, which runs CoCorrRec as this version "
                "exports it; use runtime='onnx', or export the model again"
            )
        self.clicks = 0
        # The arrays that are mapped stay with the artifact, and the memory of model and session here.
        self._parts = _parts_of(artifact)
        self._model = np.zeros(self._library.cocorr_model_bytes() // 8 + 1, np.uint64)
        model = self._model.ctypes.data
        self._check(self._library.cocorr_open_parts(model, ctypes.addressof(self._parts)))
        self.state_shape = artifact.initial_state.shape
        size = self._library.cocorr_session_bytes(model)
        if not size:
            raise UserError(f"a session of {artifact.folder} would need more than 1 GiB")
        self._check_sizes()
        self._memory = np.zeros(size // 8 + 1, np.uint64)
        session = ctypes.c_void_p()
        number = POLICIES.index(policy)
        memory = self._memory.ctypes.data
        self._check(self._library.cocorr_start(ctypes.addressof(session), model, number, memory, size))
        self._session = session.value
        self._click = self._library.cocorr_click
        start = (self._library.cocorr_user(self._session) - memory) // 4
        self.user = self._memory.view(np.float32)[start : start + manifest.width]
        self._matches = ctypes.c_uint64()

    def _check(self, status: int) -> None:
        check(self._library, status, self.artifact.folder)

    def _check_sizes(self) -> None:
        """The library's sizes are those of the manifest, which arrays on this side are made by."""
        manifest = self.artifact.manifest
        words = np.frombuffer(self.artifact.arrays["native"][:40].tobytes(), "<u4")[3:8]
        blocks, _, f = self.state_shape
        d, heads, K, window, layers = words.tolist()
        expected = (manifest.width, manifest.width // f, manifest.mini_batch, manifest.window, blocks * f // d)
        if (d, heads, K, window, layers) != expected or layers * heads != blocks:
            raise UserError(f"{self.artifact.folder}: the sizes of the native weights are not those of the manifest")

    def click(self, row: int) -> None:
        """Read one click."""
        status = self._click(self._session, row)
        if status:
            self._check(status)
        self.clicks += 1

    def read(self, rows: list[int]) -> None:
        """Read many clicks, after those already read."""
        numbers = np.array(rows, np.uint32)
        self._check(self._library.cocorr_history(self._session, numbers.ctypes.data, len(numbers)))
        self.clicks += len(rows)

    def recent(self) -> list[int]:
        """Rows of the last M clicks, oldest first."""
        rows = np.empty(most_recent(self.artifact), np.int32)
        return rows[: self._library.cocorr_recent(self._session, rows.ctypes.data)].tolist()

    def scores(self, rows: list[int], neighbours: bool) -> np.ndarray:
        """Scores [n] of some rows."""
        numbers, scores = np.array(rows, np.uint32), np.empty(len(rows), np.float32)
        arguments = (numbers.ctypes.data, len(numbers), int(neighbours), scores.ctypes.data)
        self._check(self._library.cocorr_scores(self._session, *arguments))
        return scores

    def best(self, k: int, exclude: list[int]) -> tuple[list[int], list[float]]:
        """Rows of the catalogue's best, and their scores."""
        k = min(k, self.artifact.manifest.items)
        out, rows, scores = np.array(exclude, np.uint32), np.empty(k, np.uint32), np.empty(k, np.float32)
        matches = ctypes.addressof(self._matches)
        arguments = (k, out.ctypes.data, len(out), rows.ctypes.data, scores.ctypes.data, matches)
        self._check(self._library.cocorr_rank_all(self._session, *arguments))
        count = self._matches.value
        return rows[:count].tolist(), scores[:count].tolist()

    def state(self) -> np.ndarray:
        """The model's state."""
        state = np.empty(self.state_shape, np.float32)
        self._library.cocorr_state(self._session, state.ctypes.data)
        return state

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from what was saved."""
        recent = np.ascontiguousarray(snapshot.recent, np.int32)
        user, state = (np.ascontiguousarray(a, np.float32) for a in (snapshot.user, snapshot.state))
        arguments = (recent.ctypes.data, len(recent), user.ctypes.data, state.ctypes.data)
        self._check(self._library.cocorr_restore(self._session, snapshot.clicks, *arguments))
        self.clicks = snapshot.clicks

    def correct(self, correction: Correction) -> None:
        """Correct the user vector."""
        attention, bias = (np.ascontiguousarray(a, np.float32) for a in correction)
        arguments = attention.ctypes.data, bias.ctypes.data
        self._check(self._library.cocorr_correct(self._session, *arguments))


def _parts_of(artifact: Artifact) -> Parts:
    manifest, parts = artifact.manifest, Parts()
    for name in ARRAYS:
        array = artifact.arrays.get(name)
        if array is not None and array.nbytes:
            part = getattr(parts, name)
            part.data, part.bytes = array.ctypes.data, array.nbytes
    parts.items, parts.table = manifest.items, _TABLES.index(manifest.table)
    parts.policy, parts.probes = POLICIES.index(manifest.policy), manifest.probes
    if manifest.neighbours is not None:
        settings = manifest.neighbours
        parts.neighbours, parts.neighbour_clicks = settings["count"], settings["clicks"]
        for name in ("decay", "base", "per_log_click", "scale"):
            setattr(parts, name, settings[name])
    return parts
