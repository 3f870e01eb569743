"""A short-term popularity: what a delta adds to the scores of some items, for everybody; numpy alone."""

from collections.abc import Sequence

import numpy as np

from recbole_cocorr.artifact.manifest import MOST_TRUST
from recbole_cocorr.base.errors import UserError


class Popular:
    """Numbers that are added to the scores of some items.

    Parameters
    ----------
    items : numpy.ndarray of uint32, shape [p]
        Rows of the item table, ascending.
    weights : numpy.ndarray of float32, shape [p]
        In units of the model's score.
    """

    def __init__(self, items: np.ndarray, weights: np.ndarray):
        self.items, self.weights = items, weights

    def check(self, rows: int, source: str) -> None:
        """Read everything.

        Raises
        ------
        UserError
            If an item is none of the ``rows`` of the table or stands twice, or a weight is not finite.
        """
        items = self.items.astype(np.int64)
        if len(items) and not (items[0] > 0 and items[-1] < rows and (np.diff(items) > 0).all()):
            raise UserError(f"{source}: the popular items are no ascending rows of the item table")
        if not (np.abs(self.weights) <= MOST_TRUST).all():  # not so for NaN either
            raise UserError(f"{source}: a weight of a popular item is not finite, or too large")

    def at(self, rows: Sequence[int]) -> np.ndarray:
        """What is added to the scores of some rows, float32 [n]."""
        rows = np.asarray(rows, np.int64)
        if not len(self.items):
            return np.zeros(len(rows), np.float32)
        place = np.minimum(np.searchsorted(self.items, rows), len(self.items) - 1)
        return np.where(self.items[place] == rows, self.weights[place], np.float32(0))
