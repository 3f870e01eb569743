"""Where a time cuts all interactions in two: shares and dates as moments, and whether times are real ones at all."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.convert.rows import RowError
from recbole_cocorr.data.convert.times import UNITS, iso_seconds, unit_of

_EPOCH = datetime(1970, 1, 1)
# Numbers below it count from a start of their own (1973 in seconds since 1970).
_LEAST_DATE = 10**8


def days(times: np.ndarray) -> float:
    """How much a day is in the unit of these times: seconds, or the part of a second that their size shows."""
    return 86400.0 * 10 ** UNITS[unit_of(str(float(np.abs(times).max())))]


def check_real_times(users: np.ndarray, times: np.ndarray, who: str) -> None:
    """Refuse times that say nothing of what happened before what to two different users.

    Parameters
    ----------
    users : numpy.ndarray of int, shape [N]
    times : numpy.ndarray, shape [N]
        Anything that compares as the times do.
    who : str
        Who needs real times, for the error.

    Raises
    ------
    UserError
        If the times are places in each user's history, or no two users were active in the same period.
    """
    order = np.lexsort((times, users))
    users, times = users[order], times[order]
    first = np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.empty(0, np.int64)
    last = np.r_[first[1:], len(users)] - 1
    several = last > first
    begin, end = times[first[several]], times[last[several]]
    if len(begin) < 2:
        return
    if 2 * (begin == begin.min()).sum() > len(begin):
        raise UserError(
            f"{who} needs real timestamps, and these are positions: {int((begin == begin.min()).sum()):,} of "
            f"{len(begin):,} users begin at the earliest time of all; only the order within a user means anything in "
            "this file, so choose --protocol=full or paper"
        )
    by_begin = np.argsort(begin, kind="stable")
    if len(begin) > 2 and (end[by_begin][:-1] < begin[by_begin][1:]).all():
        raise UserError(
            f"{who} needs real timestamps, and these are row numbers: each user's times lie before or after those of "
            "all others, so a cut by time would put users apart and no interactions; choose --protocol=full or paper"
        )


class Moments:
    """The different times of a data set in order, exact.

    Parameters
    ----------
    times : sequence of Decimal
        Ascending; read one by one where they are asked for.
    """

    def __init__(self, times: Sequence[Decimal]):
        self.times = times
        latest = max(abs(times[0]), abs(times[-1]))
        self._unit = 10 ** UNITS[unit_of(str(latest))]
        self._dates = latest >= _LEAST_DATE

    def text(self, moment: Fraction | Decimal) -> str:
        """A moment for people: a date where the times are seconds since 1970 or parts of them, else the number."""
        if self._dates:
            try:
                return (_EPOCH + timedelta(seconds=float(moment) / self._unit)).isoformat(" ", timespec="seconds")
            except OverflowError:
                pass
        return f"{float(moment):.15g}"

    def at(self, key: str, value: Any, span: Callable[[Fraction], Fraction | Decimal]) -> Fraction | Decimal:
        """The moment that a setting means.

        Parameters
        ----------
        key : str
        value : float or str
            A number between 0 and 1 is a share, text a date, another number a time as the file writes it.
        span : callable
            The moment before which a share lies.

        Raises
        ------
        UserError
            If it is a date and the times are none.
        """
        if isinstance(value, str):
            try:
                seconds = Decimal(iso_seconds(key, value))
            except RowError as error:
                raise UserError(f"{error}; a share between 0 and 1 and a time as in the file will do too") from None
            if not self._dates:
                raise UserError(
                    f"{key} is {value!r}, and the times of this file are no dates (the latest is "
                    f"{self.text(self.times[-1])}); give a time as the file writes it, or a share between 0 and 1"
                )
            return seconds * self._unit
        exact = Decimal(str(value))
        return span(Fraction(exact)) if 0 < exact < 1 else exact

    def place(self, moment: Fraction | Decimal) -> int:
        """How many of the different times lie before a moment."""
        wanted = Fraction(moment)
        return bisect_left(range(len(self.times)), wanted, key=lambda place: Fraction(self.times[place]))


def share_of_interactions(moments: Moments, counts: np.ndarray, share: Fraction) -> Decimal:
    """The time of the interaction before which at most this share of all of them stands, in the order of time.

    Parameters
    ----------
    moments : Moments
    counts : numpy.ndarray of int
        Interactions at each of them.
    share : Fraction
    """
    upto = np.cumsum(counts)
    return moments.times[int(np.searchsorted(upto, int(share * int(upto[-1])), side="right"))]


def share_of_span(moments: Moments, share: Fraction) -> Fraction:
    """The moment at this share of the time between the first and the last interaction."""
    first, last = Fraction(moments.times[0]), Fraction(moments.times[-1])
    return first + share * (last - first)
