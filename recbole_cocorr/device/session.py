"""A user's session on the device: clicks in, rankings out."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from recbole_cocorr.artifact.evidence import Evidence, fuse
from recbole_cocorr.artifact.manifest import POLICIES
from recbole_cocorr.base.checks import (
    MOST_THREADS,
    checked_choice,
    checked_path,
    checked_whole,
    shown,
    token_of,
    tokens_of,
)
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.forks import lock_free_at_forks
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.correction import Upload, checked
from recbole_cocorr.device.engine import Engine, OnnxEngine, most_recent, refuse_damaged
from recbole_cocorr.device.native_engine import NativeEngine, runs_natively
from recbole_cocorr.device.ranking import Ranking, best
from recbole_cocorr.device.reader import Reader
from recbole_cocorr.device.state import Layout, Snapshot, load_state, save_state

RUNTIMES = ("native", "onnx")


class Session:
    """One user's clicks, and what the model makes of them.

    Made by :meth:`open`. Needs numpy and onnxruntime alone. Calls from several threads are safe: they wait for each
    other. A forked child has a copy of its own, as the session was after the call before the fork.

    Attributes
    ----------
    lock : threading.RLock
        Held by every call that changes the session. Who holds it makes several calls one, and must not wait for
        anything meanwhile.
    fingerprint : str
        The model's fingerprint; a correction must have been made for it.
    corrected : bool
        Whether the ranking uses a correction. The next click ends that.
    policy : {"carry", "window"}
        What becomes of clicks older than the L that the model was trained to read: ``carry`` lets the state
        carry them on, ``window`` reads the last L anew after each click.
    source : {"new", "state", "history"}
        What the session was opened from.
    refused : str or None
        Why the state file was not used, where ``history`` took its place.
    runtime : {"native", "onnx"}
        What computes.
    layout : Layout
        What a state file of this session must fit.
    """

    def __init__(self, artifact: Artifact, policy: str | None = None, runtime: str | None = None):
        manifest = artifact.manifest
        policy = manifest.policy if policy is None else checked_choice(policy, "policy", POLICIES)
        if artifact.initial_state is None and policy != "window":
            raise UserError(f"{manifest.model['name']} keeps no state, so its policy is window")
        self.policy = policy
        self.artifact = artifact
        self.fingerprint = manifest.fingerprint
        self.source, self.refused = "new", None
        self.corrected = False
        self._window = manifest.window
        if runtime is None:
            runtime = "native" if runs_natively(artifact) else "onnx"
        self.runtime = checked_choice(runtime, "runtime", RUNTIMES)
        self._engine: Engine = (NativeEngine if runtime == "native" else OnnxEngine)(artifact, policy)
        self._row = artifact.vocabulary.row
        self.lock = lock_free_at_forks()
        sizes = manifest.width, most_recent(artifact), manifest.items, self._engine.state_shape
        self.layout = Layout(manifest.identity(), *sizes, bytes.fromhex(manifest.base()[0]))

    @classmethod
    def open(
        cls,
        directory: str | os.PathLike,
        state: str | os.PathLike | None = None,
        history: Iterable[str] | None = None,
        policy: str | None = None,
        threads: int = 1,
        runtime: str | None = None,
    ) -> "Session":
        """Open a session on an artifact.

        Parameters
        ----------
        directory : str or os.PathLike
            What ``python -m recbole_cocorr export`` wrote.
        state : str or os.PathLike, optional
            A file that :meth:`save` wrote, to go on from.
        history : iterable of str, optional
            All clicks of the user, oldest first. Beside ``state`` it is what counts: clicks that the state has not seen
            yet are read, and a state that is missing, refused or of other clicks is made again from the history.
        policy : {"carry", "window"}, optional
            The artifact's, if left out.
        threads : int
            Threads of ONNX Runtime, from 1 to 256. One click is too little work for more than one.
        runtime : {"native", "onnx"}, optional
            What computes. Left out: the native library where it was built with the package and the artifact is a
            CoCorrRec with weights for it, otherwise ONNX Runtime.

        Raises
        ------
        UserError
            If the artifact or, without ``history``, the state is missing or not usable.
        """
        folder = checked_path(directory, "directory")
        state = None if state is None else checked_path(state, "state")
        tokens = None if history is None else tokens_of(history, "history")
        session = cls(Artifact(folder, checked_whole(threads, "threads", 1, MOST_THREADS)), policy, runtime)
        if state is not None:
            try:
                snapshot = load_state(state, session.layout)
                session._restore(snapshot, str(state), tokens)
            except UserError as error:
                if tokens is None:
                    raise
                session.refused = str(error)
        if tokens is not None and session.source == "new":
            session.history(tokens)
            session.source = "history"
        return session

    @property
    def clicks(self) -> int:
        """Known clicks read so far."""
        return self._engine.clicks

    # -- clicks ------------------------------------------------------------------------------------

    def click(self, item: str) -> bool:
        """Read one click, at a cost that does not depend on those before.

        Parameters
        ----------
        item : str
            The item's token.

        Returns
        -------
        bool
            False for an item that is not in the catalogue: nothing has changed then.
        """
        with self.lock:
            row = self._row(item if type(item) is str else token_of(item))
            if not row:
                return False
            self._engine.click(row)
            self.corrected = False
            return True

    def history(self, items: Iterable[str]) -> list[str]:
        """Read many clicks at once; the same as a click for each, in less time.

        Parameters
        ----------
        items : iterable of str
            Tokens, oldest first; they come after the clicks already read.

        Returns
        -------
        list of str
            Tokens that are not in the catalogue, each once; they were left out.
        """
        tokens = tokens_of(items)
        with self.lock:
            rows, unknown = self._rows(tokens)
            self._read(rows)
        return unknown

    def _read(self, rows: list[int]) -> None:
        if not rows:
            return
        self._engine.read(rows)
        self.corrected = False

    def _rows(self, tokens: Sequence[str]) -> tuple[list[int], list[str]]:
        rows = self.artifact.vocabulary.rows(tokens)
        if 0 not in rows:
            return rows, []
        unknown = dict.fromkeys(token for token, row in zip(tokens, rows, strict=True) if not row)
        return [row for row in rows if row], list(unknown)

    # -- rankings ----------------------------------------------------------------------------------

    @property
    def user_vector(self) -> np.ndarray:
        """u after the last click, float32 [d]; a copy."""
        with self.lock:
            self._check_clicked()
            return self._engine.user.copy()

    def rank(
        self,
        candidates: Sequence[str],
        k: int | None = None,
        exclude: Iterable[str] = (),
        evidence: Evidence | None = None,
    ) -> Ranking:
        """Put candidates in order.

        Parameters
        ----------
        candidates : sequence of str
            Tokens; repeats count once. What the catalogue lacks is left out and listed as unknown.
        k : int, optional
            How many to return, at most; all, if left out.
        exclude : iterable of str
            Tokens to leave out.
        evidence : Evidence, optional
            The cloud's item-item scores, which take the place of those of the artifact's neighbour table. Without
            them the ranking is the device's own.

        Raises
        ------
        UserError
            Before the first click, for a ``k`` below 1, if no candidate is in the catalogue, or for evidence of
            another corrector than the artifact's trust is for, of more clicks than were read, or not finite.
        """
        names, out = tokens_of(candidates, "candidates"), set(tokens_of(exclude, "exclude"))
        if k is not None:
            k = checked_whole(k, "k", 1)
        with self.lock:
            self._check_clicked()
            rows, unknown = self._rows(names)
            if not rows:
                raise UserError("no candidate is an item of the catalogue")
            if out or unknown or len(set(rows)) < len(rows):
                gone = out.union(unknown)
                names = [name for name in dict.fromkeys(names) if name not in gone]
                rows = self._rows(names)[0]
            scores = self._engine.scores(rows, evidence is None)
            if evidence is not None:
                scores = self._with_evidence(scores, names, evidence)
                refuse_damaged(scores, self.artifact)
            places = best(scores, len(rows) if k is None else k)
            return Ranking([names[place] for place in places.tolist()], scores[places].tolist(), unknown)

    def rank_all(self, k: int = 10, exclude: Iterable[str] = ()) -> Ranking:
        """The best items of the whole catalogue.

        Parameters
        ----------
        k : int
            How many to return, at most.
        exclude : iterable of str
            Tokens to leave out, such as those of the history.

        Raises
        ------
        UserError
            Before the first click, or for a ``k`` below 1.
        """
        k, out = checked_whole(k, "k", 1), tokens_of(exclude, "exclude")
        with self.lock:
            self._check_clicked()
            rows, scores = self._engine.best(k, self._rows(out)[0])
            token = self.artifact.vocabulary.token
            return Ranking([token(row) for row in rows], scores)

    def check_evidence(self, evidence: Evidence) -> None:
        """Refuse what :meth:`rank` would.

        Raises
        ------
        UserError
            For evidence of another corrector than the artifact's trust is for, of more clicks than were read, or not
            finite.
        """
        trust = self.artifact.manifest.trust
        if trust is None:
            raise UserError(f"{self.artifact.folder} has no trust in item-item scores; export it with --corrector=DIR")
        if not isinstance(evidence, Evidence) or not isinstance(evidence.scores, Mapping):
            raise UserError(f"evidence is {shown(evidence)}; it must be an Evidence, with its scores by token")
        if not isinstance(evidence.corrector, str) or evidence.corrector != trust["corrector"]:
            raise UserError(
                f"the evidence is of the corrector {shown(evidence.corrector)}, the artifact's trust is for "
                f"{trust['corrector']!r}"
            )
        if type(evidence.clicks) is not int or not 0 <= evidence.clicks <= self.clicks:
            raise UserError(
                f"the evidence is of {shown(evidence.clicks)} clicks, and the session has read {self.clicks}"
            )
        try:
            scores = np.array(list(evidence.scores.values()))
        except ValueError:  # lists of several lengths
            scores = np.empty(1, object)
        if scores.ndim != 1 or (len(scores) and scores.dtype.kind not in "fiu"):
            raise UserError("a score of the evidence is no number")
        with np.errstate(over="ignore"):
            finite = np.isfinite(scores.astype(np.float32)).all()
        if not finite:
            raise UserError("a score of the evidence is not finite")

    def _with_evidence(self, scores: np.ndarray, names: list[str], evidence: Evidence) -> np.ndarray:
        self.check_evidence(evidence)
        trust, given = self.artifact.manifest.trust, evidence.scores
        cloud = np.array([given.get(name, 0.0) for name in names], dtype=np.float32)
        return fuse(scores, cloud, evidence.clicks, trust["base"], trust["per_log_click"], trust["scale"])

    def _check_clicked(self) -> None:
        if not self.clicks:
            raise UserError("the session has read no click yet; click or history comes first")

    @property
    def reader(self) -> Reader:
        """What runs the graphs, for measurements of it; a session of the native library has none."""
        return self._engine.reader

    def recent_rows(self) -> list[int]:
        """Rows of the last clicks, at most L, oldest first; a copy."""
        with self.lock:
            return self._engine.recent()[-self._window :]

    # -- the cloud ---------------------------------------------------------------------------------

    def hidden_states(self) -> Upload:
        """X of the last clicks, at most L: what the device would upload.

        Raises
        ------
        UserError
            Before the first click, or if the model takes no correction.
        """
        with self.lock:
            self._check_correctable()
            self._check_clicked()
            x = self.artifact.items.vectors(np.array(self.recent_rows()))
            norm = np.sqrt(np.square(x).mean(axis=1, keepdims=True) + np.float32(self.artifact.manifest.norm_eps))
            x = x / norm * self.artifact.upload_norm
            if not np.isfinite(x).all():
                raise UserError(f"the item table of {self.artifact.folder} is damaged: a hidden state is not finite")
            return Upload(x, self.clicks, self.fingerprint)

    def apply(self, correction: Any, clicks: int, fingerprint: str | None = None) -> None:
        """Use a correction until the next click.

        Parameters
        ----------
        correction : Correction or pair of arrays
            A^ [H, K, K] and B^ [H, K, f], as the cloud sent them.
        clicks : int
            :attr:`Upload.clicks` of the hidden states that it was made from.
        fingerprint : str, optional
            Fingerprint of the model that made the correction; compared where it is given.

        Raises
        ------
        UserError
            If the correction is of other clicks or another model, or no pair of finite arrays of the right
            shapes. The session goes on without it, as it was.
        """
        with self.lock:
            self._check_correctable()
            if fingerprint is not None and not (isinstance(fingerprint, str) and fingerprint == self.fingerprint):
                raise UserError(
                    f"the correction was made by the model {shown(fingerprint)}, this session runs {self.fingerprint!r}"
                )
            correction = checked(correction, self.artifact.manifest.correction)
            self._check_clicked()
            if isinstance(clicks, bool) or not isinstance(clicks, (int, np.integer)) or clicks != self.clicks:
                raise UserError(
                    f"the correction was made after {shown(clicks)} clicks, and the session has read {self.clicks}; "
                    "one that comes too late is not used"
                )
            self._engine.correct(correction)
            self.corrected = True

    def _check_correctable(self) -> None:
        if self.artifact.manifest.correction is None:
            raise UserError(f"this {self.artifact.manifest.model['name']} takes no correction")

    # -- keeping -----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the state file: small, of a size that never changes, the old or the new one at any moment.

        One session writes to a path at a time.

        Raises
        ------
        UserError
            If ``path`` is no path.
        OSError
            What the system reported.
        """
        path = checked_path(path, "path")
        with self.lock:
            recent, state = np.array(self._engine.recent(), dtype=np.int32), self._engine.state()
            snapshot = Snapshot(self.policy, self.clicks, self.corrected, self._engine.user.copy(), recent, state)
        save_state(path, snapshot, self.layout)

    def _restore(self, snapshot: Snapshot, source: str, log: list[str] | None) -> None:
        if snapshot.policy != self.policy:
            raise UserError(f"{source} was saved under the policy {snapshot.policy}; this session's is {self.policy}")
        rest: list[int] = []
        if log is not None:
            rows, _ = self._rows(log)
            done, rest = rows[: snapshot.clicks], rows[snapshot.clicks :]
            if len(done) < snapshot.clicks or done[-len(snapshot.recent) :] != snapshot.recent.tolist():
                raise UserError(f"{source} is of other clicks than the history")
            # Whether they were items when the state was saved is seen only of the clicks that it names.
            grown = self.artifact.manifest.base()[1]
            if any(row >= grown for row in done[: -len(snapshot.recent)]):
                raise UserError(f"{source} may be of before the delta that brought items of the history")
        self._engine.restore(snapshot)
        self.corrected, self.source = snapshot.corrected, "state"
        self._read(rest)
