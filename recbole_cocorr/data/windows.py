"""A user's training rows as windows, in which each click but the last is the history's end of one row."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Windows:
    """Rows whose targets follow each other, at most L of them in a window; each row is in exactly one.

    The clicks of a window are those before its targets: its i-th row reads the window's first i clicks (from 1), where
    alone it would read up to L. Of a history that has more than L targets the oldest window is the short one.

    Attributes
    ----------
    rows : numpy.ndarray of int32 or int64, shape [rows]
        Numbers of the training rows, by user and time.
    begin, lengths : numpy.ndarray of int64, shape [windows]
        A window is ``rows[begin : begin + length]``.
    """

    rows: np.ndarray
    begin: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, places: np.ndarray, longest: int) -> "Windows":
        """Make the windows.

        Parameters
        ----------
        places : numpy.ndarray of int64, shape [rows]
            Where each row's target stands among all interactions, which are sorted by user and time. A user's first
            interaction is no target, so targets of two users never follow each other.
        longest : int
            L.
        """
        rows = np.argsort(places, kind="stable").astype(places.dtype)
        ordered = places[rows]
        start = np.flatnonzero(np.r_[True, np.diff(ordered) != 1]) if len(rows) else np.empty(0, np.int64)
        total = np.diff(np.r_[start, len(rows)])
        count = -(-total // longest)
        run = np.repeat(np.arange(len(start)), count)
        number = np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count)
        first = (total - (count - 1) * longest)[run]
        begin = start[run] + np.where(number == 0, 0, first + (number - 1) * longest)
        return cls(rows, begin, np.where(number == 0, first, longest))

    def __len__(self) -> int:
        return len(self.lengths)

    def grid(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Some windows side by side.

        Returns
        -------
        tuple of numpy.ndarray, shape [B, W]
            Row numbers, and whether there is such a row; W is the length of the longest of them.
        """
        steps = np.arange(self.lengths[windows].max(initial=1))
        real = steps < self.lengths[windows, None]
        return self.rows[self.begin[windows, None] + steps * real], real
