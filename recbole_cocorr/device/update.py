"""Another catalogue for an artifact, on the device: the graphs stay."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recbole_cocorr.artifact.manifest import Manifest
from recbole_cocorr.artifact.writer import change_artifact, write_catalogue
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device.artifact import Artifact

_OF_CATALOGUE = ("item_", "target_", "token_", "neighbour_", "popular_")


def update_catalogue(directory: str | os.PathLike, tokens: Sequence[str], vectors: np.ndarray) -> None:
    """Give an artifact another catalogue; its graphs stay. Needs numpy and onnxruntime alone.

    Sessions that are open go on with the catalogue they opened. State files of the old catalogue are refused
    afterwards: ``Session.open(..., history=...)`` makes them again.

    Parameters
    ----------
    directory : str or os.PathLike
    tokens : sequence of str
        The items, all of them, each once.
    vectors : numpy.ndarray, shape [len(tokens), d]
        Their embeddings e_i, made by the same model; phi(e_i) is computed here. An item of the old catalogue keeps its
        row of a neighbour table; of a new one the table says nothing.

    Raises
    ------
    UserError
        If the artifact, the tokens or the vectors are not usable; the artifact is as it was then.
    """
    artifact = Artifact(directory)
    manifest, folder = artifact.manifest, artifact.folder
    vectors = np.asarray(vectors)
    if isinstance(tokens, str) or vectors.shape != (len(tokens), manifest.width) or vectors.dtype.kind != "f":
        raise UserError(
            f"vectors has shape {vectors.shape} and type {vectors.dtype}; {len(tokens)} items of this model take "
            f"floats of shape {(len(tokens), manifest.width)}"
        )
    rows = np.concatenate([np.zeros((1, manifest.width), np.float32), vectors.astype(np.float32)])
    names, targets = ["", *map(str, tokens)], None
    if "targets" in manifest.graphs:
        graph = artifact.graph("targets")

        def targets(part: np.ndarray) -> np.ndarray:
            return graph.run(None, {"items": part})[0]

    def write(work: Path) -> Manifest:
        arrays, probes = write_catalogue(work, names, rows, manifest.table, targets)
        if artifact.neighbours is not None:
            artifact.neighbours.check_items(str(folder / manifest.arrays["neighbour_items"].file), manifest.items)
            old_rows = np.array([0, *map(artifact.vocabulary.row, names[1:])], np.int64)
            arrays |= artifact.neighbours.moved(old_rows).write(work)
        other_arrays = {n: e for n, e in manifest.arrays.items() if not n.startswith(_OF_CATALOGUE)}
        arrays = {**other_arrays, **arrays}
        # It is an artifact of its own now: deltas of the old catalogue do not fit it.
        return replace(manifest, items=len(rows), arrays=arrays, probes=probes, check={}, delta=None)

    change_artifact(folder, manifest, "catalogue", write)
