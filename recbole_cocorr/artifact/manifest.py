"""manifest.json: what a device artifact holds, and whether it is whole.

Nothing in a manifest is trusted before its checksum, its version and every value that a size follows from are right.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_cocorr.artifact.fingerprint import catalogue_fingerprint
from recbole_cocorr.artifact.request_rule import RequestRule
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record, parse_json, read_bytes, versioned

FORMAT = "recbole_cocorr.device"
# An artifact with a neighbour table or a delta has format 4; others are as readers of format 1 know them. Formats 2 and
# 3, whose tables had rows of one length, are read no more.
VERSIONS = FORMAT_VERSION, EXTENDED = 1, 4
_MEND = "export the model again"
NAME = "manifest.json"
# A manifest is a few kilobytes; a larger file is no manifest.
MOST_BYTES = 1 << 20
DTYPES = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1, "uint16": 2, "uint32": 4}
POLICIES = ("carry", "window")
# The type of an item's numbers by the precision of the table.
ITEM_TYPES = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
# The longest window, the largest number of dimensions and of bytes that a manifest may speak of.
_MOST_WINDOW, _MOST_DIMS, _MOST_SIZE = 1 << 16, 4, 1 << 40

# The largest trust in the cloud's scores, in units of the device's.
MOST_TRUST = 1e6
# The most neighbours of an item on average, and clicks that a session remembers for them.
MOST_NEIGHBOURS, MOST_CLICKS = 1 << 10, 1 << 12
# The longest row of a neighbour table, in rows of average length: it bounds what a click costs, and a session's memory.
LONGEST_ROW = 8

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_HEX = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class FileEntry:
    """A file of the artifact.

    Attributes
    ----------
    file : str
        Its name in the artifact's folder.
    bytes : int
    blake2b : str
        BLAKE2b of its contents, 16 bytes, in hexadecimal.
    """

    file: str
    bytes: int
    blake2b: str


@dataclass(frozen=True)
class ArrayEntry(FileEntry):
    """A file of numbers, little-endian, row after row, without a header.

    Attributes
    ----------
    dtype : str
    shape : tuple of int
    """

    dtype: str
    shape: tuple[int, ...]


@dataclass
class Manifest:
    """The contents of manifest.json.

    Attributes
    ----------
    model : dict
        ``name`` and the settings that the model was trained with.
    items : int
        Rows of the item table, padding (row 0) included.
    width : int
        d, numbers of an item's vector.
    window : int
        L, clicks that the model was trained to read.
    mini_batch : int or None
        K of CoCorrRec; None for a model whose state needs no place.
    table : str
        fp32, fp16 or int8.
    policy : str
        What a session does with a history longer than L, unless told otherwise: carry or window.
    correction : dict or None
        Shapes ``attention`` and ``bias`` of a correction; None for a model that takes none.
    graphs : dict of str to FileEntry
    arrays : dict of str to ArrayEntry
    fingerprint : str
        Digest of the model's weights without the item embedding; a correction must be made for it.
    probes : int
        Most slots of the token index that a look-up has to read.
    norm_eps : float or None
        Epsilon of the RMSNorm that makes the hidden states; None where nothing is uploaded.
    metrics : dict
        The checkpoint's validation result.
    check : dict
        What the check after writing found.
    package_version : str
    trust : dict or None
        ``base``, ``per_log_click`` and ``scale`` of the trust in the cloud's item-item scores, and the fingerprints
        ``corrector`` of what makes them and ``items`` of the catalogue whose rows it knows; None where none was
        learned. Without ``items`` the service cannot be asked, since it is asked by rows.
    neighbours : dict or None
        Of the neighbour table: ``count`` N, entries of an item on average, ``decay`` of a click beside the next one,
        ``clicks`` T that count, and the trust in its scores: ``form`` (``asinh``), ``base``, ``per_log_click`` and
        ``scale``; None without a table.
    delta : dict or None
        Of the delta that was applied last: ``base``, the identity of the artifact as it was exported, in hexadecimal,
        ``items``, the rows of its item table, ``series`` and ``version`` of the delta; None where none was.
    requests : RequestRule or None
        When a session asks for the cloud's scores; None where that was not learned, and where a neighbour table says
        the same as the cloud.
    """

    model: dict[str, Any]
    items: int
    width: int
    window: int
    mini_batch: int | None
    table: str
    policy: str
    correction: dict[str, list[int]] | None
    graphs: dict[str, FileEntry]
    arrays: dict[str, ArrayEntry]
    fingerprint: str
    probes: int
    norm_eps: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    check: dict[str, Any] = field(default_factory=dict)
    package_version: str = ""
    trust: dict[str, Any] | None = None
    neighbours: dict[str, Any] | None = None
    delta: dict[str, Any] | None = None
    requests: RequestRule | None = None

    def files(self) -> dict[str, FileEntry]:
        """Every file but the manifest, by its name."""
        return {entry.file: entry for entry in (*self.graphs.values(), *self.arrays.values())}

    def graph_bytes(self) -> int:
        """Bytes of all graphs and the weights that they share."""
        return sum(e.bytes for e in self.graphs.values()) + self.arrays["weights"].bytes

    def identity(self) -> bytes:
        """16 bytes that two artifacts share only if their sessions' states can be exchanged.

        Deltas of one series keep it: rows stay where they are, and further ones come behind them.
        """
        if self.delta is not None:
            return hashlib.blake2b(f"{self.delta['base']}\n{self.delta['series']}".encode(), digest_size=16).digest()
        lines = [self.fingerprint, self.table, str(self.window), str(self.mini_batch)]
        lines += [f"{n}:{e.blake2b}" for n, e in sorted({**self.graphs, **self.arrays}.items())]
        if self.neighbours is not None:
            lines += [str(self.neighbours["decay"]), str(self.neighbours["clicks"])]
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).digest()

    def catalogue(self) -> str:
        """Fingerprint of which item has which row."""
        return catalogue_fingerprint(*(self.arrays[n].blake2b for n in ("token_bytes", "token_offsets")))

    def base(self) -> tuple[str, int]:
        """Identity, in hexadecimal, and rows of the artifact as it was before any delta."""
        if self.delta is None:
            return self.identity().hex(), self.items
        return self.delta["base"], self.delta["items"]

    def to_json(self) -> str:
        """The text of the file, its own checksum included."""
        version = FORMAT_VERSION if self.neighbours is None and self.delta is None else EXTENDED
        content = {"format": FORMAT, "format_version": version, **self._plain()}
        return json.dumps({**content, "checksum": _checksum(content)}, indent=1, ensure_ascii=True) + "\n"

    def _plain(self) -> dict[str, Any]:
        content = {name: getattr(self, name) for name in self.__dataclass_fields__}
        content["graphs"] = {n: vars(e) for n, e in self.graphs.items()}
        content["arrays"] = {n: {**vars(e), "shape": list(e.shape)} for n, e in self.arrays.items()}
        for name in ("neighbours", "delta", "requests"):
            if content[name] is None:
                del content[name]
        if self.requests is not None:
            content["requests"] = self.requests.described()
        return content


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of an artifact.

    Raises
    ------
    UserError
        If it is missing, damaged, of another kind or version, or names what cannot be; the sentence says which.
    """
    path = folder / NAME
    if not path.is_file():
        raise UserError(f"{folder} is no device artifact: it holds no {NAME}")
    return parse_manifest(read_bytes(path, "manifest of an artifact", MOST_BYTES), str(path))


