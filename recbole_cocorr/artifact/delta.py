"""A delta: what an artifact gains after its export, in one file that is the same for every device; numpy alone.

Layout, little-endian:

    offset  bytes
    0       8      RCCDELTA
    8       8      h, bytes of the head, uint64
    16      h      the head, JSON
    16 + h         the arrays in the order of the head, row after row
    end-16  16     BLAKE2b of all that stands before

The head says which artifact the delta is of and which of its versions it makes. A delta holds all that came since the
export, so that a device needs no other one. Deltas of one series grow: items keep the rows that they were given, and
a row of the neighbour table that one delta changed stands in every later one.
"""

import hashlib
import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_cocorr.artifact.arrays import little_endian
from recbole_cocorr.artifact.manifest import DTYPES, ITEM_TYPES, MOST_NEIGHBOURS, neighbour_type
from recbole_cocorr.artifact.neighbours import NeighbourTable
from recbole_cocorr.artifact.popular import Popular
from recbole_cocorr.artifact.vocabulary import decode_tokens
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import versioned_content
from recbole_cocorr.base.readers import Record, parse_json, versioned

MAGIC = b"RCCDELTA"
FORMAT, FORMAT_VERSION = "recbole_cocorr.delta", 2
# Bytes of a head, and of a file.
MOST_HEAD, MOST_BYTES = 1 << 16, 256 << 20
MOST_ITEMS, MOST_VERSION = 1 << 31, (1 << 31) - 1
_START, _DIGEST = struct.Struct("<8sQ"), 16
_HEX = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Delta:
    """The contents of a delta.

    Attributes
    ----------
    version : int
        Of the artifact that it makes, from 1; the export is version 0.
    series : str
        32 hexadecimal digits that the deltas share of which each one holds what the one before it holds.
    base : str
        Identity of the artifact as it was exported (:meth:`Manifest.base`).
    items : int
        Rows of its item table, padding included.
    catalogue, leads_to : str
        Fingerprints of its catalogue, and of the one that the delta makes.
    table : {"fp32", "fp16", "int8"}
    arrays : dict of str to numpy.ndarray
        Of the m new items ``item_vectors`` [m, d] and, as the artifact has them, ``target_vectors``, ``item_scales``,
        ``target_scales``; ``token_bytes`` and ``token_offsets`` [m + 2] as in an artifact, padding first. Where there
        is a neighbour table: ``neighbour_rows`` [r], the rows of earlier items that change, ascending, and
        ``neighbour_indptr`` [r + m + 1], ``neighbour_items``, ``neighbour_weights`` [E] and ``neighbour_scales``
        [r + m], a table of these rows and then of the new items. Where popularity counts: ``popular_items`` and
        ``popular_weights`` [p].
    """

    version: int
    series: str
    base: str
    items: int
    catalogue: str
    leads_to: str
    table: str
    arrays: dict[str, np.ndarray]

    @property
    def new(self) -> int:
        """m."""
        return len(self.arrays["token_offsets"]) - 2

    def tokens(self, source: str = "the delta") -> list[str]:
        """Tokens of the new items."""
        return decode_tokens(self.arrays["token_bytes"], self.arrays["token_offsets"], source)[1:]

    def neighbours(self) -> NeighbourTable | None:
        """The rows of the neighbour table: first those that change, then those of the new items."""
        if "neighbour_rows" not in self.arrays:
            return None
        return NeighbourTable.from_arrays(self.arrays)


def pack_delta(delta: Delta) -> bytes:
    """The bytes of a file."""
    head = {n: v for n, v in vars(delta).items() if n != "arrays"}
    head["arrays"] = {n: {"dtype": a.dtype.name, "shape": list(a.shape)} for n, a in delta.arrays.items()}
    text = json.dumps(versioned_content(FORMAT, FORMAT_VERSION, head), separators=(",", ":")).encode()
    parts = [_START.pack(MAGIC, len(text)), text, *(little_endian(a).tobytes() for a in delta.arrays.values())]
    body = b"".join(parts)
    return body + hashlib.blake2b(body, digest_size=_DIGEST).digest()


def parse_delta(raw: bytes, source: str) -> Delta:
    """Read the bytes of a file; nothing in them is trusted before it is found right.

    Raises
    ------
    UserError
        If they are no delta, damaged, of another version, or hold what cannot be; ``source`` names them.
    """
    if raw[: len(MAGIC)] != MAGIC:
        raise UserError(f"{source} is no delta of an artifact")
    if len(raw) < _START.size + _DIGEST:
        raise UserError(f"{source} is cut off: it has {len(raw)} bytes")
    if len(raw) > MOST_BYTES:
        raise UserError(f"{source} has more than {MOST_BYTES} bytes; no delta is so large")
    if hashlib.blake2b(raw[:-_DIGEST], digest_size=_DIGEST).digest() != raw[-_DIGEST:]:
        raise UserError(f"{source} is damaged: its contents do not match its checksum")
    length = _START.unpack_from(raw)[1]
    if length > min(MOST_HEAD, len(raw) - _START.size - _DIGEST):
        raise UserError(f"{source} speaks of a head of {length} bytes, which it does not hold")
    start = _START.size + length
    head = versioned(parse_json(raw[_START.size : start], source), source, FORMAT, "delta", FORMAT_VERSION)
    delta = Delta(
        version=head.whole("version", 1, MOST_VERSION),
        series=_digest_in(head, "series"),
        base=_digest_in(head, "base"),
        items=head.whole("items", 1, MOST_ITEMS),
        catalogue=_digest_in(head, "catalogue"),
        leads_to=_digest_in(head, "leads_to"),
        table=head.text("table", tuple(ITEM_TYPES)),
        arrays=_arrays(head.record("arrays"), raw, start, len(raw) - _DIGEST, source),
    )
    _check(delta, source)
    return delta


