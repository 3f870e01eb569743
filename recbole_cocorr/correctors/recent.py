"""How often items were clicked lately."""

import numpy as np


class RecentClicks:
    """Counts of the clicks on an item in the time before a moment.

    Parameters
    ----------
    items : numpy.ndarray of int, shape [N]
    times : numpy.ndarray, shape [N]
        In any order.
    window : float
        How long a click counts, in the unit of the times.
    """

    def __init__(self, items: np.ndarray, times: np.ndarray, window: float):
        order = np.lexsort((times, items))
        self._items, self._times = np.asarray(items)[order], np.asarray(times)[order]
        self._moments = np.unique(self._times)
        self._key = self._items * (len(self._moments) + 1) + np.searchsorted(self._moments, self._times)
        self.window = window

    def before(self, items: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """Clicks on each item in the window that ends right before its moment; both of one shape."""
        return self._earlier(items, moments) - self._earlier(items, moments - self.window)

    def _earlier(self, items: np.ndarray, moments: np.ndarray) -> np.ndarray:
        place = np.searchsorted(self._moments, moments)
        return np.searchsorted(self._key, items * (len(self._moments) + 1) + place)
