"""Which interactions stay: repeated (user, item) pairs and the k-core.

Users and items are numbers here, and whether a row is kept is one of its bytes: what is held is some 20
bytes an interaction, not its text.
"""

from array import array
from collections.abc import Sequence

DUPLICATES = ("keep", "exact", "first", "last")


def drop_duplicates(
    users: Sequence[int], items: Sequence[int], times: Sequence[float], rule: str, keep: bytearray
) -> int:
    """Mark repeated interactions as dropped.

    Parameters
    ----------
    users, items, times
        One entry per interaction, in the order of the file.
    rule
        "keep": no row is dropped. "exact": of those with equal user, item and time the first in the file
        stays. "first": of those with equal user and item the earliest stays, and of equally early ones
        the first in the file. "last": the latest, and of equally late ones the last in the file.
    keep
        1 for every interaction that is there; set to 0 where one is dropped.

    Returns
    -------
    int
        How many were dropped.
    """
    if rule not in DUPLICATES:
        raise ValueError(f"rule is {rule!r}; it is one of {', '.join(DUPLICATES)}")
    if rule == "keep":
        return 0
    dropped = 0
    row_of: dict = {}
    for row, live in enumerate(keep):
        if not live:
            continue
        pair = users[row] << 32 | items[row]
        key = (pair, times[row]) if rule == "exact" else pair
        other = row_of.setdefault(key, row)
        if other == row:
            continue
        replaces = (rule == "first" and times[row] < times[other]) or (rule == "last" and times[row] >= times[other])
        keep[other if replaces else row] = 0
        if replaces:
            row_of[key] = row
        dropped += 1
    return dropped


def k_core(users: Sequence[int], items: Sequence[int], min_user: int, min_item: int, keep: bytearray) -> int:
    """Drop users and items with too few interactions, again and again until all that stay have enough.

    The result is the largest set of interactions in which every user has at least ``min_user`` and
    every item at least ``min_item``; it does not depend on the order of dropping.

    Parameters
    ----------
    users, items
        One entry per interaction: numbers from 0.
    min_user, min_item
        Least number of interactions; 0 and 1 drop nothing.
    keep
        1 for every interaction that is there; set to 0 where one is dropped.

    Returns
    -------
    int
        How many were dropped.
    """
    user_count = array("q", bytes(8 * (max(users, default=-1) + 1)))
    item_count = array("q", bytes(8 * (max(items, default=-1) + 1)))
    alive = array("I", (row for row, live in enumerate(keep) if live))
    for row in alive:
        user_count[users[row]] += 1
        item_count[items[row]] += 1
    dropped = 0
    while True:
        remaining = array("I")
        for row in alive:
            user, item = users[row], items[row]
            if user_count[user] < min_user or item_count[item] < min_item:
                user_count[user] -= 1
                item_count[item] -= 1
                keep[row] = 0
            else:
                remaining.append(row)
        if len(remaining) == len(alive):
            return dropped
        dropped += len(alive) - len(remaining)
        alive = remaining
