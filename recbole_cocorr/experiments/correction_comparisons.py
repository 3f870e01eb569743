"""Is the cloud's correction worth something, is it personal, must it be fresh: the paired comparisons behind that."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.evaluation.significance import Comparison, UserMetrics, compare, corrected, user_metrics
from recbole_cocorr.experiments.comparisons import metric_columns
from recbole_cocorr.experiments.runs.groups import Group, in_field_order
from recbole_cocorr.experiments.runs.run_files import RunRecord
from recbole_cocorr.models.catalogue import is_ours, our_names

# Kinds of comparisons; Holm's correction runs over each kind of a data set and protocol by itself.
VARIANTS, FIELD = "variants", "field"

OWN = "own"
# The variants that are not compared: the cloud alone is a model of its own.
_NOT_COMPARED = ("the cloud alone",)


@dataclass(frozen=True)
class CorrectedRanks:
    """What one run ranked, with each correction.

    Attributes
    ----------
    record : RunRecord
    users : list of str
        Tokens, in the order of the tables' rows.
    tables : dict of str to numpy.ndarray of int, shape [users, 3]
        Ranks of the test items by variant.
    valid_own : float
        NDCG@10 on the validation items with the run's own correction.
    """

    record: RunRecord
    users: list[str]
    tables: dict[str, np.ndarray]
    valid_own: float


Runs = dict[str, dict[int, CorrectedRanks]]


def compare_corrected(runs: Sequence[CorrectedRanks]) -> dict[str, Any]:
    """Compare, per data set and protocol, what the runs ranked.

    Returns
    -------
    dict
        ``comparisons``: a row per comparison and metric; kind "variants": a model with its users' own correction
        minus the same model with another one; kind "field": the best of our models on validation minus each baseline,
        both with the correction. ``best_of_ours``: which that was. ``problems``: one sentence per comparison that
        could not be made.
    """
    where: dict[tuple[str, str], list[CorrectedRanks]] = defaultdict(list)
    for run in runs:
        where[run.record.dataset, run.record.protocol].append(run)
    result: dict[str, Any] = {"comparisons": [], "best_of_ours": [], "problems": []}
    for (dataset, protocol), here in sorted(where.items()):
        name = {"dataset": dataset, "protocol": protocol}
        by_label, problems = _by_label(here)
        tested = Group(dataset, protocol, {k: {s: r.record for s, r in v.items()} for k, v in by_label.items()})
        metrics = metric_columns(tested)
        rows = {VARIANTS: _variants(by_label, metrics, problems), FIELD: []}
        valid = _valid_of_ours(by_label, problems)
        if valid:
            best = max(valid, key=lambda label: valid[label])
            result["best_of_ours"].append({**name, "label": best, "valid_ndcg@10": valid})
            rows[FIELD] = _field(by_label, best, metrics, problems)
        for kind, comparisons in rows.items():
            result["comparisons"] += [{**name, "kind": kind, **dataclasses.asdict(c)} for c in corrected(comparisons)]
        result["problems"] += [f"{dataset}, protocol {protocol}: {sentence}" for sentence in problems]
    return result


def _by_label(runs: Sequence[CorrectedRanks]) -> tuple[Runs, list[str]]:
    """Runs by label, in the field's order, and seed; a label with two runs of one seed is left out."""
    by_label: Runs = defaultdict(dict)
    twice: dict[str, int] = {}
    for run in runs:
        label, seed = run.record.label, run.record.seed
        if seed in by_label[label]:
            twice[label] = seed
        by_label[label][seed] = run
    problems = [
        f"{label} has two tested runs with seed {seed}, so it is not compared; move the other one's folder out of runs/"
        for label, seed in twice.items()
    ]
    labels = [label for label in in_field_order(by_label) if label not in twice]
    return {label: dict(sorted(by_label[label].items())) for label in labels}, problems


def _of(by_seed: dict[int, CorrectedRanks], variant: str, metrics: Sequence[str]) -> dict[int, UserMetrics]:
    return {seed: user_metrics(run.users, run.tables[variant], metrics) for seed, run in by_seed.items()}


def _attempt(make: Callable[[], list[Comparison]], problems: list[str]) -> list[Comparison]:
    try:
        return make()
    except UserError as error:
        problems.append(str(error))
        return []


def _variants(by_label: Runs, metrics: Sequence[str], problems: list[str]) -> list[Comparison]:
    comparisons: list[Comparison] = []
    for label, by_seed in by_label.items():

        def of_label(label=label, by_seed=by_seed) -> list[Comparison]:
            own = _of(by_seed, OWN, metrics)
            others = [v for v in next(iter(by_seed.values())).tables if v not in (OWN, *_NOT_COMPARED)]
            every = [compare(label, other, own, _of(by_seed, other, metrics), metrics) for other in others]
            return [comparison for of_pair in every for comparison in of_pair]

        comparisons += _attempt(of_label, problems)
    return comparisons


def _valid_of_ours(by_label: Runs, problems: list[str]) -> dict[str, float]:
    """Validation NDCG@10 of our models with the correction, over the seeds that all of them have."""
    ours = {k: v for k, v in by_label.items() if is_ours(next(iter(v.values())).record.model)}
    if not ours:
        problems.append(f"no run of {our_names()} is among them, so no model is compared with the baselines")
        return {}
    seeds = set.intersection(*(set(by_seed) for by_seed in ours.values()))
    if not seeds:
        problems.append(f"{' and '.join(ours)} share no seed, so they cannot be compared on validation")
        return {}
    return {label: float(np.mean([by_seed[s].valid_own for s in seeds])) for label, by_seed in ours.items()}


def _field(by_label: Runs, best: str, metrics: Sequence[str], problems: list[str]) -> list[Comparison]:
    mine = _of(by_label[best], OWN, metrics)
    comparisons: list[Comparison] = []
    for label, by_seed in by_label.items():
        if not is_ours(next(iter(by_seed.values())).record.model):
            comparisons += _attempt(
                lambda label=label, by_seed=by_seed: compare(best, label, mine, _of(by_seed, OWN, metrics), metrics),
                problems,
            )
    return comparisons
