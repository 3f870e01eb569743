"""Hidden states and corrections as bytes: what ``v1/correction.proto`` carries. numpy alone.

With L = 10, d = 64, H = 4, K = 10 the hidden states are 2,560 bytes in float32 and a correction is 4,160 bytes.
"""

import re
from typing import NamedTuple

import numpy as np

SERVICE = "recbole_cocorr.cloud.v1.Corrections"
CORRECT, DESCRIBE = f"/{SERVICE}/Correct", f"/{SERVICE}/Describe"

# Numbers of the proto's enumeration.
FLOAT32, FLOAT16, INT8 = 0, 1, 2
ENCODINGS = {"float32": FLOAT32, "float16": FLOAT16, "int8": INT8}

# Above this a hidden state is none: a row's root mean square is 1 before its learned weights.
LARGEST = 1e6

_FLOAT, _HALF, _BYTE = np.dtype("<f4"), np.dtype("<f2"), np.dtype("i1")
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")


class WireError(ValueError):
    """Bytes that are not what they should be; the text says why and quotes none of them."""


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
        If the bytes are no whole number of rows, none, too many, or hold numbers that no hidden state has.
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