def parse_manifest(raw: bytes, source: str) -> Manifest:
    """Make a Manifest of the bytes of a file; ``source`` names it in errors."""
    content = versioned(parse_json(raw, source), source, FORMAT, "manifest of a device artifact", VERSIONS, _MEND)
    checksum = content.content.pop("checksum", None)
    if checksum != _checksum(content.content):
        raise UserError(f"{source} is damaged: its contents do not match its checksum")
    added = [name for name in ("neighbours", "delta") if name in content]
    if bool(added) != (content.content["format_version"] == EXTENDED):
        raise content.refuse(added[0] if added else "neighbours", f"there in format {EXTENDED} alone, or delta is")
    manifest = _manifest_of(content)
    if manifest.requests is not None and manifest.trust is None:
        raise content.refuse("requests", "left out where no corrector is trusted")
    _check_parts(manifest, source)
    return manifest


def _file_entry(entry: Record) -> FileEntry:
    if not _FILE.fullmatch(entry.text("file")):
        raise entry.refuse("file", "a plain file name")
    return FileEntry(entry.text("file"), entry.whole("bytes", 0, _MOST_SIZE), _digest_in(entry, "blake2b"))


def _digest_in(content: Record, key: str) -> str:
    if not _HEX.fullmatch(content.text(key)):
        raise content.refuse(key, "32 digits in hexadecimal")
    return content.text(key)


