"""What the ranks after the freeze say.

A user counts once: a metric is averaged over the user's ranked interactions, then over seeds, then over users. So the
users are independent units, and standard errors and tests are over them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_cocorr.correctors import Trust
from recbole_cocorr.evaluation.significance import (
    Comparison,
    UserMetrics,
    compare,
    corrected,
    seed_average,
    user_metrics,
)
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.freshness import (
    ALL,
    DELTAS,
    FRESH,
    FROZEN,
    KNOWN,
    NEW,
    NONE,
    POPULAR,
    RETRAINED,
    TITLES,
)

METRICS = ("gauc", "ndcg@5", "ndcg@10", "ndcg@20", "hit@5", "hit@10", "hit@20")
# First minus second.
PAIRS = ((FROZEN, NONE), (FRESH, NONE), (FRESH, FROZEN), (RETRAINED, NONE), (RETRAINED, FRESH))
PAIRS += ((DELTAS, NONE), (POPULAR, DELTAS), (DELTAS, RETRAINED))


@dataclass(frozen=True)
class Slice:
    """What was ranked in one slice of time.

    Attributes
    ----------
    index : int
    start, end : float
        Times of its start and of its last interaction.
    users : numpy.ndarray of str, shape [rows]
        Token of each ranked interaction's user.
    new : numpy.ndarray of bool, shape [rows]
        Whether the item was first seen after the freeze.
    new_user : numpy.ndarray of bool, shape [rows]
        Whether the user was.
    tables : dict of str to numpy.ndarray of int, shape [rows, 3]
        Ranks by variant.
    """

    index: int
    start: float
    end: float
    users: np.ndarray
    new: np.ndarray
    new_user: np.ndarray
    tables: dict[str, np.ndarray]

    def rows(self, targets: str) -> np.ndarray:
        """Which interactions count, bool [rows]: all, those with a known item, those with a new one."""
        return {ALL: np.ones(len(self.new), dtype=bool), KNOWN: ~self.new, NEW: self.new}[targets]

    def counts(self) -> Row:
        """The row of the slice in the result."""
        return {
            "slice": self.index + 1,
            "start": self.start,
            "end": self.end,
            "interactions": len(self.users),
            "users": len(np.unique(self.users)),
            "new_items": int(self.new.sum()),
            "of_new_users": int(self.new_user.sum()),
        }


@dataclass(frozen=True)
class SeedRanks:
    """What was ranked with one seed.

    Attributes
    ----------
    seed : int
    frozen_at : float
    learned : int
        Interactions before the freeze.
    trust : Trust
    slices : list of Slice
    """

    seed: int
    frozen_at: float
    learned: int
    trust: Trust
    slices: list[Slice]


def by_seed(seeds: Sequence[SeedRanks], variant: str, index: int | None, targets: str) -> dict[int, UserMetrics]:
    """Users' metrics under a variant, in one slice or (None) in all of them, by seed."""
    result = {}
    for ranks in seeds:
        rows = [(s, s.rows(targets)) for s in ranks.slices if index is None or s.index == index]
        users = np.concatenate([s.users[chosen] for s, chosen in rows])
        if len(users):
            tables = np.concatenate([s.tables[variant][chosen] for s, chosen in rows])
            result[ranks.seed] = user_metrics(users, tables, METRICS)
    return result


def statistics(seeds: Sequence[SeedRanks]) -> Row:
    """Slices, results and comparisons, as the fields of a Freshness hold them."""
    first = seeds[0]
    variants = [v for v in TITLES if v in first.slices[0].tables]
    indices = [s.index for s in first.slices]
    results = [
        _result(index, targets, variant, metrics)
        for index in (None, *indices)
        for targets in (ALL, KNOWN, NEW)
        for variant in variants
        if (metrics := by_seed(seeds, variant, index, targets))
    ]
    overall = _compared(seeds, variants, None, METRICS)
    each = [(index, c) for index in indices for c in _compared(seeds, variants, index, ("ndcg@10",))]
    of_slices = zip((index for index, _ in each), corrected([c for _, c in each]), strict=True)
    return {
        "frozen_at": first.frozen_at,
        "learned_interactions": first.learned,
        "trust": [{"seed": ranks.seed, **dataclasses.asdict(ranks.trust)} for ranks in seeds],
        "slices": [s.counts() for s in first.slices],
        "results": results,
        "comparisons": [
            *({"slice": None, **dataclasses.asdict(c)} for c in corrected(overall)),
            *({"slice": index + 1, **dataclasses.asdict(c)} for index, c in of_slices),
        ],
    }


def _result(index: int | None, targets: str, variant: str, by_seed: Mapping[int, UserMetrics]) -> Row:
    runs = list(by_seed.values())
    metrics, errors = {}, {}
    for name in METRICS:
        users = seed_average(runs, name)
        users = users[np.isfinite(users)]
        metrics[name] = float(users.mean()) if len(users) else None
        errors[name] = float(users.std(ddof=1) / np.sqrt(len(users))) if len(users) > 1 else None
    return {
        "slice": None if index is None else index + 1,
        "targets": targets,
        "variant": variant,
        "users": len(runs[0].users),
        "seeds": sorted(by_seed),
        "metrics": metrics,
        "standard_errors": errors,
    }


def _compared(
    seeds: Sequence[SeedRanks], variants: Sequence[str], index: int | None, metrics: Sequence[str]
) -> list[Comparison]:
    every = {v: by_seed(seeds, v, index, ALL) for v in variants}
    pairs = [(a, b) for a, b in PAIRS if a in every and b in every]
    return [c for a, b in pairs for c in compare(a, b, every[a], every[b], metrics)]
