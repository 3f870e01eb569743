"""The neighbour table: for each item of the catalogue the items that a click on it speaks for; numpy alone."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recbole_cocorr.artifact.arrays import write_array
from recbole_cocorr.artifact.manifest import LONGEST_ROW, MOST_CLICKS, ArrayEntry, neighbour_type
from recbole_cocorr.base.errors import UserError

# What is left of a click when it is forgotten: less than float32 sees beside the newest one.
_FORGOTTEN = 1e-10
# Entries that are looked at together.
_AT_ONCE = 1 << 20
# The share of the room that is kept for the largest weights of each row: a click on a rare item says something too.
_FIRST = 0.2
_PARTS = ("indptr", "items", "weights", "scales")


def clicks_that_count(decay: float) -> int:
    """T, the last clicks that p is made of: of an older one less than a ten-thousand-millionth would be left.

    Raises
    ------
    UserError
        If a session would have to remember too many.
    """
    clicks = 1 if decay < _FORGOTTEN else math.inf if decay == 1 else math.ceil(math.log(_FORGOTTEN) / math.log(decay))
    if clicks > MOST_CLICKS:
        raise UserError(
            f"with a decay of {decay:g} a session would have to remember more than {MOST_CLICKS} clicks; fit the "
            "corrector with a decay of .994 or less, or export without a neighbour table (--neighbours 0)"
        )
    return int(clicks)


class NeighbourTable:
    """B in compressed sparse rows: int8 weights with a scale per row.

    Row c holds the entries j from indptr[c] to indptr[c + 1]: B[c, items[j]] = weights[j] * scales[c].

    Parameters
    ----------
    indptr : numpy.ndarray of uint32, shape [n + 1]
    items : numpy.ndarray of uint16 or uint32, shape [E]
    weights : numpy.ndarray of int8, shape [E]
    scales : numpy.ndarray of float32, shape [n]
    """

    def __init__(self, indptr: np.ndarray, items: np.ndarray, weights: np.ndarray, scales: np.ndarray):
        self.indptr, self.items, self.weights, self.scales = indptr, items, weights, scales

    def __len__(self) -> int:
        return len(self.scales)

    @property
    def bytes(self) -> int:
        """Of its files."""
        return sum(array.nbytes for array in self.arrays().values())

    @property
    def lengths(self) -> np.ndarray:
        """Entries of each row, int64 [n]."""
        return np.diff(self.indptr.astype(np.int64))

    @classmethod
    def of(cls, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, count: int) -> "NeighbourTable":
        """The weights of a sparse matrix that ``count`` entries per item have room for.

        A fifth of N, the largest of each row, are taken first, then the largest of all, whatever their sign; of a row
        no more than ``LONGEST_ROW`` N.

        Parameters
        ----------
        indptr, indices, data : numpy.ndarray
            B in compressed sparse rows, [n, n]; row and column 0 are padding.
        count : int
            N: the table has at most N (n - 1) entries.
        """
        n = len(indptr) - 1
        row, size = np.repeat(np.arange(n), np.diff(indptr)), np.abs(data)
        largest = np.zeros(n, np.float32)
        np.maximum.at(largest, row, size)
        scales = largest / np.float32(127)
        weights = np.rint(data / np.where(scales > 0, scales, 1)[row]).clip(-127, 127).astype(np.int8)
        in_row = np.lexsort((indices, -size, row))
        place = np.empty(len(data), np.int64)
        place[in_row] = np.arange(len(data)) - indptr[row[in_row]]
        fits = np.flatnonzero((weights != 0) & (place < LONGEST_ROW * count))
        first = np.lexsort((indices[fits], row[fits], -size[fits], place[fits] >= _FIRST * count))
        entries = fits[first[: count * (n - 1)]]
        entries = entries[np.lexsort((indices[entries], row[entries]))]
        lengths = np.bincount(row[entries], minlength=n)
        return cls(_indptr_of(lengths), indices[entries].astype(neighbour_type(n)), weights[entries], scales)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "NeighbourTable":
        """The table of an artifact's arrays, or of a delta's."""
        return cls(*(arrays[f"neighbour_{part}"] for part in _PARTS))

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by their names in an artifact."""
        return {f"neighbour_{part}": getattr(self, part) for part in _PARTS}

    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, column and float32 weight of everything that the table says."""
        row = np.repeat(np.arange(len(self)), self.lengths)
        return row, self.items.astype(np.int64), self.weights * self.scales[row]

    def row(self, item: int) -> tuple[list[int], list[int], float]:
        """The items that a click on ``item`` speaks for, their weights, and the scale of these.

        Raises
        ------
        UserError
            If one is no item of the catalogue.
        """
        start, stop = self.indptr[item : item + 2].tolist()
        items = self.items[start:stop].tolist()
        if items and max(items) >= len(self):
            raise UserError(f"the neighbour table is damaged: its row {item} names an item that the catalogue lacks")
        return items, self.weights[start:stop].tolist(), float(self.scales[item])

    def check_rows(self, source: str, count: int) -> None:
        """Read ``indptr``: rows begin where the one before ends, and none is too long.

        Raises
        ------
        UserError
            If it is otherwise; ``source`` names the file.
        """
        lengths = self.lengths
        if self.indptr[0] != 0 or self.indptr[-1] != len(self.items) or lengths.min(initial=0) < 0:
            raise UserError(f"{source} does not say where the rows of {len(self.items)} entries begin")
        if lengths.max(initial=0) > LONGEST_ROW * count:
            longest = int(lengths.max())
            raise UserError(f"{source} has a row of {longest} entries; the longest may have {LONGEST_ROW * count}")

    def check_items(self, source: str, size: int) -> None:
        """Read all entries.

        Raises
        ------
        UserError
            If one is no item of a catalogue of ``size`` rows; ``source`` names the file.
        """
        for start in range(0, len(self.items), _AT_ONCE):
            if self.items[start : start + _AT_ONCE].max(initial=0) >= size:
                raise UserError(f"{source} names an item that the catalogue lacks; export the model again")

    def take(self, rows: np.ndarray) -> "NeighbourTable":
        """Some rows in a given order; each may be taken more than once."""
        lengths = self.lengths[rows]
        indptr = _indptr_of(lengths)
        first = self.indptr.astype(np.int64)[rows] - indptr[:-1]
        entries = np.arange(int(indptr[-1])) + np.repeat(first, lengths)
        return NeighbourTable(indptr, self.items[entries], self.weights[entries], self.scales[rows])

    def followed_by(self, other: "NeighbourTable") -> "NeighbourTable":
        """These rows and then those of another table."""
        indptr = np.concatenate([self.indptr, len(self.items) + other.indptr[1:].astype(np.int64)]).astype(np.uint32)
        pairs = ((self.items, other.items), (self.weights, other.weights), (self.scales, other.scales))
        return NeighbourTable(indptr, *map(np.concatenate, pairs))

    def differs(self, other: "NeighbourTable") -> np.ndarray:
        """Rows, ascending, that another table of as many rows does not have like this."""
        alike = np.flatnonzero((self.lengths == other.lengths) & (self.scales == other.scales))
        mine, theirs = self.take(alike), other.take(alike)
        changed = (mine.items != theirs.items) | (mine.weights != theirs.weights)
        owner = np.repeat(alike, mine.lengths)
        return np.union1d(np.setdiff1d(np.arange(len(self)), alike), owner[changed])

    def moved(self, old: np.ndarray) -> "NeighbourTable":
        """The table of another catalogue.

        Parameters
        ----------
        old : numpy.ndarray of int, shape [m]
            By new row the old one, 0 for an item that is new and of which nothing is known.
        """
        new = np.zeros(len(self), np.int64)
        new[old] = np.arange(len(old))
        new[0] = 0
        table = self.take(old)
        items = new[table.items]
        row = np.repeat(np.arange(len(old)), table.lengths)
        here = items > 0
        indptr = _indptr_of(np.bincount(row[here], minlength=len(old)))
        return NeighbourTable(indptr, items[here].astype(neighbour_type(len(old))), table.weights[here], table.scales)

    def write(self, folder: Path) -> dict[str, ArrayEntry]:
        """Write the files of the table; returns their entries in a manifest."""
        return {name: write_array(folder, name, array) for name, array in self.arrays().items()}


def _indptr_of(lengths: np.ndarray) -> np.ndarray:
    """Where rows of these lengths begin, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint32)