def _array_entry(content: Record) -> ArrayEntry:
    entry = _file_entry(content)
    dtype, shape = content.text("dtype", tuple(DTYPES)), content.wholes("shape", 0, _MOST_SIZE)
    if len(shape) > _MOST_DIMS:
        raise content.refuse("shape", f"a list of at most {_MOST_DIMS} numbers")
    size = math.prod(shape) * DTYPES[dtype]
    if size != entry.bytes:
        raise content.refuse("bytes", f"{size}, as its shape and type make it")
    return ArrayEntry(entry.file, entry.bytes, entry.blake2b, dtype, tuple(shape))


def _entries(content: Record, make: Callable[[Record], Any]) -> dict[str, Any]:
    return {name: make(content.record(name)) for name in content}


def _manifest_of(content: Record) -> Manifest:
    model = content.record("model")
    model.text("name")
    return Manifest(
        model=model.content,
        items=content.whole("items", 1, 1 << 31),
        width=content.whole("width", 1, 1 << 16),
        window=content.whole("window", 1, _MOST_WINDOW),
        mini_batch=None if content.absent("mini_batch") else content.whole("mini_batch", 1, _MOST_WINDOW),
        table=content.text("table", ("fp32", "fp16", "int8")),
        policy=content.text("policy", POLICIES),
        correction=None if content.absent("correction") else _correction(content),
        graphs=_entries(content.record("graphs"), _file_entry),
        arrays=_entries(content.record("arrays"), _array_entry),
        fingerprint=_digest_in(content, "fingerprint"),
        probes=content.whole("probes", 1, 1 << 20),
        norm_eps=None if content.absent("norm_eps") else content.number("norm_eps", 0, 1),
        metrics=content.numbers("metrics"),
        check=content.record("check").content,
        package_version=content.text("package_version")[:40],
        trust=None if content.absent("trust") else _trust(content),
        neighbours=_neighbours(content) if "neighbours" in content else None,
        delta=_delta(content) if "delta" in content else None,
        requests=RequestRule.of(content.record("requests")) if "requests" in content else None,
    )


def _correction(content: Record) -> dict[str, list[int]]:
    shapes = content.record("correction")
    for name in shapes:
        shape = shapes.wholes(name, 1, _MOST_WINDOW)
        if len(shape) != 3 or math.prod(shape) > 1 << 26:
            raise shapes.refuse(name, "three numbers of a moderate size")
    if set(shapes) != {"attention", "bias"}:
        raise content.refuse("correction", "the shapes of attention and bias")
    return shapes.content


def _trust(content: Record) -> dict[str, Any]:
    trust = content.record("trust")
    for name in ("base", "per_log_click", "scale"):
        trust.number(name, -MOST_TRUST, MOST_TRUST)
    if not trust.number("scale") > 0:
        raise trust.refuse("scale", "above 0")
    trust.text("corrector"), trust.text("items", default=None)
    if {*trust, "items"} != {"base", "per_log_click", "scale", "corrector", "items"}:
        raise content.refuse("trust", "base, per_log_click, scale, corrector and items")
    return trust.content


_LEAST_LEFT = 1e-30


def _neighbours(content: Record) -> dict[str, Any]:
    neighbours = content.record("neighbours")
    neighbours.whole("count", 1, MOST_NEIGHBOURS), neighbours.whole("clicks", 1, MOST_CLICKS)
    neighbours.text("form", ("asinh",))
    for name in ("base", "per_log_click"):
        neighbours.number(name, -MOST_TRUST, MOST_TRUST)
    for name, most in (("decay", 1), ("scale", MOST_TRUST)):
        if not neighbours.number(name, 0, most):
            raise neighbours.refuse(name, "above 0")
    # A session divides by what is left of the oldest click.
    if neighbours.number("decay") ** neighbours.whole("clicks") < _LEAST_LEFT:
        raise neighbours.refuse(
            "decay", f"so large that {_LEAST_LEFT:g} is left of a click after the clicks that count"
        )
    if set(neighbours) != {"count", "clicks", "decay", "form", "base", "per_log_click", "scale"}:
        raise content.refuse("neighbours", "count, clicks, decay, form, base, per_log_click and scale")
    return neighbours.content


