"""The file that keeps a session: small, of fixed size, written whole or not at all, refused if anything is wrong.

Layout, little-endian:

    offset  bytes
    0       8      RCCSTATE
    8       4      version, uint32
    12      4      bytes of the whole file, uint32
    16      16     identity of the artifact
    32      1      policy: 0 carry, 1 window
    33      1      1 where the user vector is a corrected one, else 0
    34      2      0
    36      4      n, item rows that follow, uint32: min(clicks, M)
    40      8      clicks, uint64
    48      4 d    user vector, float32; zeros before the first click
    ...     4 M    rows of the last n clicks, oldest first, int32; then zeros
    ...     4 S    state of the model, float32
    end-16  16     BLAKE2b of all that stands before

M is L, or T where a neighbour table counts more clicks than the model reads.
"""

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_cocorr.artifact.manifest import POLICIES
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write
from recbole_cocorr.base.leftovers import remove_leftovers
from recbole_cocorr.base.readers import read_bytes

MAGIC = b"RCCSTATE"
VERSION = 1
_HEADER = struct.Struct("<8sII16sBBHIQ")
_DIGEST = 16
# The largest state that a manifest may speak of has a quarter of this.
_MOST_BYTES = 1 << 28


@dataclass
class Snapshot:
    """What a state file holds.

    Attributes
    ----------
    policy : str
    clicks : int
    corrected : bool
    user : numpy.ndarray of float32, shape [d]
    recent : numpy.ndarray of int32, shape [min(clicks, M)]
    state : numpy.ndarray of float32
        The reader's state, in the shape that the manifest says; empty for a model without state.
    """

    policy: str
    clicks: int
    corrected: bool
    user: np.ndarray
    recent: np.ndarray
    state: np.ndarray


@dataclass(frozen=True)
class Layout:
    """Sizes that the artifact decides.

    Attributes
    ----------
    identity : bytes
    base : bytes or None
        Another identity that is read too: that of the artifact before its deltas.
    width, recent, items : int
        d, M and rows of the item table.
    state : tuple of int
        Shape of the model's state.
    """

    identity: bytes
    width: int
    recent: int
    items: int
    state: tuple[int, ...]
    base: bytes | None = None

    def size(self) -> int:
        """Bytes of a state file."""
        return _HEADER.size + 4 * (self.width + self.recent + int(np.prod(self.state))) + _DIGEST


def pack(snapshot: Snapshot, layout: Layout) -> bytes:
    """The bytes of a state file."""
    recent = np.zeros(layout.recent, "<i4")
    recent[: len(snapshot.recent)] = snapshot.recent
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        layout.size(),
        layout.identity,
        POLICIES.index(snapshot.policy),
        int(snapshot.corrected),
        0,
        len(snapshot.recent),
        snapshot.clicks,
    )
    blocks = [header, snapshot.user.astype("<f4").tobytes(), recent.tobytes(), snapshot.state.astype("<f4").tobytes()]
    body = b"".join(blocks)
    return body + hashlib.blake2b(body, digest_size=_DIGEST).digest()


def unpack(raw: bytes, layout: Layout, source: str) -> Snapshot:
    """Read the bytes of a state file; ``source`` names it in errors.

    Raises
    ------
    UserError
        If they are no state, damaged, or of another version or artifact; the sentence says which.
    """
    if raw[: len(MAGIC)] != MAGIC:
        raise UserError(f"{source} is no state file of a session")
    if len(raw) < _HEADER.size + _DIGEST:
        raise UserError(f"{source} is cut off: it has {len(raw)} bytes")
    _, version, size, identity, policy, corrected, zero, count, clicks = _HEADER.unpack_from(raw)
    if version != VERSION:
        raise UserError(f"{source} has the state format {version}; this version reads format {VERSION}")
    if len(raw) != size or hashlib.blake2b(raw[:-_DIGEST], digest_size=_DIGEST).digest() != raw[-_DIGEST:]:
        raise UserError(f"{source} is damaged: its contents do not match its checksum")
    if identity not in (layout.identity, layout.base):
        raise UserError(f"{source} is of another artifact; a state is read by the model and catalogue that made it")
    right = policy < len(POLICIES) and corrected < 2 and zero == 0 and count == min(clicks, layout.recent)
    if not right or size != layout.size():
        raise UserError(f"{source} holds what no session writes")
    at = _HEADER.size
    user = np.frombuffer(raw, "<f4", layout.width, at)
    recent = np.frombuffer(raw, "<i4", layout.recent, at + 4 * layout.width)
    state = np.frombuffer(raw, "<f4", int(np.prod(layout.state)), at + 4 * (layout.width + layout.recent))
    in_range = bool(((recent[:count] > 0) & (recent[:count] < layout.items)).all())
    if not (in_range and np.isfinite(user).all() and np.isfinite(state).all()):
        raise UserError(f"{source} holds what no session writes")
    return Snapshot(
        POLICIES[policy],
        clicks,
        bool(corrected),
        user.astype(np.float32),
        recent[:count].astype(np.int32),
        state.astype(np.float32).reshape(layout.state),
    )


def save_state(path: str | os.PathLike, snapshot: Snapshot, layout: Layout) -> None:
    """Write a state file: whoever opens it sees the old one or the new one, also after a power cut."""
    # Not tidied here: a folder may hold the states of very many users, and saving is to cost little.
    with atomic_write(path, "wb", what="session's state", tidy=False) as file:
        file.write(pack(snapshot, layout))


def load_state(path: str | os.PathLike, layout: Layout) -> Snapshot:
    """Read a state file, and tidy up after saves that were killed.

    Raises
    ------
    UserError
        If there is no state, or it is refused.
    """
    raw = read_bytes(path, "state file", _MOST_BYTES)
    target = Path(os.path.realpath(path))
    remove_leftovers(target.parent, target.name)
    return unpack(raw, layout, str(path))
