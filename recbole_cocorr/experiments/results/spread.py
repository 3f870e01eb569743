"""How far the runs behind a median of times lie apart, and when a time is called noisy."""

from collections.abc import Sequence

import numpy as np

from recbole_cocorr.base.readers import Record

# Behind the key of a median: the key of the list that holds its lower and its upper quartile.
QUARTILES = "_quartiles"
# A time is noisy where the middle half of its runs spans more than this share of their median.
NOISY = 0.2


def quartiles(times: Sequence[float]) -> list[float]:
    """The lower and the upper quartile of some times."""
    return [float(q) for q in np.percentile(times, (25, 75))]


def check_quartiles(row: Record, key: str) -> None:
    """Refuse quartiles that are not two rising numbers; a file from before there were any has none."""
    name = key + QUARTILES
    if not row.absent(name):
        low_high = row.array(name, (int, float))
        if len(low_high) != 2 or not 0 <= low_high[0] <= low_high[1] < float("inf"):
            raise row.refuse(name, "the lower and the upper quartile, two numbers from 0")


def is_noisy(median: float, low_high: Sequence[float] | None) -> bool:
    """Whether a time's runs lie so far apart that the machine was not quiet; False where the quartiles are unknown."""
    return low_high is not None and low_high[1] - low_high[0] > NOISY * median