def _delta(content: Record) -> dict[str, Any]:
    delta = content.record("delta")
    _digest_in(delta, "base"), _digest_in(delta, "series")
    delta.whole("version", 1), delta.whole("items", 1, content.whole("items"))
    if set(delta) != {"base", "items", "series", "version"}:
        raise content.refuse("delta", "base, items, series and version")
    return delta.content


def neighbour_type(items: int) -> str:
    """The smallest type of numbers that name every row of a catalogue."""
    return "uint16" if items <= 1 << 16 else "uint32"


def _check_parts(manifest: Manifest, source: str) -> None:
    """Every part that a session reads is there and fits the others."""
    try:
        _check_fit(manifest)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None


def _shape(manifest: Manifest, name: str) -> tuple[int, ...]:
    entry = manifest.arrays.get(name)
    return () if entry is None else entry.shape


def _check_fit(manifest: Manifest) -> None:
    m = manifest
    item_type = ITEM_TYPES[m.table]
    expected: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "item_vectors": (item_type, (m.items, m.width)),
        "token_bytes": ("uint8", (None,)),
        "token_offsets": ("uint32", (m.items + 1,)),
        "token_index": ("uint32", (None,)),
        "weights": ("uint8", (None,)),
    }
    if "native" in m.arrays:
        expected["native"] = ("uint8", (None,))
    if "target_vectors" in m.arrays:
        expected["target_vectors"] = (item_type, (m.items, m.width))
    if m.table == "int8":
        expected |= {
            n.replace("vectors", "scales"): ("float32", (m.items,)) for n in expected if n.endswith("_vectors")
        }
    if m.neighbours is not None:
        expected |= {
            "neighbour_indptr": ("uint32", (m.items + 1,)),
            "neighbour_items": (neighbour_type(m.items), (None,)),
            "neighbour_weights": ("int8", _shape(m, "neighbour_items")),
            "neighbour_scales": ("float32", (m.items,)),
        }
    if "popular_items" in m.arrays:
        size = _shape(m, "popular_items")
        expected |= {"popular_items": ("uint32", (None,)), "popular_weights": ("float32", size)}
    if m.correction is not None:
        expected["upload_norm"] = ("float32", (m.width,))
        if m.norm_eps is None:
            raise ValueError("norm_eps is missing")
    for name, (dtype, shape) in expected.items():
        entry = m.arrays.get(name)
        if entry is None:
            raise ValueError(f"the array {name!r} is missing")
        fits = len(entry.shape) == len(shape) and all(
            w is None or n == w for n, w in zip(entry.shape, shape, strict=True)
        )
        if entry.dtype != dtype or not fits:
            raise ValueError(f"the array {name!r} is {entry.dtype} {list(entry.shape)}, which does not fit")
    for name in ("weights", "native"):
        if name in m.arrays and m.arrays[name].bytes > 1 << 30:
            raise ValueError(f"the array {name!r} must be of a moderate size")
    slots = m.arrays["token_index"].shape[0]
    if slots < 2 or slots & (slots - 1) or slots < m.items:
        raise ValueError(f"token_index has {slots} slots; it must be a power of two and hold every item")
    graphs = {"prefill"}
    if "state" in m.arrays:
        graphs.add("step")
        if m.arrays["state"].dtype != "float32" or m.arrays["state"].bytes > 1 << 26:
            raise ValueError("the array 'state' must be float32 and of a moderate size")
    elif m.policy != "window":
        raise ValueError("a model without a state reads windows; policy must be 'window'")
    if m.mini_batch is not None:
        graphs.add("fold")
        if "state" not in m.arrays:
            raise ValueError("the array 'state' is missing")
        shape = m.arrays["state"].shape  # [layers H, f + 1 + 2 K, f]
        if len(shape) != 3 or not shape[2] or m.width % shape[2] or shape[1] != shape[2] + 1 + 2 * m.mini_batch:
            raise ValueError(f"the array 'state' is {list(shape)}, which does not fit")
        if "click" in m.graphs:
            graphs.add("slot")
    if m.correction is not None:
        graphs.add("correct")
        if m.mini_batch is None:
            raise ValueError("mini_batch is missing")
    missing = sorted(graphs - set(m.graphs))
    if missing:
        raise ValueError(f"the graph {missing[0]!r} is missing")
    names = [e.file for e in (*m.graphs.values(), *m.arrays.values())]
    if len(set(names)) < len(names) or NAME in names:
        raise ValueError("two parts have one file")
