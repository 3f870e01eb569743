"""The neighbour table: for each item of the catalogue the items that a click on it speaks for; numpy alone."""

import math
from pathlib import Path

import numpy as np

from recbole_cocorr.artifact.arrays import write_array
from recbole_cocorr.artifact.manifest import MOST_CLICKS, ArrayEntry, neighbour_type
from recbole_cocorr.artifact.table import quantise
from recbole_cocorr.base.errors import UserError

# What is left of a click when it is forgotten: less than float32 sees beside the newest one.
_FORGOTTEN = 1e-10
# Rows that are looked at together.
_AT_ONCE = 1 << 16


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
    """B with a fixed number of entries per row: int8 weights with a scale per row.

    Parameters
    ----------
    items : numpy.ndarray of uint16 or uint32, shape [n, N]
        Row: the item that was clicked. What it speaks for, by falling weight; an entry with item 0 says nothing.
    weights : numpy.ndarray of int8, shape [n, N]
    scales : numpy.ndarray of float32, shape [n]
        B[c, items[c, j]] = weights[c, j] * scales[c].
    """

    def __init__(self, items: np.ndarray, weights: np.ndarray, scales: np.ndarray):
        self.items, self.weights, self.scales = items, weights, scales

    def __len__(self) -> int:
        return len(self.items)

    @property
    def count(self) -> int:
        """N."""
        return self.items.shape[1]

    @property
    def bytes(self) -> int:
        """Of its files."""
        return self.items.nbytes + self.weights.nbytes + self.scales.nbytes

    @classmethod
    def of(cls, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, count: int) -> "NeighbourTable":
        """The ``count`` largest weights of each row of a sparse matrix.

        Parameters
        ----------
        indptr, indices, data : numpy.ndarray
            B in compressed sparse rows, [n, n]; row and column 0 are padding.
        count : int
            N.
        """
        n = len(indptr) - 1
        length = np.diff(indptr)
        order = np.lexsort((indices, -data, np.repeat(np.arange(n), length)))
        place = np.arange(len(data)) - np.repeat(indptr[:-1], length)
        order, place = order[place < count], place[place < count]
        row = np.repeat(np.arange(n), np.minimum(length, count))
        items, weights = np.zeros((n, count), neighbour_type(n)), np.zeros((n, count), np.float32)
        items[row, place], weights[row, place] = indices[order], data[order]
        rounded, scales = quantise(weights, "int8")
        items[rounded == 0] = 0
        return cls(items, rounded, scales)

    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, column and float32 weight of everything that the table says."""
        row, place = np.nonzero(self.items)
        return row, self.items[row, place].astype(np.int64), self.weights[row, place] * self.scales[row]

    def row(self, item: int) -> tuple[list[int], list[int], float]:
        """The items that a click on ``item`` speaks for, their weights, and the scale of these.

        Raises
        ------
        UserError
            If one is no item of the catalogue.
        """
        items = self.items[item].tolist()
        if max(items) >= len(self.items):
            raise UserError(f"the neighbour table is damaged: its row {item} names an item that the catalogue lacks")
        return items, self.weights[item].tolist(), float(self.scales[item])

    def check(self, source: str) -> None:
        """Read all rows.

        Raises
        ------
        UserError
            If an entry is no item of the catalogue; ``source`` names the file.
        """
        for start in range(0, len(self.items), _AT_ONCE):
            if self.items[start : start + _AT_ONCE].max(initial=0) >= len(self.items):
                raise UserError(f"{source} names an item that the catalogue lacks; export the model again")

    def moved(self, old: np.ndarray) -> "NeighbourTable":
        """The table of another catalogue.

        Parameters
        ----------
        old : numpy.ndarray of int, shape [m]
            By new row the old one, 0 for an item that is new and of which nothing is known.
        """
        new = np.zeros(len(self.items), np.int64)
        new[old] = np.arange(len(old))
        new[0] = 0
        items = new[self.items[old]].astype(neighbour_type(len(old)))
        return NeighbourTable(items, self.weights[old], self.scales[old])

    def write(self, folder: Path) -> dict[str, ArrayEntry]:
        """Write the files of the table; returns their entries in a manifest."""
        parts = {"items": self.items, "weights": self.weights, "scales": self.scales}
        return {f"neighbour_{name}": write_array(folder, f"neighbour_{name}", array) for name, array in parts.items()}
