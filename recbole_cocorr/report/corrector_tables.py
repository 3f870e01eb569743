"""The result of ``correct``, as tables and sentences."""

from collections import defaultdict
from collections.abc import Sequence

from recbole_cocorr.evaluation.result_table import metric_title
from recbole_cocorr.evaluation.significance import Comparison
from recbole_cocorr.experiments.correction_comparisons import FIELD, OWN, VARIANTS
from recbole_cocorr.experiments.results.comparison_rows import comparison_of
from recbole_cocorr.experiments.results.corrections import Corrections
from recbole_cocorr.experiments.runs.groups import slug
from recbole_cocorr.report.correction_tables import by_variant, variant_title
from recbole_cocorr.report.table_formats import Table, row
from recbole_cocorr.report.tables import COMPARISON_HEADER, comparison_cells, counts_of, how_compared
from recbole_cocorr.report.verdict_tables import in_words, verdict_table

NONE = "none"
# Behind the figure that wins: among the corrections of one model; among the models with the user's own scores.
BEST_CORRECTION, BEST_MODEL = "*", "†"


def comparisons_of(corrections: Corrections, dataset: str, protocol: str, kind: str) -> list[Comparison]:
    """The comparisons of one kind that ``correctors.json`` holds."""
    return [
        comparison_of(r)
        for r in corrections.comparisons or []
        if (r["dataset"], r["protocol"], r["kind"]) == (dataset, protocol, kind)
    ]


def best_of_ours(corrections: Corrections, dataset: str, protocol: str) -> str | None:
    """Our model that is compared with the baselines: the best on validation."""
    labels = (r["label"] for r in corrections.best_of_ours if (r["dataset"], r["protocol"]) == (dataset, protocol))
    return next(labels, None)


def names_of(dataset: str, protocol: str) -> tuple[str, str]:
    """The name of the data for captions, and that for file names."""
    if protocol == "paper":
        return dataset, slug(dataset)
    return f"{dataset}, protocol {protocol}", slug(f"{dataset}-{protocol}")


def correctors_table(corrections: Corrections, dataset: str, protocol: str = "paper") -> Table:
    """Every model with the same cloud scores: the user's own, none, stale ones, another user's."""
    name, file = names_of(dataset, protocol)
    variants = comparisons_of(corrections, dataset, protocol, VARIANTS)
    field = comparisons_of(corrections, dataset, protocol, FIELD)
    marks = _marks(variants, field)
    caption = f"Each model with the cloud's item-item scores, {name}"
    if variants:
        caption += (
            f". {BEST_CORRECTION} the user's own scores above the same model without any, or another correction above "
            f"the user's own (p < .05, paired per user, Holm over {len(variants)} comparisons)"
        )
        if field:
            best = best_of_ours(corrections, dataset, protocol)
            caption += (
                f"; {BEST_MODEL} with the user's own scores, {best} above each baseline, or a baseline above {best} "
                f"(Holm over {len(field)})"
            )
    return by_variant(
        [r for r in corrections.test_rows if r["protocol"] == protocol],
        dataset,
        f"correctors-{file}",
        caption,
        ["What the item-item scores are worth alone is the same for every model, but for the seed's candidates."],
        lambda label, variant, metric: marks.get((label, variant, metric), ""),
    )


def _marks(variants: Sequence[Comparison], field: Sequence[Comparison]) -> dict[tuple[str, str, str], str]:
    """What stands behind the figures that win, by label, variant and metric."""
    marks: dict[tuple[str, str, str], str] = defaultdict(str)
    for c in variants:
        if c.verdict == "worse":
            marks[c.model, c.baseline, c.metric] += BEST_CORRECTION
        elif c.verdict == "better" and c.baseline == NONE:
            marks[c.model, OWN, c.metric] += BEST_CORRECTION
    for metric in dict.fromkeys(c.metric for c in field):
        every = [c for c in field if c.metric == metric]
        if all(c.verdict == "better" for c in every):
            marks[every[0].model, OWN, metric] += BEST_MODEL
        for c in every:
            if c.verdict == "worse":
                marks[c.baseline, OWN, metric] += BEST_MODEL
    return marks


