"""Arrays as plain files, written once and mapped into memory."""

import hashlib
import mmap
import sys
from pathlib import Path

import numpy as np

from recbole_cocorr.artifact.manifest import DTYPES, ArrayEntry, FileEntry
from recbole_cocorr.base.errors import UserError

_BLOCK = 1 << 20


def digest_of(data: bytes | memoryview) -> str:
    """The checksum that a manifest names."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_of_file(path: Path) -> str:
    """The checksum of a file, in constant memory."""
    hasher = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def little_endian(array: np.ndarray) -> np.ndarray:
    """The bytes of an array as a file of the artifact holds them, uint8."""
    data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return data.reshape(-1).view(np.uint8)


def write_array(folder: Path, name: str, array: np.ndarray) -> ArrayEntry:
    """Write an array as ``<name>-<checksum>.bin``; a new version of it never takes the place of the old one.

    Raises
    ------
    UserError
        For a type that the format does not know.
    """
    if array.dtype.name not in DTYPES:
        raise UserError(f"the array {name!r} is {array.dtype}; an artifact holds {', '.join(DTYPES)}")
    raw = memoryview(little_endian(array))
    digest = digest_of(raw)
    file = f"{name}-{digest[:8]}.bin"
    (folder / file).write_bytes(raw)
    return ArrayEntry(file, raw.nbytes, digest, array.dtype.name, tuple(array.shape))


def check_size(folder: Path, entry: FileEntry) -> Path:
    """The path of a file that is there and has the size that the manifest says."""
    path = folder / entry.file
    if not path.is_file():
        raise UserError(f"{folder} lacks the file {entry.file} that its manifest names")
    size = path.stat().st_size
    if size != entry.bytes:
        raise UserError(f"{path} has {size} bytes; its manifest says {entry.bytes}, so it is cut off or foreign")
    return path


def check_numbers(array: np.ndarray, source: str) -> None:
    """Refuse an array of floats that holds NaN or infinity; a block at a time, since it may be large."""
    rows = array.reshape(-1)
    for start in range(0, len(rows) if array.dtype.kind == "f" else 0, _BLOCK):
        if not np.isfinite(rows[start : start + _BLOCK]).all():
            raise UserError(f"{source} holds NaN or infinity; export the model again")


def open_array(folder: Path, entry: ArrayEntry) -> np.ndarray:
    """Map an array into memory, read-only: nothing is read before it is used."""
    path = check_size(folder, entry)
    if entry.bytes == 0:
        return np.zeros(entry.shape, entry.dtype)
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), entry.bytes, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: it has become shorter meanwhile
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    # A plain array over the map: numpy's own memmap class costs several times as much per look-up.
    if sys.byteorder == "little":
        return np.frombuffer(mapped, entry.dtype).reshape(entry.shape)
    return np.frombuffer(mapped, np.dtype(entry.dtype).newbyteorder("<")).astype(entry.dtype).reshape(entry.shape)
