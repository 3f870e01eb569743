"""An artifact on the disk, opened: its manifest, its mapped arrays and its graphs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recbole_cocorr.artifact.arrays import check_numbers, check_size, digest_of, digest_of_file, open_array
from recbole_cocorr.artifact.manifest import NAME, read_manifest
from recbole_cocorr.artifact.neighbours import NeighbourTable
from recbole_cocorr.artifact.popular import Popular
from recbole_cocorr.artifact.table import ItemTable
from recbole_cocorr.artifact.vocabulary import Vocabulary
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import read_bytes
from recbole_cocorr.base.together import read_by_index
from recbole_cocorr.device.external_data import external_files

if TYPE_CHECKING:
    import onnxruntime

# Inputs of each graph, in order; "sequence" is the prefill of a model without mini-batches.
_INPUTS = {
    "step": ["item", "state", "slot"],
    "click": ["item", "inner", "read", "turn", "form"],
    "slot": ["slot"],
    "fold": ["state"],
    "prefill": ["items", "state", "start", "stop"],
    "correct": ["item", "state", "slot", "attention", "bias"],
    "window": ["items"],
    "targets": ["items"],
}

# Graphs of a click: some dozens of rows in all.
_SMALL = ("step", "click", "window")
# Makes one operation that splits, and others that drop an axis, of two that choose a row.
_SLOWER = ["GatherSliceToSplitFusion"]


class Artifact:
    """An opened device artifact.

    Parameters
    ----------
    directory : str or os.PathLike
    threads : int
        Threads of ONNX Runtime. One click is too little work for more than one.

    Attributes
    ----------
    manifest : Manifest
    items : ItemTable
        e_i, what a click reads.
    targets : ItemTable
        phi(e_i), what a candidate is scored with; the same table where phi is the identity.
    vocabulary : Vocabulary
    neighbours : NeighbourTable or None
    popular : Popular or None
        What a delta adds to the scores of some items.
    initial_state : numpy.ndarray of float32 or None
    arrays : dict of str to numpy.ndarray
        All that the manifest names, mapped.

    Raises
    ------
    UserError
        If the folder is no artifact, or damaged; the item table's contents are checked by :func:`verify` alone.
    """

    def __init__(self, directory: str | os.PathLike, threads: int = 1):
        self.folder = Path(directory)
        self.threads = threads
        self._graphs: dict[str, onnxruntime.InferenceSession] = {}
        read_by_index(self.folder / NAME, self._open)

    def _open(self) -> None:
        self.manifest = read_manifest(self.folder)
        arrays = {name: open_array(self.folder, entry) for name, entry in self.manifest.arrays.items()}
        self.items = ItemTable(arrays["item_vectors"], arrays.get("item_scales"))
        self.targets = self.items
        if "target_vectors" in arrays:
            self.targets = ItemTable(arrays["target_vectors"], arrays.get("target_scales"))
        tokens = (arrays[name] for name in ("token_bytes", "token_offsets", "token_index"))
        self.vocabulary = Vocabulary(*tokens, self.manifest.probes)
        self.neighbours = None
        if self.manifest.neighbours is not None:
            self.neighbours = NeighbourTable.from_arrays(arrays)
            source = str(self.folder / self.manifest.arrays["neighbour_indptr"].file)
            self.neighbours.check_rows(source, self.manifest.neighbours["count"])
        self.popular = None
        if "popular_items" in arrays:
            self.popular = Popular(arrays["popular_items"], arrays["popular_weights"])
            self.popular.check(len(self.items), str(self.folder / self.manifest.arrays["popular_items"].file))
        self.upload_norm = arrays.get("upload_norm")
        self.initial_state = arrays.get("state")
        self.arrays = arrays
        for name in ("state", "upload_norm", "weights", "native"):  # small, and every session starts from them
            entry = self.manifest.arrays.get(name)
            if entry and digest_of(memoryview(arrays[name].reshape(-1).view(np.uint8))) != entry.blake2b:
                raise UserError(f"{self.folder / entry.file} is damaged: it does not match its checksum")
        # Not the tables, which are large.
        for name in ("state", "upload_norm", "item_scales", "target_scales", "neighbour_scales"):
            if name in arrays:
                check_numbers(arrays[name], str(self.folder / self.manifest.arrays[name].file))
        for entry in self.manifest.graphs.values():
            check_size(self.folder, entry)

    def graph(self, name: str) -> "onnxruntime.InferenceSession":
        """A graph, ready to run; made when it is first asked for.

        Raises
        ------
        UserError
            If the artifact has no such graph, or its file is damaged.
        """
        if name not in self._graphs:
            if name not in self.manifest.graphs:
                raise UserError(f"{self.folder} has no graph {name!r}")
            self._graphs[name] = self._load(name)
        return self._graphs[name]

    def inputs(self, name: str) -> list[str]:
        """The names of a graph's inputs."""
        m = self.manifest
        inputs = _INPUTS[name]
        if m.mini_batch is None:
            inputs = [i for i in inputs if i not in ("slot", "start", "stop")]
        return [i for i in inputs if i != "state"] if "state" not in m.arrays else inputs

    def _load(self, name: str) -> "onnxruntime.InferenceSession":
        import onnxruntime  # not before a graph is asked for: the native runtime needs none

        entry = self.manifest.graphs[name]
        path = check_size(self.folder, entry)
        raw = read_bytes(path, "graph", entry.bytes)
        if digest_of(raw) != entry.blake2b:
            raise UserError(f"{path} is damaged: it does not match its checksum")
        self._refuse_foreign_files(path, raw)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = self.threads
        # Threads that spin while they wait take the processor from those that compute, where processors are few.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        # An array in between needs no memory but its own in graphs of one row: planning to share costs more.
        options.enable_mem_reuse = name not in _SMALL
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER
            )
        except Exception as error:  # ONNX Runtime's exceptions have no class in common
            reason = str(error).partition("\n")[0][:200]
            raise UserError(f"{path} is no graph that ONNX Runtime reads: {reason}") from None
        shapes = {i.name: i.shape for i in session.get_inputs()}
        if list(shapes) != self.inputs(name):
            raise UserError(f"the graph {name!r} of {self.folder} reads {list(shapes)}, not {self.inputs(name)}")
        expected = self._shapes(name)
        for key, shape in shapes.items():
            fits = len(shape) == len(expected[key])
            # A size that is free has a name.
            if not fits or any(isinstance(n, int) and n != w for n, w in zip(shape, expected[key], strict=True)):
                raise UserError(f"the graph {name!r} of {self.folder} reads {key} {shape}, not {expected[key]}")
        return session

    def _refuse_foreign_files(self, path: Path, raw: bytes) -> None:
        """Raise unless the only file that a graph reads is the artifact's own file of weights."""
        weights = self.manifest.arrays["weights"].file
        try:
            foreign = external_files(raw) - {weights}
        except UserError as error:
            raise UserError(f"{path} is no graph that ONNX Runtime reads: {error}") from None
        if foreign:
            raise UserError(f"{path} reads the file {min(foreign)[:100]!r}; a graph reads nothing but {weights}")

    def _shapes(self, name: str) -> dict[str, list[int | None]]:
        m = self.manifest
        clicks = {"prefill": m.mini_batch, "window": m.window}.get(name)
        state = list(m.arrays["state"].shape) if "state" in m.arrays else []
        shapes = {
            "item": [1, m.width],
            "items": [clicks, m.width],
            "state": state,
            "slot": [1] if name == "slot" else [],
            "start": [],
            "stop": [],
            **(m.correction or {}),
        }
        if name == "click":
            blocks, f = state[0], state[2]
            heads, twice = m.width // f, 2 * (f + 1)
            shapes |= {"inner": [blocks * twice, f], "read": [blocks * twice, f]}
            shapes |= {"turn": [f + 1, twice], "form": [2 * blocks // heads, heads, heads * twice]}
        return shapes


def verify(directory: str | os.PathLike) -> None:
    """Read every file of an artifact and compare it with its checksum.

    For after a download. Opening a session checks the manifest, the graphs and the sizes of all files, but does
    not read the item table.

    Raises
    ------
    UserError
        If anything is missing or damaged, an array holds NaN or infinity, or the neighbour table an item that is none.
    """
    folder = Path(directory)
    read_by_index(folder / NAME, lambda: _verify(folder))


def _verify(folder: Path) -> None:
    manifest = read_manifest(folder)
    for entry in manifest.files().values():
        if digest_of_file(check_size(folder, entry)) != entry.blake2b:
            raise UserError(f"{folder / entry.file} is damaged: it does not match its checksum")
    arrays = {name: open_array(folder, entry) for name, entry in manifest.arrays.items()}
    for name, array in arrays.items():
        check_numbers(array, str(folder / manifest.arrays[name].file))
    if manifest.neighbours is not None:
        table = NeighbourTable.from_arrays(arrays)
        table.check_rows(str(folder / manifest.arrays["neighbour_indptr"].file), manifest.neighbours["count"])
        table.check_items(str(folder / manifest.arrays["neighbour_items"].file), len(table))