def variants_significance_table(corrections: Corrections, dataset: str, protocol: str = "paper") -> Table | None:
    """Each model with its users' own scores minus the same model with none, stale ones and another user's."""
    comparisons = comparisons_of(corrections, dataset, protocol, VARIANTS)
    if not comparisons:
        return None
    name, file = names_of(dataset, protocol)
    return Table(
        name=f"correctors-significance-{file}",
        caption=f"The user's own item-item scores minus other corrections, {name}",
        header=("Model", "Against", *COMPARISON_HEADER),
        rows=tuple(row(c.model, variant_title(c.baseline), *comparison_cells(c)) for c in comparisons),
        notes=(how_compared(comparisons),),
        text_columns=3,
    )


def field_significance_table(corrections: Corrections, dataset: str, protocol: str = "paper") -> Table | None:
    """The best of our models on validation minus each baseline, all with the same cloud scores."""
    comparisons = comparisons_of(corrections, dataset, protocol, FIELD)
    if not comparisons:
        return None
    name, file = names_of(dataset, protocol)
    best = best_of_ours(corrections, dataset, protocol)
    return Table(
        name=f"correctors-field-{file}",
        caption=f"{best} minus each baseline, all with the cloud's item-item scores, {name}",
        header=("Against", *COMPARISON_HEADER),
        rows=tuple(row(c.baseline, *comparison_cells(c)) for c in comparisons),
        notes=(
            f"{how_compared(comparisons)} {best} has the highest validation NDCG@10 of our models with these scores.",
        ),
        text_columns=2,
    )


def verdict_tables(corrections: Corrections, dataset: str, protocol: str = "paper") -> list[Table]:
    """Each model with its users' own scores against the same model with others, in words."""
    pairs: dict[tuple[str, ...], list[Comparison]] = defaultdict(list)
    for c in comparisons_of(corrections, dataset, protocol, VARIANTS):
        pairs[c.model, variant_title(c.baseline)].append(c)
    if not pairs:
        return []
    name, file = names_of(dataset, protocol)
    caption = f"Each model with the user's own item-item scores against the same model with others, {name}"
    return [verdict_table(f"correctors-verdicts-{file}", caption, ("Model", "Against"), pairs)]


# A model with its users' own scores, against ...
_AGAINST = {NONE: "its own list without the cloud", "another user's": "with another user's scores"}


def corrector_verdicts(corrections: Corrections, dataset: str, protocol: str = "paper") -> list[str]:
    """Sentences: how own scores stand to none and to others, and on which metrics ours is above every baseline."""
    result = []
    variants = comparisons_of(corrections, dataset, protocol, VARIANTS)
    for label in dict.fromkeys(c.model for c in variants):
        against = []
        for other in dict.fromkeys(c.baseline for c in variants if c.model == label):
            mine = [c for c in variants if (c.model, c.baseline) == (label, other)]
            what = _AGAINST.get(other, f"with scores {variant_title(other).removeprefix('own, ')}")
            against.append(in_words(mine, what) + _but(mine))
        result.append(f"{label} with the user's own scores: {'; '.join(against)}.")
    field = comparisons_of(corrections, dataset, protocol, FIELD)
    if field:
        metrics = list(dict.fromkeys(c.metric for c in field))
        by_metric = {m: {c.verdict for c in field if c.metric == m} for m in metrics}
        better = [metric_title(m) for m, verdicts in by_metric.items() if verdicts == {"better"}]
        worse = [metric_title(m) for m, verdicts in by_metric.items() if "worse" in verdicts]
        rest = [metric_title(m) for m in metrics if metric_title(m) not in better + worse]
        counts = counts_of(
            ("better than every one", better), ("worse than one at least", worse), ("not better than every one", rest)
        )
        result.append(
            f"{best_of_ours(corrections, dataset, protocol)} against the baselines with the same scores, of "
            f"{len(metrics)} metrics: {counts}."
        )
    return result


def _but(comparisons: Sequence[Comparison]) -> str:
    worse = [metric_title(c.metric) for c in comparisons if c.verdict == "worse"]
    return f" (worse: {', '.join(worse)})" if 0 < len(worse) < len(comparisons) else ""


def datasets_of(corrections: Corrections) -> list[tuple[str, str]]:
    """Data sets and protocols, in order."""
    return sorted({(r["dataset"], r["protocol"]) for r in corrections.test_rows})
