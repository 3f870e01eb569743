"""manifest.json: what a device artifact holds, and whether it is whole.

Nothing in a manifest is trusted before its checksum, its version and every value that a size follows from are right.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device.fingerprint import catalogue_fingerprint

FORMAT = "recbole_cocorr.device"
FORMAT_VERSION = 1
NAME = "manifest.json"
# A manifest is a few kilobytes; what is larger is none.
MOST_BYTES = 1 << 20
DTYPES = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1, "uint32": 4}
POLICIES = ("carry", "window")
# The longest window, the largest number of dimensions and of bytes that a manifest may speak of.
_MOST_WINDOW, _MOST_DIMS, _MOST_SIZE = 1 << 16, 4, 1 << 40

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
        Of the model's weights but the item embedding: what a correction must be made for.
    probes : int
        Most slots of the token index that a look-up has to read.
    norm_eps : float or None
        Of the RMSNorm that makes the hidden states; None where nothing is uploaded.
    metrics : dict
        The checkpoint's validation result.
    check : dict
        What the check after writing found.
    package_version : str
    trust : dict or None
        ``base``, ``per_log_click`` and ``scale`` of the trust in the cloud's item-item scores, and the fingerprints
        ``corrector`` of what makes them and ``items`` of the catalogue whose rows it knows; None where none was
        learned. Without ``items`` the service cannot be asked, since it is asked by rows.
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

    def files(self) -> dict[str, FileEntry]:
        """Every file but the manifest, by its name."""
        return {entry.file: entry for entry in (*self.graphs.values(), *self.arrays.values())}

    def graph_bytes(self) -> int:
        """Bytes of all graphs and the weights that they share."""
        return sum(e.bytes for e in self.graphs.values()) + self.arrays["weights"].bytes

    def identity(self) -> bytes:
        """16 bytes that two artifacts share only if their sessions' states can be exchanged."""
        parts = [self.fingerprint, self.table, str(self.window), str(self.mini_batch)]
        parts += [f"{n}:{e.blake2b}" for n, e in sorted({**self.graphs, **self.arrays}.items())]
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).digest()

    def catalogue(self) -> str:
        """Fingerprint of which item has which row."""
        return catalogue_fingerprint(*(self.arrays[n].blake2b for n in ("token_bytes", "token_offsets")))

    def to_json(self) -> str:
        """The text of the file, its own checksum included."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **self._plain()}
        return json.dumps({**content, "checksum": _checksum(content)}, indent=1, ensure_ascii=True) + "\n"

    def _plain(self) -> dict[str, Any]:
        content = {name: getattr(self, name) for name in self.__dataclass_fields__}
        content["graphs"] = {n: vars(e) for n, e in self.graphs.items()}
        content["arrays"] = {n: {**vars(e), "shape": list(e.shape)} for n, e in self.arrays.items()}
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
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise UserError(f"{path} has more than {MOST_BYTES} bytes; no manifest of an artifact is so large")
    return parse_manifest(raw, str(path))


def parse_manifest(raw: bytes, source: str) -> Manifest:
    """Make a Manifest of the bytes of a file; ``source`` names it in errors."""
    try:
        content = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source} is no JSON: {str(error)[:80]}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{source} is no manifest of a device artifact of recbole_cocorr")
    version = content.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise UserError(
            f"{source} has the artifact format {str(version)[:20]!r}, written by recbole_cocorr "
            f"{str(content.get('package_version'))[:20]}; this version reads format {FORMAT_VERSION}"
        )
    try:
        checksum = content.pop("checksum", None)
        if checksum != _checksum(content):
            raise UserError(f"{source} is damaged: its contents do not match its checksum")
        return _manifest_of(content)
    except _BadError as error:
        raise UserError(f"{source} cannot be read: {error}") from None
    except RecursionError:
        raise UserError(f"{source} cannot be read: it is nested too deeply") from None


class _BadError(Exception):
    pass


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _whole(content: dict, key: str, least: int, most: int, source: str = "") -> int:
    value = content.get(key)
    if type(value) is not int or not least <= value <= most:
        raise _BadError(f"{source}{key} is {str(value)[:40]}; it must be a whole number from {least} to {most}")
    return value


def _dict(content: dict, key: str) -> dict:
    value = content.get(key)
    if not isinstance(value, dict):
        raise _BadError(f"{key} is no object")
    return value


def _file_entry(name: str, content: Any) -> FileEntry:
    if not isinstance(content, dict):
        raise _BadError(f"{name[:40]!r} is no object")
    file, digest = content.get("file"), content.get("blake2b")
    if not isinstance(file, str) or not _FILE.fullmatch(file):
        raise _BadError(f"the file of {name[:40]!r} is {str(file)[:40]!r}; it must be a plain file name")
    if not isinstance(digest, str) or not _HEX.fullmatch(digest):
        raise _BadError(f"the checksum of {name[:40]!r} is none")
    return FileEntry(file, _whole(content, "bytes", 0, _MOST_SIZE, f"{name[:40]}: "), digest)


def _array_entry(name: str, content: Any) -> ArrayEntry:
    entry = _file_entry(name, content)
    dtype, shape = content.get("dtype"), content.get("shape")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _BadError(f"dtype of {name[:40]!r} is {str(dtype)[:20]!r}; it must be one of {', '.join(DTYPES)}")
    right = isinstance(shape, list) and len(shape) <= _MOST_DIMS
    if not right or not all(type(n) is int and 0 <= n <= _MOST_SIZE for n in shape):
        raise _BadError(f"shape of {name[:40]!r} is {str(shape)[:40]}")
    size = math.prod(shape) * DTYPES[dtype]
    if size != entry.bytes:
        raise _BadError(f"{name[:40]!r} has {entry.bytes} bytes; its shape and type make {size}")
    return ArrayEntry(entry.file, entry.bytes, entry.blake2b, dtype, tuple(shape))


def _manifest_of(content: dict[str, Any]) -> Manifest:
    model = _dict(content, "model")
    if not isinstance(model.get("name"), str):
        raise _BadError("model has no name")
    items = _whole(content, "items", 1, 1 << 31)
    width = _whole(content, "width", 1, 1 << 16)
    window = _whole(content, "window", 1, _MOST_WINDOW)
    mini_batch = content.get("mini_batch")
    if mini_batch is not None:
        mini_batch = _whole(content, "mini_batch", 1, _MOST_WINDOW)
    table, policy = content.get("table"), content.get("policy")
    if table not in ("fp32", "fp16", "int8"):
        raise _BadError(f"table is {str(table)[:20]!r}; it must be fp32, fp16 or int8")
    if policy not in POLICIES:
        raise _BadError(f"policy is {str(policy)[:20]!r}; it must be carry or window")
    fingerprint = content.get("fingerprint")
    if not isinstance(fingerprint, str) or not _HEX.fullmatch(fingerprint):
        raise _BadError("fingerprint is none")
    eps = content.get("norm_eps")
    if eps is not None and (type(eps) is not float or not 0 <= eps <= 1):
        raise _BadError(f"norm_eps is {str(eps)[:20]}")
    graphs = {n: _file_entry(n, e) for n, e in _dict(content, "graphs").items()}
    arrays = {n: _array_entry(n, e) for n, e in _dict(content, "arrays").items()}
    manifest = Manifest(
        model=model,
        items=items,
        width=width,
        window=window,
        mini_batch=mini_batch,
        table=table,
        policy=policy,
        correction=_correction(content.get("correction")),
        graphs=graphs,
        arrays=arrays,
        fingerprint=fingerprint,
        probes=_whole(content, "probes", 1, 1 << 20),
        norm_eps=eps,
        metrics=_dict(content, "metrics"),
        check=_dict(content, "check"),
        package_version=str(content.get("package_version"))[:40],
        trust=_trust(content.get("trust")),
    )
    _check_parts(manifest)
    return manifest


def _correction(content: Any) -> dict[str, list[int]] | None:
    if content is None:
        return None
    right = isinstance(content, dict) and set(content) == {"attention", "bias"}
    for shape in content.values() if right else ():
        sizes = isinstance(shape, list) and len(shape) == 3 and all(type(n) is int for n in shape)
        right = right and sizes and all(1 <= n <= _MOST_WINDOW for n in shape) and math.prod(shape) <= 1 << 26
    if not right:
        raise _BadError(f"correction is {str(content)[:60]}")
    return content


def _trust(content: Any) -> dict[str, Any] | None:
    if content is None:
        return None
    numbers = ("base", "per_log_click", "scale")
    right = isinstance(content, dict) and {*content, "items"} == {*numbers, "corrector", "items"}
    right = right and isinstance(content.get("items", ""), str)
    right = right and all(type(content[n]) is float and abs(content[n]) <= 1e6 for n in numbers)
    if not right or not content["scale"] > 0 or not isinstance(content["corrector"], str):
        raise _BadError(f"trust is {str(content)[:60]}")
    return content


def _check_parts(manifest: Manifest) -> None:
    """Every part that a session reads is there and fits the others."""
    m = manifest
    item_type = {"fp32": "float32", "fp16": "float16", "int8": "int8"}[m.table]
    wanted: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "item_vectors": (item_type, (m.items, m.width)),
        "token_bytes": ("uint8", (None,)),
        "token_offsets": ("uint32", (m.items + 1,)),
        "token_index": ("uint32", (None,)),
        "weights": ("uint8", (None,)),
    }
    if "target_vectors" in m.arrays:
        wanted["target_vectors"] = (item_type, (m.items, m.width))
    if m.table == "int8":
        wanted |= {n.replace("vectors", "scales"): ("float32", (m.items,)) for n in wanted if n.endswith("_vectors")}
    if m.correction is not None:
        wanted["upload_norm"] = ("float32", (m.width,))
        if m.norm_eps is None:
            raise _BadError("norm_eps is missing")
    for name, (dtype, shape) in wanted.items():
        entry = m.arrays.get(name)
        if entry is None:
            raise _BadError(f"the array {name!r} is missing")
        fits = len(entry.shape) == len(shape) and all(
            w is None or n == w for n, w in zip(entry.shape, shape, strict=True)
        )
        if entry.dtype != dtype or not fits:
            raise _BadError(f"the array {name!r} is {entry.dtype} {list(entry.shape)}, which does not fit")
    if m.arrays["weights"].bytes > 1 << 30:
        raise _BadError("the array 'weights' must be of a moderate size")
    slots = m.arrays["token_index"].shape[0]
    if slots < 2 or slots & (slots - 1) or slots < m.items:
        raise _BadError(f"token_index has {slots} slots; it must be a power of two and hold every item")
    graphs = {"prefill"}
    if "state" in m.arrays:
        graphs.add("step")
        if m.arrays["state"].dtype != "float32" or m.arrays["state"].bytes > 1 << 26:
            raise _BadError("the array 'state' must be float32 and of a moderate size")
    elif m.policy != "window":
        raise _BadError("a model without a state reads windows; policy must be 'window'")
    if m.mini_batch is not None:
        graphs.add("fold")
        if "state" not in m.arrays:
            raise _BadError("the array 'state' is missing")
        shape = m.arrays["state"].shape  # [layers H, f + 1 + 2 K, f]
        if len(shape) != 3 or not shape[2] or m.width % shape[2] or shape[1] != shape[2] + 1 + 2 * m.mini_batch:
            raise _BadError(f"the array 'state' is {list(shape)}, which does not fit")
        if "click" in m.graphs:
            graphs.add("slot")
    if m.correction is not None:
        graphs.add("correct")
        if m.mini_batch is None:
            raise _BadError("mini_batch is missing")
    missing = sorted(graphs - set(m.graphs))
    if missing:
        raise _BadError(f"the graph {missing[0]!r} is missing")
    names = [e.file for e in (*m.graphs.values(), *m.arrays.values())]
    if len(set(names)) < len(names) or NAME in names:
        raise _BadError("two parts have one file")
