"""Item tokens by row and rows by token, from mapped files: opening costs nothing, however many items there are.

``token_bytes`` holds the UTF-8 of all tokens, one after another; row i's are those from ``token_offsets[i]`` to
``token_offsets[i + 1]``. Row 0, padding, has no token. ``token_index`` is a hash table: the slots from CRC-32 of the
token on, modulo their number (a power of two), hold row numbers; 0 is an empty slot and ends a look-up.
"""

import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from recbole_cocorr.base.errors import UserError

# Looked-up tokens that are remembered, and the most characters of one: together about 40 MB at most.
_REMEMBERED, _LONGEST = 1 << 16, 128


def encode_tokens(tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """``token_bytes`` and ``token_offsets`` of tokens by row; the first stands for padding and is left out.

    Raises
    ------
    UserError
        If they are too many.
    """
    encoded = _encoded(tokens)
    offsets = np.concatenate([[0], np.cumsum([len(t) for t in encoded])])
    if offsets[-1] >= 1 << 32:
        raise UserError("the item tokens have more than 4 GiB together")
    return np.frombuffer(b"".join(encoded), np.uint8), offsets.astype(np.uint32)


def _encoded(tokens: Sequence[str]) -> list[bytes]:
    return [b"", *(token.encode("utf-8", "surrogatepass") for token in tokens[1:])]


def decode_tokens(token_bytes: np.ndarray, token_offsets: np.ndarray, source: str) -> list[str]:
    """What :func:`encode_tokens` encoded: the tokens by row, the first "".

    Raises
    ------
    UserError
        If the arrays do not fit together, or a token is no UTF-8; ``source`` names their file.
    """
    offsets = token_offsets.astype(np.int64)
    if len(offsets) < 2 or offsets[:2].any() or (np.diff(offsets) < 0).any() or offsets[-1] != len(token_bytes):
        raise UserError(f"{source} is damaged: the item tokens do not fit together")
    text, ends = token_bytes.tobytes(), offsets.tolist()
    try:
        tokens = [text[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise(ends[1:])]
    except UnicodeDecodeError:
        raise UserError(f"{source} is damaged: an item token is no UTF-8") from None
    return ["", *tokens]


def build_vocabulary(tokens: Sequence[str]) -> tuple[dict[str, np.ndarray], int]:
    """The three arrays of a vocabulary, and the most slots a look-up reads.

    Parameters
    ----------
    tokens : sequence of str
        By row; the first stands for padding and is left out.

    Raises
    ------
    UserError
        If a token stands twice, or they are too many.
    """
    encoded = _encoded(tokens)
    if len(set(encoded[1:])) < len(encoded) - 1:
        seen: set[bytes] = set()
        twice = next(t for t in encoded[1:] if t in seen or seen.add(t))
        raise UserError(f"the item token {twice.decode('utf-8', 'replace')!r} stands more than once")
    token_bytes, token_offsets = encode_tokens(tokens)
    slots = 2
    while slots < 2 * len(encoded):
        slots *= 2
    index = [0] * slots
    most = 1
    for row, token in enumerate(encoded):
        if row == 0:
            continue
        slot, probes = zlib.crc32(token) & (slots - 1), 1
        while index[slot]:
            slot, probes = (slot + 1) & (slots - 1), probes + 1
        index[slot] = row
        most = max(most, probes)
    return {
        "token_bytes": token_bytes,
        "token_offsets": token_offsets,
        "token_index": np.array(index, np.uint32),
    }, most


class Vocabulary:
    """Item tokens by row, and rows by token.

    Parameters
    ----------
    token_bytes, token_offsets, token_index : numpy.ndarray
        Of :func:`build_vocabulary`.
    probes : int
        Most slots that a look-up reads.
    """

    def __init__(self, token_bytes: np.ndarray, token_offsets: np.ndarray, token_index: np.ndarray, probes: int):
        # Memory views: reading one number is several times as fast as from a numpy array.
        self._bytes, self._offsets, self._index = map(memoryview, (token_bytes, token_offsets, token_index))
        self._probes, self._mask = probes, len(token_index) - 1
        self._known: dict[str, int] = {}

    def __len__(self) -> int:
        """Rows, padding included."""
        return len(self._offsets) - 1

    def _token(self, row: int) -> bytes:
        # Damaged offsets give a wrong token or no token, never one of more bytes than there are.
        return bytes(self._bytes[self._offsets[row] : self._offsets[row + 1]])

    def token(self, row: int) -> str:
        """The token of a row from 1 on."""
        try:
            return self._token(row).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise UserError(f"the item vocabulary is damaged: the token of row {row} is no UTF-8") from None

    def row(self, token: str) -> int:
        """The row of a token; 0 for one that is unknown."""
        row = self._known.get(token)
        if row is None:
            row = self._find(token.encode("utf-8", "surrogatepass"))
            # Of what the catalogue lacks there is no end, and callers choose its length.
            if row and len(token) <= _LONGEST:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[token] = row
        return row

    def rows(self, tokens: Sequence[str]) -> list[int]:
        """The rows of many tokens."""
        try:
            return list(map(self._known.__getitem__, tokens))
        except KeyError:
            return list(map(self.row, tokens))

    def _find(self, token: bytes) -> int:
        slot, rows = zlib.crc32(token) & self._mask, len(self)
        for _ in range(self._probes):
            row = self._index[slot]
            if row == 0:
                return 0
            if row < rows and self._token(row) == token:
                return row
            slot = (slot + 1) & self._mask
        return 0
