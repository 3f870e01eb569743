"""The catalogue of an artifact: written at export, and replaced later without touching the graphs."""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from recbole_cocorr.artifact.arrays import write_array
from recbole_cocorr.artifact.manifest import NAME, ArrayEntry, read_manifest
from recbole_cocorr.artifact.table import quantise
from recbole_cocorr.artifact.vocabulary import build_vocabulary
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write, naming, sync_tree
from recbole_cocorr.base.leftovers import locked, temporary_folder
from recbole_cocorr.base.together import put_beside
from recbole_cocorr.device.artifact import Artifact

# Names of files that an export or an update writes, whichever was killed.
_OURS = re.compile(r"[a-z_]+-[0-9a-f]{8}\.(bin|onnx)|(step|click|slot|fold|prefill|correct|window|targets)\.onnx")
# Rows that are transformed at once.
_AT_ONCE = 1 << 14


def write_catalogue(
    folder: Path,
    tokens: Sequence[str],
    vectors: np.ndarray,
    precision: str,
    targets: Callable[[np.ndarray], np.ndarray] | None,
) -> tuple[dict[str, ArrayEntry], int]:
    """Write the tables and the vocabulary of a catalogue.

    Parameters
    ----------
    folder : pathlib.Path
    tokens : sequence of str
        By row, padding first.
    vectors : numpy.ndarray of float32, shape [n, d]
        e_i by row.
    precision : {"fp32", "fp16", "int8"}
    targets : callable, optional
        phi of some vectors [m, d]; none where it is the identity.

    Returns
    -------
    dict of str to ArrayEntry, and int
        The arrays, and the most slots that a look-up of a token reads.
    """
    tables = {"item": vectors}
    if targets is not None:
        blocks = [targets(vectors[i : i + _AT_ONCE]) for i in range(0, len(vectors), _AT_ONCE)]
        tables["target"] = np.concatenate(blocks)
    arrays = {}
    for name, table in tables.items():
        if not np.isfinite(table).all():
            raise UserError(f"the {name} vectors hold numbers that are not finite")
        with np.errstate(over="ignore"):
            rows, scales = quantise(table, precision)
        if precision == "fp16" and not np.isfinite(rows).all():
            raise UserError(f"the {name} vectors hold numbers that are too large for fp16")
        arrays[f"{name}_vectors"] = write_array(folder, f"{name}_vectors", rows)
        if scales is not None:
            arrays[f"{name}_scales"] = write_array(folder, f"{name}_scales", scales)
    vocabulary, probes = build_vocabulary(tokens)
    arrays |= {name: write_array(folder, name, array) for name, array in vocabulary.items()}
    return arrays, probes


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
        Their embeddings e_i, made by the same model; phi(e_i) is computed here.

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
    targets = None
    if "targets" in manifest.graphs:
        graph = artifact.graph("targets")

        def targets(part: np.ndarray) -> np.ndarray:
            return graph.run(None, {"items": part})[0]

    with naming(folder, "catalogue"), temporary_folder(folder / "catalogue") as work:
        arrays, probes = write_catalogue(work, ["", *map(str, tokens)], rows, manifest.table, targets)
        kept = {n: e for n, e in manifest.arrays.items() if not n.startswith(("item_", "target_", "token_"))}
        changed = replace(manifest, items=len(rows), arrays={**kept, **arrays}, probes=probes, check={})
        with atomic_write(work / NAME, what="manifest") as file:
            file.write(changed.to_json())
        sync_tree(work)
        with locked(folder):
            if read_manifest(folder) != manifest:
                raise UserError(f"{folder} was replaced by another process meanwhile; update its catalogue again")
            replace_files(work, folder)


def replace_files(work: Path, folder: Path) -> None:
    """Put the files of a new artifact, or of its new parts, into the folder of the old one, which is locked.

    Arrays have names that change with their contents; a graph is given one here if it is new. The manifest is
    replaced in between: who reads it finds all files that it names, before and after.
    """
    manifest = read_manifest(work)
    for name, entry in manifest.graphs.items():
        if (work / entry.file).exists():
            file = f"{name}-{entry.blake2b[:8]}.onnx"
            os.replace(work / entry.file, work / file)
            manifest.graphs[name] = replace(entry, file=file)
    with atomic_write(work / NAME, what="manifest") as file:
        file.write(manifest.to_json())
    old: set[str] = set()
    with suppress(UserError):  # a damaged one names nothing that is needed
        old = set(read_manifest(folder).files())
    new = {NAME, *manifest.files()}
    put_beside(work, folder, NAME, lambda name: name not in new and (name in old or _OURS.fullmatch(name) is not None))
