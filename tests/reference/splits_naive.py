"""Rows and splits as RecBole's documentation words them, in plain loops over exact numbers."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from recbole.data.dataset import Dataset

Row = tuple[str, tuple[str, ...], str]  # user, items before, item


def split_rows(clicks: list[tuple[str, str, str]], split: dict[str, Any], by_user: bool) -> list[list[Row]]:
    """Training, validation and test rows of clicks (user, item, time as written) in the order of the file."""
    numbers: dict[str, int] = {}
    for user, _, _ in clicks:
        numbers.setdefault(user, len(numbers))
    rows = []
    for user, number in numbers.items():
        own = sorted(
            (Fraction(Decimal(time)), place, item) for place, (u, item, time) in enumerate(clicks) if u == user
        )
        items = [item for _, _, item in own]
        for k in range(1, len(own)):
            rows.append((own[k][0], number, k, (user, tuple(items[:k]), items[k])))
    rows.sort(key=lambda row: row[:3])
    (way, how), parts = next(iter(split.items())), ([], [], [])
    if way == "RS" and not by_user:
        for part, some in zip(parts, _cut(rows, how), strict=True):
            part.extend(some)
    else:
        users = list(dict.fromkeys(row[1] for row in rows))
        for user in users:
            own = [row for row in rows if row[1] == user]
            for part, some in zip(parts, _cut_user(own, rows, way, how), strict=True):
                part.extend(some)
    return [[row[3] for row in part] for part in parts]


def _cut_user(own: list, rows: list, way: str, how: Any) -> tuple[list, list, list]:
    if way == "RS":
        return _cut(own, how)
    if way == "LS" and how == "valid_and_test":
        if len(own) == 1:
            return own, [], []
        return (own[:1], [], own[1:]) if len(own) == 2 else (own[:-2], own[-2:-1], own[-1:])
    if way == "LS":
        kept, last = (own, []) if len(own) == 1 else (own[:-1], own[-1:])
        return (kept, last, []) if how == "valid_only" else (kept, [], last)
    shares = [Fraction(str(ratio)) / sum(Fraction(str(r)) for r in how) for ratio in how]
    times = [row[0] for row in rows]
    place = (len(times) - 1) * (1 - shares[2])
    low = int(place)
    boundary = times[low] + (place - low) * (times[min(low + 1, len(times) - 1)] - times[low])
    early = [row for row in own if row[0] <= boundary]
    ratios = [ratio / sum(how) for ratio in how]
    first = int(len(early) * (ratios[0] / (1 - ratios[2])))
    return early[:first], early[first:], own[len(early) :]


def _cut(rows: list, ratios: list[float]) -> tuple[list, list, list]:
    ends = Dataset._calcu_split_ids(None, len(rows), [ratio / sum(ratios) for ratio in ratios])
    return rows[: ends[0]], rows[ends[0] : ends[1]], rows[ends[1] :]
