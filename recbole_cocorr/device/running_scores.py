"""What a session's clicks say for other items, kept up click by click."""

from collections.abc import Sequence

import numpy as np

from recbole_cocorr.artifact.neighbours import NeighbourTable

# Items, their weights and the scale of these: a row of the table.
Row = tuple[list[int], list[int], float]


class RunningScores:
    """p, sparse: after a click on c, p <- decay p + B[c, :].

    Not p is multiplied at a click, but the unit that its numbers are in is divided, so a click costs the entries of
    its row, which are ``LONGEST_ROW`` N at most. Every T clicks p is made anew of the last T, which bounds it: by the
    entries of 2 T rows, and by the items of the catalogue.

    Parameters
    ----------
    table : NeighbourTable
        B.
    decay : float
    clicks : int
        T.
    """

    def __init__(self, table: NeighbourTable, decay: float, clicks: int):
        self.row, self.clicks = table.row, clicks
        self._decay = decay
        self._scores: dict[int, float] = {}
        self._unit, self._age = 1.0, 0

    def add(self, row: Row, recent: Sequence[int]) -> None:
        """One more click.

        Parameters
        ----------
        row : Row
            Of the clicked item.
        recent : sequence of int
            The last T clicks or more, this one included.
        """
        if self._age == self.clicks:
            self.start(self.rows(recent))
            return
        self._age += 1
        self._unit *= self._decay
        items, weights, scale = row
        scores, scale = self._scores, scale / self._unit
        before = scores.get
        for item, weight in zip(items, weights, strict=True):
            scores[item] = before(item, 0.0) + weight * scale

    def rows(self, recent: Sequence[int]) -> list[Row]:
        """Rows of the last T clicks.

        Raises
        ------
        UserError
            If the table is damaged.
        """
        return [self.row(item) for item in list(recent)[-self.clicks :]]

    def start(self, rows: list[Row]) -> None:
        """p of these clicks, oldest first, and of no others."""
        self._scores, self._unit, self._age = {}, 1.0, 0
        for row in rows:
            self.add(row, ())
        self._age = 0

    def at(self, items: Sequence[int]) -> np.ndarray:
        """p [n] of some items, float64."""
        score = self._scores.get
        return np.array([score(item, 0.0) for item in items]) * self._unit

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """The items that have a score, and p of them."""
        count = len(self._scores)
        items = np.fromiter(self._scores, np.int64, count)
        return items, np.fromiter(self._scores.values(), np.float64, count) * self._unit
