"""Apply a delta to an artifact: new items, new rows of the neighbour table, popularity; numpy alone."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from recbole_cocorr.artifact.arrays import check_size, digest_of_file, open_array, write_array
from recbole_cocorr.artifact.delta import MOST_BYTES, Delta, parse_delta
from recbole_cocorr.artifact.manifest import NAME, ArrayEntry, Manifest, neighbour_type, read_manifest
from recbole_cocorr.artifact.neighbours import NeighbourTable
from recbole_cocorr.artifact.vocabulary import build_vocabulary, decode_tokens
from recbole_cocorr.artifact.writer import change_artifact
from recbole_cocorr.base.checks import checked_path
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import read_bytes
from recbole_cocorr.base.together import read_by_index

_OF_ITEMS = ("item_vectors", "item_scales", "target_vectors", "target_scales")
_TOKENS = ("token_bytes", "token_offsets")


def apply_delta(directory: str | os.PathLike, delta: str | os.PathLike | bytes) -> int:
    """Make the next version of an artifact: the graphs stay, and so do the rows of all items.

    Whoever opens the artifact finds the old version or the new one. Sessions that are open go on with what they
    opened. State files of the artifact, and of its earlier versions in the same series, are read by the new one.

    Parameters
    ----------
    directory : str or os.PathLike
        An artifact as it was exported, or a version of it that an earlier delta of the same series made.
    delta : str, os.PathLike or bytes
        A file that ``make-delta`` wrote, or its contents.

    Returns
    -------
    int
        The version that the artifact has now; a delta that it has already changes nothing.

    Raises
    ------
    UserError
        If the delta is damaged, older, or of another artifact or series, or the artifact is damaged. The artifact is
        as it was then.
    """
    folder = checked_path(directory, "directory")
    raw, source = (bytes(delta), "the delta") if isinstance(delta, (bytes, bytearray, memoryview)) else (None, "")
    if raw is None:
        source = str(checked_path(delta, "delta"))
        raw = read_bytes(source, "delta", MOST_BYTES)
    parsed = parse_delta(raw, source)
    # Once more if another process changes the artifact meanwhile.
    read_by_index(folder / NAME, lambda: _apply(folder, parsed, source))
    return parsed.version


def _apply(folder: Path, delta: Delta, source: str) -> None:
    manifest = read_manifest(folder)
    if (delta.base, delta.items) != manifest.base():
        raise UserError(f"{source} is a delta of another artifact than {folder}; fetch the one that is made for it")
    if manifest.delta is not None:
        if delta.series != manifest.delta["series"]:
            raise UserError(
                f"{source} is of another series of deltas than those that {folder} has; apply it to the artifact as "
                "it was exported"
            )
        if delta.version <= manifest.delta["version"]:
            if delta.version == manifest.delta["version"]:
                return
            raise UserError(f"{source} is version {delta.version}; {folder} has version {manifest.delta['version']}")
    tokens = decode_tokens(*(_whole(folder, manifest.arrays[n]) for n in _TOKENS), str(folder))[: delta.items]
    twice = set(tokens).intersection(new := delta.tokens(source))
    if twice or len(set(new)) < len(new):
        raise UserError(f"{source} brings an item that is there already, or brings one twice")
    arrays = _with_items(folder, manifest, delta, source)
    if ("neighbour_rows" in delta.arrays) != (manifest.neighbours is not None):
        raise UserError(f"{source} does not fit {folder}: one of them has a neighbour table, the other has none")
    if manifest.neighbours is not None:
        arrays |= _with_neighbours(folder, manifest, delta, source)
    arrays |= {n: a for n, a in delta.arrays.items() if n.startswith("popular_")}
    vocabulary, probes = build_vocabulary([*tokens, *new])
    arrays |= vocabulary

    def write(work: Path) -> Manifest:
        entries = {n: e for n, e in manifest.arrays.items() if not n.startswith("popular_")}
        entries |= {name: write_array(work, name, array) for name, array in arrays.items()}
        source = {"base": delta.base, "items": delta.items, "series": delta.series, "version": delta.version}
        size = delta.items + delta.new
        changed = replace(manifest, items=size, arrays=entries, probes=probes, check={}, delta=source)
        if changed.catalogue() != delta.leads_to:
            raise UserError(f"{source} does not lead to the catalogue that it names; it was made of other items")
        return changed

    change_artifact(folder, manifest, "delta", write)


def _whole(folder: Path, entry: ArrayEntry) -> np.ndarray:
    """An array whose contents were compared with the checksum."""
    if digest_of_file(check_size(folder, entry)) != entry.blake2b:
        raise UserError(f"{folder / entry.file} is damaged: it does not match its checksum")
    return open_array(folder, entry)


def _with_items(folder: Path, manifest: Manifest, delta: Delta, source: str) -> dict[str, np.ndarray]:
    arrays = {}
    for name in _OF_ITEMS:
        entry, new = manifest.arrays.get(name), delta.arrays.get(name)
        if entry is None and new is None:
            continue
        fits = entry is not None and new is not None and new.dtype == entry.dtype
        if not fits or new.shape[1:] != tuple(entry.shape[1:]):
            raise UserError(f"{source} does not fit {folder}: {name} is of another type or size, or missing in one")
        arrays[name] = np.concatenate([_whole(folder, entry)[: delta.items], new])
    return arrays


def _with_neighbours(folder: Path, manifest: Manifest, delta: Delta, source: str) -> dict[str, np.ndarray]:
    names = [name for name in manifest.arrays if name.startswith("neighbour_")]
    old = NeighbourTable.from_arrays({name: _whole(folder, manifest.arrays[name]) for name in names})
    new, changed = delta.neighbours(), delta.arrays["neighbour_rows"].astype(np.int64)
    old.check_rows(str(folder / manifest.arrays["neighbour_indptr"].file), manifest.neighbours["count"])
    new.check_rows(source, manifest.neighbours["count"])
    rows = np.arange(delta.items + delta.new)
    rows[changed] = len(old) + np.arange(len(changed))
    rows[delta.items :] = len(old) + len(changed) + np.arange(delta.new)
    table = old.followed_by(new).take(rows)
    return table.arrays() | {"neighbour_items": table.items.astype(neighbour_type(len(table)))}
