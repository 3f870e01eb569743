"""Hidden states, corrections, item rows and scores as bytes: what ``v1/correction.proto`` carries. numpy alone.

With L = 10, d = 64, H = 4, K = 10 the hidden states are 2,560 bytes in float32 and a correction is 4,160 bytes. Ten
clicks and a hundred candidates are 440 bytes, their scores 200 bytes in float16.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SERVICE = "recbole_cocorr.cloud.v1.Corrections"
CORRECT, SCORE, DESCRIBE = (f"/{SERVICE}/{name}" for name in ("Correct", "Score", "Describe"))

# Numbers of the proto's enumeration.
FLOAT32, FLOAT16, INT8 = 0, 1, 2
ENCODINGS = {"float32": FLOAT32, "float16": FLOAT16, "int8": INT8}

# Of one request for scores: no more bytes up than hidden states have. With a decay of .9 the 129th click from the end
# counts a millionth of the last.
MOST_CLICKS, MOST_CANDIDATES = 128, 512

# Larger numbers are no hidden state: a row's root mean square is 1 before its learned weights.
LARGEST = 1e6

_FLOAT, _HALF, _BYTE = np.dtype("<f4"), np.dtype("<f2"), np.dtype("i1")
_ROW = np.dtype("<i4")
_SCORES = {FLOAT32: _FLOAT, FLOAT16: _HALF}
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")


class WireError(ValueError):
    """Bytes that are not what they should be; the text says why and does not quote them."""


class Shape(NamedTuple):
    """Sizes of a correction.

    Attributes
    ----------
    heads, mini_batch, head_width : int
        H, K and f.
    """

    heads: int
    mini_batch: int
    head_width: int

    @property
    def attention(self) -> tuple[int, int, int]:
        """Shape of A^."""
        return self.heads, self.mini_batch, self.mini_batch

    @property
    def bias(self) -> tuple[int, int, int]:
        """Shape of B^."""
        return self.heads, self.mini_batch, self.head_width

    @property
    def bytes(self) -> int:
        """Size of a correction: 4 H K (K + f)."""
        return 4 * self.heads * self.mini_batch * (self.mini_batch + self.head_width)


def fingerprint_bytes(fingerprint: str) -> bytes:
    """The 16 bytes of a model's fingerprint.

    Raises
    ------
    WireError
        If it is no fingerprint.
    """
    if not isinstance(fingerprint, str) or not _FINGERPRINT.fullmatch(fingerprint):
        raise WireError("a fingerprint is 32 hexadecimal digits")
    return bytes.fromhex(fingerprint)


def row_bytes(encoding: int, width: int) -> int:
    """Size of one row of ``width`` numbers.

    Raises
    ------
    WireError
        For an encoding that this version does not know.
    """
    sizes = {FLOAT32: 4 * width, FLOAT16: 2 * width, INT8: 4 + width}
    if encoding not in sizes:
        raise WireError(f"the encoding {encoding} is not known; this version knows 0, 1 and 2")
    return sizes[encoding]


def encode_rows(rows: np.ndarray, encoding: int = FLOAT32) -> bytes:
    """Hidden states [n, d] as bytes.

    ``FLOAT16`` rounds to the nearest, ``INT8`` to 1/127 of a row's largest number.

    Raises
    ------
    WireError
        If they are no matrix of finite numbers.
    """
    rows = np.asarray(rows, _FLOAT)
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise WireError("hidden states are a matrix [n, d] of finite numbers, n and d at least 1")
    row_bytes(encoding, 1)
    if encoding == FLOAT32:
        return np.ascontiguousarray(rows).tobytes()
    if encoding == FLOAT16:
        most = np.finfo(_HALF).max
        return np.clip(rows, -most, most).astype(_HALF).tobytes()
    scale = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)
    whole = np.rint(rows / np.where(scale > 0, scale, 1)).astype(_BYTE)
    return np.concatenate([scale.astype(_FLOAT).view(np.uint8), whole.view(np.uint8)], axis=1).tobytes()


def decode_rows(payload: bytes, encoding: int, width: int, most_rows: int) -> np.ndarray:
    """Hidden states float32 [n, d] of bytes.

    Raises
    ------
    WireError
        If the bytes are no whole number of rows, no row, too many rows, or hold numbers that no hidden state has.
    """
    size = row_bytes(encoding, width)
    rows, rest = divmod(len(payload), size)
    if rest or not rows:
        raise WireError(f"{len(payload)} bytes are no whole number of rows of {size} bytes, one at least")
    if rows > most_rows:
        raise WireError(f"{rows} rows of hidden states; this model reads {most_rows} at most")
    if encoding == FLOAT32:
        x = np.frombuffer(payload, _FLOAT).reshape(rows, width)
    elif encoding == FLOAT16:
        x = np.frombuffer(payload, _HALF).reshape(rows, width).astype(np.float32)
    else:
        raw = np.frombuffer(payload, np.uint8).reshape(rows, size)
        scale = np.ascontiguousarray(raw[:, :4]).view(_FLOAT)
        with np.errstate(over="ignore", invalid="ignore"):
            x = raw[:, 4:].view(_BYTE).astype(np.float32) * scale
    # One comparison finds NaN too: it compares false.
    if not (np.abs(x) <= LARGEST).all():
        raise WireError("hidden states hold a number that is not finite, or too large to be one")
    return x


def encode_correction(attention: np.ndarray, bias: np.ndarray) -> bytes:
    """A^ and then B^ as bytes."""
    return np.asarray(attention, _FLOAT).tobytes() + np.asarray(bias, _FLOAT).tobytes()


def decode_correction(payload: bytes, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """A^ [H, K, K] and B^ [H, K, f] of bytes.

    Raises
    ------
    WireError
        If the bytes do not fit the shape, or a number is not finite.
    """
    if min(shape) < 1 or len(payload) != shape.bytes:
        raise WireError(f"a correction of {len(payload)} bytes; this model reads {shape.bytes}")
    values = np.frombuffer(payload, _FLOAT).astype(np.float32)
    if not np.isfinite(values).all():
        raise WireError("a correction with numbers that are not finite")
    cut = shape.heads * shape.mini_batch**2
    return values[:cut].reshape(shape.attention), values[cut:].reshape(shape.bias)


def encode_items(rows: Sequence[int]) -> bytes:
    """Item rows as bytes, 4 each.

    Raises
    ------
    WireError
        If the list is empty, or an entry is no row.
    """
    array = np.asarray(rows)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu" or array.min() < 1 or array.max() >= 1 << 31:
        raise WireError("items are rows of the catalogue, whole numbers from 1, one at least")
    return array.astype(_ROW).tobytes()


def decode_items(payload: bytes, n_items: int, most: int, name: str) -> np.ndarray:
    """Item rows int64 [n] of bytes.

    Parameters
    ----------
    payload : bytes
    n_items : int
        Rows of the catalogue, padding included.
    most : int
    name : str
        What they are, for errors.

    Raises
    ------
    WireError
        If the bytes are no whole number of rows, no row, too many rows, or a row is not of the catalogue.
    """
    count, rest = divmod(len(payload), _ROW.itemsize)
    if rest or not count:
        raise WireError(f"{len(payload)} bytes of {name} are no whole number of rows of 4 bytes, one at least")
    if count > most:
        raise WireError(f"{count} {name}; a request has {most} at most")
    rows = np.frombuffer(payload, _ROW).astype(np.int64)
    if rows.min() < 1 or rows.max() >= n_items:
        raise WireError(f"the {name} hold a row that is not of the catalogue, 1 to {n_items - 1}")
    return rows


def _score_type(encoding: int) -> np.dtype:
    if encoding not in _SCORES:
        raise WireError(f"the encoding {encoding} is not for scores; they are float32 (0) or float16 (1)")
    return _SCORES[encoding]


def check_score_encoding(encoding: int) -> None:
    """Refuse what scores cannot be written in.

    Raises
    ------
    WireError
        For another encoding than float32 and float16.
    """
    _score_type(encoding)


def encode_scores(scores: np.ndarray, encoding: int) -> bytes:
    """Scores [C] as bytes; ``FLOAT16`` rounds to the nearest.

    Raises
    ------
    WireError
        If one is not finite, or for another encoding than float32 and float16.
    """
    kind, scores = _score_type(encoding), np.asarray(scores, _FLOAT)
    if not np.isfinite(scores).all():
        raise WireError("a score is not finite")
    if kind is _HALF:
        most = np.finfo(_HALF).max
        scores = np.clip(scores, -most, most)
    return scores.astype(kind).tobytes()


def decode_scores(payload: bytes, encoding: int, count: int) -> np.ndarray:
    """Scores float32 [count] of bytes.

    Raises
    ------
    WireError
        If the bytes are not of so many scores, or one is not finite.
    """
    kind = _score_type(encoding)
    if len(payload) != count * kind.itemsize:
        raise WireError(f"scores of {len(payload)} bytes; {count} candidates have {count * kind.itemsize}")
    scores = np.frombuffer(payload, kind).astype(np.float32)
    if not np.isfinite(scores).all():
        raise WireError("scores with numbers that are not finite")
    return scores
