"""The first thing on the page: what the folder says, in sentences that are made from its records alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from recbole_cocorr.evaluation.result_table import metric_title
from recbole_cocorr.evaluation.significance import LEVEL, Comparison
from recbole_cocorr.experiments.comparisons import (
    Comparisons,
    best_baselines,
    mean_over_seeds,
    metric_columns,
)
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.corrections import Corrections
from recbole_cocorr.experiments.results.device_times import DeviceTimes
from recbole_cocorr.experiments.runs.groups import Group, in_field_order
from recbole_cocorr.report.corrector_tables import (
    FIELD,
    NONE,
    OWN,
    VARIANTS,
    comparisons_of,
    datasets_of,
    names_of,
)
from recbole_cocorr.report.cost_tables import COST_COLUMNS, noisy, si
from recbole_cocorr.report.device_times import forms_of, noisy_time
from recbole_cocorr.report.folder import ResultsFolder
from recbole_cocorr.report.table_formats import decimal
from recbole_cocorr.report.verdict_tables import in_words, main_metric, p_value

_MOST = 4  # models that a sentence each is given to; the table has all


@dataclass(frozen=True)
class Topic:
    """A heading and its sentences."""

    title: str
    sentences: tuple[str, ...]


def summary_of(results: ResultsFolder, compared: Sequence[tuple[Group, Comparisons]]) -> list[Topic]:
    """What a reader takes away who reads nothing else."""
    topics = [
        *(_quality(group, comparisons) for group, comparisons in compared),
        *(_cloud(results.corrections, *where) for where in datasets_of(results.corrections)),
        _cost(results.cost.rows),
        _device(results.device),
        _doubts(results, compared),
    ]
    return [topic for topic in topics if topic.sentences]


def share(difference: float, whole: float) -> str:
    """``, 5.2%``; empty where there is nothing to divide by."""
    if not whole:
        return ""
    percent = 100 * abs(difference / whole)
    return f", {percent:.0f}%" if percent >= 9.95 else f", {percent:.1f}%"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# -- quality ---------------------------------------------------------------------------------------------


def _quality(group: Group, comparisons: Comparisons) -> Topic:
    metrics = metric_columns(group)
    if not metrics:
        return Topic("", ())
    metric = main_metric(metrics)
    title = metric_title(metric)
    means = {label: mean_over_seeds(runs, metric) for label, runs in group.runs.items()}
    shown = {label: round(mean, 4) for label, mean in means.items() if mean is not None}
    if not shown:
        return Topic("", ())
    if len(group.runs) == 1:
        (label, value), *_ = shown.items()
        sentences = [f"One model was tested: {label}, {title} {decimal(value)}. There is none to compare it with."]
    else:
        sentences = [_first(shown, title, comparisons, metric), *_against_the_best(group, shown, comparisons, metric)]
    return Topic(f"Quality: {group.name}", (*sentences, _seeds(group)))


def _first(shown: dict[str, float], title: str, comparisons: Comparisons, metric: str) -> str:
    best = max(shown.values())
    first = [label for label, value in shown.items() if value == best]
    if len(first) > 1:
        return f"{_listed(first)} share the first place among {len(shown)} models: {title} {decimal(best)}."
    rest = {label: value for label, value in shown.items() if value != best}
    if not rest:
        return f"{first[0]} alone has {title}: {decimal(best)}."
    following = max(rest, key=lambda label: rest[label])
    lead = best - rest[following]
    sentence = (
        f"{first[0]} is first of {len(shown)} models: {title} {decimal(best)}, {decimal(lead)}"
        f"{share(lead, rest[following])} above {following}, the next"
    )
    pair = {first[0], following}
    if comparisons.reference in pair:
        (other,) = pair - {comparisons.reference}
        found = comparisons.against(other, metric)
        return f"{sentence}{_significance(found)}."
    return f"{sentence}. The two were not tested against each other."


def _significance(comparison: Comparison | None) -> str:
    if comparison is None:
        return "; not tested for significance"
    p = p_value(comparison.adjusted)
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    if comparison.adjusted < LEVEL:
        return f"; significant, {p}"
    return f"; not significant, {p}"


def _against_the_best(group: Group, shown: dict[str, float], comparisons: Comparisons, metric: str) -> list[str]:
    """The reference against the best baseline, on the main metric and on all."""
    reference = comparisons.reference
    best = [label for label in best_baselines(group, metric) if label != reference]
    if reference not in shown or not best:
        return []
    baseline, sentences = best[0], []
    lead = shown[reference] - shown[baseline]
    if {reference, baseline} != set(sorted(shown, key=lambda label: -shown[label])[:2]):  # said already
        way = "above" if lead > 0 else "below"
        how_far = f"{decimal(abs(lead))}{share(lead, shown[baseline])} {way}" if lead else "level with"
        significance = _significance(comparisons.against(baseline, metric))
        sentences.append(f"{reference} is {how_far} {baseline}, the best baseline{significance}.")
    every = [c for c in comparisons.rows if c.baseline == baseline]
    if every:
        sentences.append(f"{reference} over all metrics: {in_words(every, baseline)} (p < .05, paired per user, Holm).")
    return sentences


def _seeds(group: Group) -> str:
    counts = sorted({len(runs) for runs in group.runs.values()})
    if counts == [1]:
        return "One training of each model: how far another one would move these figures was not measured."
    if len(counts) == 1:
        return f"Each figure is the mean of {counts[0]} trainings."
    return f"Figures are means of {counts[0]} to {counts[-1]} trainings; those of one have no deviation."


# -- the cloud's scores ----------------------------------------------------------------------------------


def _cloud(corrections: Corrections, dataset: str, protocol: str) -> Topic:
    rows = [r for r in corrections.test_rows if (r["dataset"], r["protocol"]) == (dataset, protocol)]
    metric = main_metric([m for r in rows for m in r["metrics"]] or [""])
    compared = comparisons_of(corrections, dataset, protocol, VARIANTS)

    def mean(label: str, variant: str) -> float | None:
        values = [
            r["metrics"][metric]
            for r in rows
            if (r["label"], r["variant"]) == (label, variant) and metric in r["metrics"]
        ]
        return sum(values) / len(values) if values else None

    pairs = {label: (mean(label, NONE), mean(label, OWN)) for label in in_field_order(r["label"] for r in rows)}
    known = {label: (none, own) for label, (none, own) in pairs.items() if none is not None and own is not None}
    sentences = []
    for label, (none, own) in sorted(known.items(), key=lambda entry: -entry[1][1])[:_MOST]:
        change = f"{decimal(own - none, sign=True)}{share(own - none, none)}"
        mine = [c for c in compared if (c.model, c.baseline) == (label, NONE)]
        verdict = in_words(mine, "its own list without the cloud") if mine else "not tested for significance"
        sentences.append(
            f"{label}: {metric_title(metric)} {decimal(none)} without the cloud, {decimal(own)} with the user's own "
            f"scores ({change}); {verdict}."
        )
    if len(known) > _MOST:
        sentences.append(f"{len(known) - _MOST} more models stand in the table.")
    if len(known) > 1:
        highest = max(round(own, 4) for _, own in known.values())
        first = [label for label, (_, own) in known.items() if round(own, 4) == highest]
        field = [c for c in comparisons_of(corrections, dataset, protocol, FIELD) if c.metric == metric]
        sentences.append(
            f"With the same scores {_listed(first)} {'share the first place' if len(first) > 1 else 'is first'} of "
            f"{len(known)} models{_against_the_field(first, field)}."
        )
    return Topic(f"With the cloud's item-item scores: {names_of(dataset, protocol)[0]}", tuple(sentences))


def _against_the_field(first: Sequence[str], field: Sequence[Comparison]) -> str:
    """What the comparisons of our best model with each baseline say of the first place."""
    if len(first) > 1 or not field:
        return ""
    ours = field[0].model
    if first[0] == ours:
        sure = all(c.verdict == "better" for c in field)
        return ", significantly above each baseline" if sure else ", but not significantly above each baseline"
    beaten = next((c for c in field if c.baseline == first[0]), None)
    if beaten is None:
        return ""
    return f", {'' if beaten.verdict == 'worse' else 'but not '}significantly above {ours}"


# -- cost and device -------------------------------------------------------------------------------------


def _cost(rows: Sequence[Row]) -> Topic:
    lengths = sorted({r["L"] for r in rows})
    if not lengths:
        return Topic("", ())
    shortest = 10 if 10 in lengths else lengths[0]
    sentences = []
    for length in dict.fromkeys((shortest, lengths[-1])):
        for column, what in (("flops", "One inference"), ("device_flops_per_click", "One new click, on the device,")):
            at = {r["model"]: r[column] for r in rows if r["L"] == length and r.get(column)}
            if len(at) > 1:
                sentences.append(_cheap_and_dear(at, f"{what} with L = {length:,}"))
    return Topic("Cost", tuple(sentences))


def _cheap_and_dear(at: dict[str, float], what: str) -> str:
    low, high = min(at.values()), max(at.values())
    cheap, dear = (in_field_order(m for m, value in at.items() if value == end) for end in (low, high))
    if low == high:
        return f"{what} costs every model the same, {si(low, 'FLOPs')}."
    return (
        f"{what} costs {_listed(cheap)} least, {si(low, 'FLOPs')}, and {_listed(dear)} most, "
        f"{si(high, 'FLOPs')} ({_times(high / low)})."
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"


def _device(times: DeviceTimes) -> Topic:
    """The median of a click after the longest history, by runtime, the fastest first."""
    if not times.models:
        return Topic("", ())
    histories = sorted(times.setting["histories"])
    forms = [form for form in forms_of(times) if not form.with_table]
    sentences = []
    for runtime in dict.fromkeys(form.runtime for form in forms):
        clicks = {form: times.models[form.label]["click"] for form in forms if form.runtime == runtime}
        ordered = sorted(clicks, key=lambda form: clicks[form][str(histories[-1])]["p50"])
        parts = [f"{form.model} ({form.way}) {clicks[form][str(histories[-1])]['p50']:.0f}" for form in ordered]
        sentences.append(
            f"With {runtime} a click after {histories[-1]:,} others takes, in µs (median): {', '.join(parts)}."
        )
    return Topic("On the device", tuple(sentences))


# -- what a reader must know -----------------------------------------------------------------------------


def _doubts(results: ResultsFolder, compared: Sequence[tuple[Group, Comparisons]]) -> Topic:
    sentences = []
    if results.failures:
        sentences.append(f"{_counted(len(results.failures), 'run')} failed; the section on versions has the errors.")
    problems = sum(len(comparisons.problems) for _, comparisons in compared) + len(results.corrections.problems)
    if problems:
        sentences.append(f"{_counted(problems, 'comparison')} could not be made; the tables' notes say why.")
    columns = [c for c, (_, kind) in COST_COLUMNS.items() if kind == "us"]
    busy = sum(noisy(r, c) for r in results.cost.rows for c in columns)
    busy += sum(noisy_time(t) for m in results.device.models.values() for t in (*m["click"].values(), m["rank"]))
    if busy:
        sentences.append(f"{_counted(busy, 'time')} of a busy machine: marked with ~ in tables, ringed in figures.")
    return Topic("To keep in mind", tuple(sentences))
