"""One model of a group against each other one: the comparisons behind the stars of Table 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.evaluation.ranking import RANK_METRICS
from recbole_cocorr.evaluation.significance import Comparison, UserMetrics, compare, corrected, user_metrics
from recbole_cocorr.experiments.runs.groups import Group
from recbole_cocorr.experiments.runs.run_files import RunRecord

_ORDER = ("gauc", "ndcg", "hit", "mrr", "recall", "precision", "map")


@dataclass(frozen=True)
class Comparisons:
    """One model against each other one.

    Attributes
    ----------
    reference : str
        Label of the model compared with the others.
    rows : list of Comparison
        p corrected over the whole list.
    problems : list of str
        One sentence per comparison that could not be made.
    """

    reference: str
    rows: list[Comparison]
    problems: list[str]

    def against(self, baseline: str, metric: str) -> Comparison | None:
        """The comparison with one model on one metric."""
        return next((c for c in self.rows if (c.baseline, c.metric) == (baseline, metric)), None)


def metric_columns(group: Group) -> list[str]:
    """Rank metrics that the group's runs were tested on, as Table 1 orders them."""
    names = {name for by_seed in group.runs.values() for run in by_seed.values() for name in run.test or {}}

    def position(name: str) -> tuple[int, int]:
        metric, _, k = name.partition("@")
        return _ORDER.index(metric), int(k or 0)

    return sorted((n for n in names if n.partition("@")[0] in RANK_METRICS), key=position)


def metrics_per_user(run: RunRecord, metrics: Sequence[str]) -> UserMetrics | None:
    """Every user's metrics of a run; None where it kept no ranks."""
    return None if run.ranks is None else user_metrics(run.ranks.users, run.ranks.table(), metrics)


def compare_with_each(group: Group, reference: str, metrics: Sequence[str]) -> Comparisons:
    """Compare one model with every other one of its group, on every metric, and correct for their number."""
    if reference not in group.runs:
        return Comparisons(
            reference, [], [f"{group.name}: {reference} has no tested run, so nothing is compared with it"]
        )
    per_user: dict[str, dict[int, UserMetrics]] = {}
    problems: list[str] = []
    for label, by_seed in group.runs.items():
        try:
            of_label = {seed: metrics_per_user(run, metrics) for seed, run in by_seed.items()}
        except UserError as error:
            problems.append(f"{group.name}, {label}: {error}")
            continue
        per_user[label] = {seed: table for seed, table in of_label.items() if table is not None}
        if not per_user[label]:
            problems.append(f"{group.name}: {label} kept no ranks per user, so it cannot be compared")
    rows: list[Comparison] = []
    own = per_user.get(reference)
    for label, theirs in per_user.items():
        if own and theirs and label != reference:
            try:
                rows += compare(reference, label, own, theirs, metrics)
            except UserError as error:
                problems.append(f"{group.name}: {error}")
    return Comparisons(reference, corrected(rows), problems)


def over_seeds(by_seed: dict[int, RunRecord], metric: str) -> list[float]:
    """A test metric of each seed that has it."""
    values = [run.test.get(metric) for run in by_seed.values() if run.test]
    return [float(v) for v in values if v is not None and np.isfinite(v)]


def mean_over_seeds(by_seed: dict[int, RunRecord], metric: str) -> float | None:
    """Mean of a test metric over seeds; None where no seed has it."""
    values = over_seeds(by_seed, metric)
    return math.fsum(values) / len(values) if values else None


def best_baselines(group: Group, metric: str, digits: int = 4) -> list[str]:
    """The baseline with the highest mean, or all that read alike."""
    means = {label: mean_over_seeds(group.runs[label], metric) for label in group.baselines}
    shown = {label: round(mean, digits) for label, mean in means.items() if mean is not None}
    return [label for label, value in shown.items() if value == max(shown.values())]


def beats_the_best(group: Group, comparisons: Comparisons, metric: str) -> bool:
    """Whether the reference is significantly better than the best baseline (than each, where several read alike)."""
    best = [comparisons.against(label, metric) for label in best_baselines(group, metric)]
    return bool(best) and all(c is not None and c.verdict == "better" for c in best)