def _digest_in(head: Record, key: str) -> str:
    if not _HEX.fullmatch(head.text(key)):
        raise head.refuse(key, "32 digits in hexadecimal")
    return head.text(key)


def _arrays(entries: Record, raw: bytes, start: int, end: int, source: str) -> dict[str, np.ndarray]:
    arrays = {}
    for name in entries:
        entry = entries.record(name)
        dtype, shape = entry.text("dtype", tuple(DTYPES)), entry.wholes("shape", 0, MOST_BYTES)
        if not 1 <= len(shape) <= 2:
            raise entry.refuse("shape", "one number or two")
        count = math.prod(shape)
        size = count * DTYPES[dtype]
        if size > end - start:
            raise UserError(f"{source} does not hold the whole array {name!r}")
        stored = np.frombuffer(raw, np.dtype(dtype).newbyteorder("<"), count, start) if count else np.empty(0, dtype)
        arrays[name] = stored.astype(dtype).reshape(shape)
        start += size
    if start != end:
        raise UserError(f"{source} holds {end - start} bytes that its head does not speak of")
    return arrays


def _check(delta: Delta, source: str) -> None:
    """The arrays fit each other, and every number in them is one that can be."""
    a, kinds = delta.arrays, _kinds(delta.arrays, delta.table)
    missing, further = sorted(set(kinds) - set(a)), sorted(set(a) - set(kinds))
    if missing or further:
        what = f"lacks the array {missing[0]!r}" if missing else f"holds the array {further[0][:40]!r}"
        raise UserError(f"{source} {what}, which does not fit the others")
    new, width = a["token_offsets"].shape[0] - 2, a["item_vectors"].shape[-1]
    if new < 0 or a["item_vectors"].ndim != 2 or delta.items + new > MOST_ITEMS:
        raise UserError(f"{source} holds arrays of new items that do not fit each other")
    rows = len(a["neighbour_rows"]) if "neighbour_rows" in a else 0
    entries = len(a["neighbour_weights"]) if "neighbour_rows" in a else 0
    popular = len(a.get("popular_items", ()))
    sizes = {"m": (new,), "m,d": (new, width), "r": (rows,), "r+m": (rows + new,), "r+m+1": (rows + new + 1,)}
    sizes |= {"E": (entries,)}
    sizes |= {"p": (popular,), "m+2": (new + 2,), "bytes": a["token_bytes"].shape}
    for name, (dtype, size) in kinds.items():
        dtype = neighbour_type(delta.items + new) if dtype == "items" else dtype
        if a[name].dtype != dtype or a[name].shape != sizes[size] or (size == "bytes" and a[name].ndim != 1):
            given = f"{a[name].dtype} {list(a[name].shape)}"
            raise UserError(f"{source}: the array {name!r} is {given}, which does not fit the others")
        if a[name].dtype.kind == "f" and not np.isfinite(a[name]).all():
            raise UserError(f"{source}: the array {name!r} holds NaN or infinity")
    delta.tokens(source)
    table = delta.neighbours()
    if table is not None:
        changed = a["neighbour_rows"].astype(np.int64)
        inside = not rows or (changed[0] > 0 and changed[-1] < delta.items and (np.diff(changed) > 0).all())
        if not inside:
            raise UserError(f"{source}: the rows of neighbours that change are no ascending rows of earlier items")
        table.check_rows(source, MOST_NEIGHBOURS)
        table.check_items(source, delta.items + new)
    if "popular_items" in a:
        Popular(a["popular_items"], a["popular_weights"]).check(delta.items + new, source)


def _kinds(arrays: Mapping[str, Any], table: str) -> dict[str, tuple[str, str]]:
    """Type and shape of each array that there must be, by those that there are."""
    kinds = {"item_vectors": (ITEM_TYPES[table], "m,d")}
    if "target_vectors" in arrays:
        kinds["target_vectors"] = (ITEM_TYPES[table], "m,d")
    if table == "int8":
        kinds |= {name.replace("vectors", "scales"): ("float32", "m") for name in list(kinds)}
    kinds |= {"token_bytes": ("uint8", "bytes"), "token_offsets": ("uint32", "m+2")}
    if any(name.startswith("neighbour_") for name in arrays):
        kinds |= {"neighbour_rows": ("uint32", "r"), "neighbour_indptr": ("uint32", "r+m+1")}
        kinds |= {"neighbour_items": ("items", "E"), "neighbour_weights": ("int8", "E")}
        kinds |= {"neighbour_scales": ("float32", "r+m")}
    if any(name.startswith("popular_") for name in arrays):
        kinds |= {"popular_items": ("uint32", "p"), "popular_weights": ("float32", "p")}
    return kinds
