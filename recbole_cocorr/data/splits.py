"""RecBole's ways to split rows into training, validation and test rows, on row numbers alone."""

from typing import Any

import numpy as np

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def split_rows(users: np.ndarray, times: np.ndarray, split: dict[str, Any], by_user: bool) -> Parts:
    """Row numbers of the training, validation and test rows, in RecBole's order.

    Parameters
    ----------
    users : numpy.ndarray of int, shape [rows]
        Each row's user; the rows stand in the order of users and, of a user, of their times.
    times : numpy.ndarray, shape [rows]
        Anything that compares as the times of the rows' targets do.
    split : dict
        ``eval_args``' split: one of ``LS``, ``RS`` and ``TS``.
    by_user : bool
        Whether ``RS`` cuts each user's rows, or all rows in the order of time. ``LS`` and ``TS`` always
        go by user.

    Returns
    -------
    tuple of three numpy.ndarray of int32 or int64
        Split by user, the users of a part stand in the order of their first rows.
    """
    way, how = next(iter(split.items()))
    if way == "RS" and not by_user:
        by_time = np.argsort(times, kind="stable")
        return tuple(np.split(by_time, np.cumsum(_sizes(len(by_time), how))[:-1]))
    order, place, count = _grouped(users, times)
    if way == "LS":
        left_out = {"valid_and_test": (1, 0), "valid_only": (0, None), "test_only": (None, 0)}[how]
        from_end = count - 1 - place
        # A user keeps one row for training; the last row goes first to what comes last.
        valid, test = (
            np.zeros(len(order), dtype=bool) if turn is None else (from_end == turn) & (count >= turn + 2)
            for turn in left_out
        )
        return order[~valid & ~test], order[valid], order[test]
    if way == "RS":
        kinds, kind = np.unique(count, return_inverse=True)
        sizes = np.array([_sizes(total, how) for total in kinds.tolist()]).reshape(-1, 3)[kind]
        first, second = sizes[:, 0], sizes[:, 0] + sizes[:, 1]
    else:
        total = sum(how)
        train, _, test = (ratio / total for ratio in how)
        # RecBole's boundary is a percentile: between two times it lies, what is at most the lower one comes before it.
        # Its index is a whole number but for rounding, or it does not exist.
        lower = int((len(times) - 1) * (1 - test) + 1e-9) if len(times) else 0
        before = times[order] <= np.partition(times, lower)[lower] if len(times) else np.zeros(0, dtype=bool)
        second = _per_group(before, place, count)
        first = (second * (train / (1 - test))).astype(np.int64)
    return order[place < first], order[(place >= first) & (place < second)], order[place >= second]


def _grouped(users: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows user by user, users in the order of their first rows; each row's place in its user and the user's rows."""
    kind = np.int32 if len(users) < 1 << 31 else np.int64
    start = np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.empty(0, np.int64)
    count = np.diff(np.r_[start, len(users)])
    appearance = np.argsort(times[start], kind="stable")
    start, count = start[appearance], count[appearance]
    place = np.arange(len(users), dtype=kind) - np.repeat((np.cumsum(count) - count).astype(kind), count)
    return np.repeat(start.astype(kind), count) + place, place, np.repeat(count.astype(kind), count)


def _per_group(flags: np.ndarray, place: np.ndarray, count: np.ndarray) -> np.ndarray:
    """How many flags of its group are set, for each row of the groups."""
    start = np.arange(len(flags)) - place
    upto = np.r_[0, np.cumsum(flags)]
    return upto[start + count] - upto[start]


def _sizes(total: int, ratios: list[float]) -> list[int]:
    """Rows of each part: rounded down but for the first, and one where a part would have some but less than one."""
    shares = [ratio / sum(ratios) * total for ratio in ratios]
    sizes = [total, *(int(share) for share in shares[1:])]
    sizes[0] -= sum(sizes[1:])
    for part in (2, 1):
        if sizes[0] <= 1:
            break
        if 0 < shares[part] < 1:
            sizes[part] += 1
            sizes[0] -= 1
    return sizes
