"""The catalogue of an artifact, and how new files take the place of an artifact's old ones."""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from recbole_cocorr.artifact.arrays import write_array
from recbole_cocorr.artifact.manifest import NAME, ArrayEntry, Manifest, read_manifest
from recbole_cocorr.artifact.table import quantise
from recbole_cocorr.artifact.vocabulary import build_vocabulary
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write, naming, sync_tree
from recbole_cocorr.base.leftovers import locked, temporary_folder
from recbole_cocorr.base.together import put_beside

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
        phi of some vectors [m, d]; None where it is the identity.

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


def change_artifact(folder: Path, manifest: Manifest, what: str, write: Callable[[Path], Manifest]) -> None:
    """Give an artifact new parts: whoever opens it finds the old ones or the new ones.

    Parameters
    ----------
    folder : pathlib.Path
    manifest : Manifest
        Of the artifact as it is.
    what : str
        What is new, for the sentence of an error: "catalogue".
    write : callable
        Writes the new parts into the folder that it is given, and returns the new manifest.

    Raises
    ------
    UserError
        If another process has changed the artifact meanwhile; this one changes nothing then.
    """
    with naming(folder, what), temporary_folder(folder / what) as work:
        changed = write(work)
        with atomic_write(work / NAME, what="manifest") as file:
            file.write(changed.to_json())
        sync_tree(work)
        with locked(folder):
            if read_manifest(folder) != manifest:
                raise UserError(f"{folder} was replaced by another process meanwhile; update its {what} again")
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
