"""What ``freshness`` measured, as numbers, tables and a picture.

A user counts once: a metric is averaged over the user's ranked interactions, then over seeds, then over users. So the
users are independent units, and standard errors and tests are over them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.evaluation.result_table import metric_title
from recbole_cocorr.evaluation.significance import Comparison, UserMetrics, compare, corrected, seed_average
from recbole_cocorr.experiments.freshness import DELTAS, FRESH, FROZEN, NONE, POPULAR, RETRAINED, Measured, Slice
from recbole_cocorr.models.card import Look
from recbole_cocorr.report.figures import Picture
from recbole_cocorr.report.plot_style import INK, legend_below, panel, settings
from recbole_cocorr.report.table_formats import MISSING, Cell, Table, decimal, row
from recbole_cocorr.report.tables import COMPARISON_HEADER, comparison_cells, how_compared

METRICS = ("gauc", "ndcg@5", "ndcg@10", "ndcg@20", "hit@5", "hit@10", "hit@20")
TITLES = {
    NONE: "no correction",
    FROZEN: "item-item, frozen too",
    FRESH: "item-item, goes on learning",
    DELTAS: "a delta every day, nothing uploaded",
    POPULAR: "a delta every day, with popularity",
    RETRAINED: "device's model retrained, no correction",
}
# First minus second.
PAIRS = ((FROZEN, NONE), (FRESH, NONE), (FRESH, FROZEN), (RETRAINED, NONE), (RETRAINED, FRESH))
PAIRS += ((DELTAS, NONE), (POPULAR, DELTAS), (DELTAS, RETRAINED))
# Which interactions count: all, those whose item the device's model knows, and those whose item came later.
ALL, KNOWN, NEW = "all", "known", "new"

# Okabe and Ito's colours, as the other figures have.
_STYLES = {
    NONE: Look(INK, "o", (0, (2, 1)), hollow=True),
    FROZEN: Look("#56B4E9", "D", (0, (6, 1.5, 1, 1.5))),
    FRESH: Look("#D55E00", "o", "-", width=2.2),
    DELTAS: Look("#CC79A7", "s", "-"),
    POPULAR: Look("#E69F00", "v", (0, (4, 1))),
    RETRAINED: Look("#009E73", "^", (0, (3, 1.5, 1, 1.5))),
}


def user_means(users: np.ndarray, ranks: np.ndarray, metrics: Sequence[str] = METRICS) -> UserMetrics:
    """Each user's mean of every metric over the user's ranked interactions.

    Parameters
    ----------
    users : numpy.ndarray of str, shape [rows]
    ranks : numpy.ndarray of int, shape [rows, 3]
    metrics : sequence of str
    """
    names, place, count = np.unique(users, return_inverse=True, return_counts=True)
    values = {}
    for name in metrics:
        metric, _, k = name.partition("@")
        found = per_row(ranks, [metric], [int(k)] if k else [1])[name]
        values[name] = np.bincount(place, weights=found, minlength=len(names)) / count
    return UserMetrics(names, values)


def _rows_of(part: Slice, targets: str) -> np.ndarray:
    return {ALL: np.ones(len(part.new), dtype=bool), KNOWN: ~part.new, NEW: part.new}[targets]


def by_seed(measured: Sequence[Measured], variant: str, index: int | None, targets: str) -> dict[int, UserMetrics]:
    """Users' metrics under a variant, in one slice or (None) in all of them, by seed."""
    result = {}
    for one in measured:
        parts = [s for s in one.slices if index is None or s.index == index]
        kept = [_rows_of(s, targets) for s in parts]
        users = np.concatenate([s.users[k] for s, k in zip(parts, kept, strict=True)])
        ranks = np.concatenate([s.tables[variant][k] for s, k in zip(parts, kept, strict=True)])
        if len(users):
            result[one.seed] = user_means(users, ranks)
    return result


def variants_of(measured: Sequence[Measured]) -> list[str]:
    """The variants that were ranked, in the order of the tables."""
    return [v for v in TITLES if v in measured[0].slices[0].tables]


def content(measured: Sequence[Measured]) -> dict[str, Any]:
    """Slices, results and comparisons, as JSON holds them."""
    first = measured[0]
    slices = [
        {
            "slice": s.index + 1,
            "start": s.start,
            "end": s.end,
            "interactions": len(s.users),
            "users": len(np.unique(s.users)),
            "new_items": int(s.new.sum()),
            "of_new_users": int(s.new_user.sum()),
        }
        for s in first.slices
    ]
    results = []
    for index in (None, *(s.index for s in first.slices)):
        for targets in (ALL, KNOWN, NEW):
            for variant in variants_of(measured):
                found = by_seed(measured, variant, index, targets)
                if found:
                    results.append(_result(index, targets, variant, found))
    overall = _compared(measured, None, METRICS)
    each = [(s.index, c) for s in first.slices for c in _compared(measured, s.index, ("ndcg@10",))]
    of_slices = zip((i for i, _ in each), corrected([c for _, c in each]), strict=True)
    return {
        "frozen_at": first.frozen_at,
        "learned_interactions": first.learned,
        "trust": [{"seed": m.seed, **dataclasses.asdict(m.trust)} for m in measured],
        "slices": slices,
        "results": results,
        "comparisons": [
            *({"slice": None, **dataclasses.asdict(c)} for c in corrected(overall)),
            *({"slice": index + 1, **dataclasses.asdict(c)} for index, c in of_slices),
        ],
    }


def _result(index: int | None, targets: str, variant: str, found: Mapping[int, UserMetrics]) -> dict[str, Any]:
    runs = list(found.values())
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
        "seeds": sorted(found),
        "metrics": metrics,
        "standard_errors": errors,
    }


def _compared(measured: Sequence[Measured], index: int | None, metrics: Sequence[str]) -> list[Comparison]:
    there = variants_of(measured)
    every = {v: by_seed(measured, v, index, ALL) for v in there}
    pairs = [(a, b) for a, b in PAIRS if a in there and b in there]
    return [c for a, b in pairs for c in compare(a, b, every[a], every[b], metrics)]


def day(time: float) -> str:
    """The date of seconds since 1970, or the number where it is none of the last decades."""
    if 1e8 <= time < 1e10:
        return datetime.fromtimestamp(time, timezone.utc).date().isoformat()
    return f"{time:g}"


def _find(made: Mapping[str, Any], index: int | None, targets: str, variant: str) -> Mapping[str, Any] | None:
    wanted = (index, targets, variant)
    return next((r for r in made["results"] if (r["slice"], r["targets"], r["variant"]) == wanted), None)


def _with_error(result: Mapping[str, Any] | None, metric: str) -> str:
    if result is None or result["metrics"][metric] is None:
        return MISSING
    error = result["standard_errors"][metric]
    return decimal(result["metrics"][metric]) + (f" ± {decimal(error)}" if error is not None else "")


def _there(made: Mapping[str, Any]) -> list[str]:
    found = {r["variant"] for r in made["results"]}
    return [v for v in TITLES if v in found]


def tables_of(made: Mapping[str, Any], model: str, dataset: str) -> list[Table]:
    """NDCG@10 by slice, with and without new items, and every comparison."""
    slices, name = made["slices"], f"{model} on {dataset}"
    counted = "Mean over users of each user's mean over the ranked interactions, ± its standard error over users."
    by_slice = Table(
        name="freshness-slices",
        caption=f"NDCG@10 of interactions after the freeze on {day(made['frozen_at'])}, {name}",
        header=("Correction", *(f"{s['slice']}: {day(s['start'])} to {day(s['end'])}" for s in slices), "All"),
        rows=(
            *(
                row(TITLES[v], *(_with_error(_find(made, i, ALL, v), "ndcg@10") for i in _columns(slices)))
                for v in _there(made)
            ),
            row("interactions", *(f"{s['interactions']:,}" for s in slices), f"{_total(slices, 'interactions'):,}"),
            row("users", *(f"{s['users']:,}" for s in slices), f"{_find(made, None, ALL, NONE)['users']:,}"),
            _shares("of an item first seen after the freeze", slices, "new_items"),
            _shares("of a user first seen after the freeze", slices, "of_new_users"),
        ),
        notes=(counted,),
    )
    metrics = ("hit@10", "ndcg@10")
    counts = {ALL: _total(slices, "interactions"), NEW: _total(slices, "new_items")}
    counts[KNOWN] = counts[ALL] - counts[NEW]
    headings = {ALL: "all", KNOWN: "known items", NEW: "new items"}
    with_and_without = Table(
        name="freshness-new-items",
        caption=f"With and without items first seen after the freeze, all slices, {name}",
        header=(
            "Correction",
            *(f"{metric_title(m)}, {headings[t]} ({counts[t]:,})" for t in headings for m in metrics),
        ),
        rows=tuple(
            row(TITLES[v], *(_with_error(_find(made, None, t, v), m) for t in headings for m in metrics))
            for v in _there(made)
        ),
        notes=(counted,),
    )
    fields = [f.name for f in dataclasses.fields(Comparison)]
    found = [
        (c["slice"], Comparison(**{f: tuple(c[f]) if isinstance(c[f], list) else c[f] for f in fields}))
        for c in made["comparisons"]
    ]
    overall = [c for index, c in found if index is None]
    each = [c for index, c in found if index is not None]
    notes = [f"All slices together: {how_compared(overall)}"] if overall else []
    notes += [f"Slice by slice: {how_compared(each)}"] if each else []
    significance = Table(
        name="freshness-significance",
        caption=f"One correction minus another, {name}",
        header=("Correction", "Against", "Slice", *COMPARISON_HEADER),
        rows=tuple(
            row(TITLES[c.model], TITLES[c.baseline], "all" if i is None else str(i), *comparison_cells(c))
            for i, c in found
        ),
        notes=tuple(notes),
        text_columns=4,
    )
    return [by_slice, with_and_without, significance]


def _columns(slices: Sequence[Mapping[str, Any]]) -> list[int | None]:
    return [*(s["slice"] for s in slices), None]


def _total(slices: Sequence[Mapping[str, Any]], key: str) -> int:
    return sum(s[key] for s in slices)


def _shares(title: str, slices: Sequence[Mapping[str, Any]], key: str) -> tuple[Cell, ...]:
    """A row of shares of the interactions."""
    total = _total(slices, key) / _total(slices, "interactions")
    return row(title, *(f"{s[key] / s['interactions']:.1%}" for s in slices), f"{total:.1%}")


def _ticks(days: Sequence[str]) -> list[str]:
    """Dates of one year without the year, of several without the day."""
    if all(len(d) == 10 and d[4] == d[7] == "-" for d in days):
        return [d[5:] if len({d[:4] for d in days}) == 1 else d[:7] for d in days]
    return list(days)


def picture_of(made: Mapping[str, Any], model: str, dataset: str, metric: str = "ndcg@10") -> Picture:
    """A metric by slice, a line per variant; bars are standard errors over users."""
    slices, there = made["slices"], _there(made)
    with settings():
        figure, axes = panel(len(there), height=3.0)
        for number, variant in enumerate(there):
            found = [(s["slice"], _find(made, s["slice"], ALL, variant)) for s in slices]
            shift = (number - (len(there) - 1) / 2) * 0.12  # bars beside each other
            axes.errorbar(
                [index + shift for index, _ in found],
                [r["metrics"][metric] for _, r in found],
                yerr=[r["standard_errors"][metric] or 0.0 for _, r in found],
                elinewidth=0.8,
                **_STYLES[variant].line(),
                label=TITLES[variant],
            )
        axes.set_xticks([s["slice"] for s in slices], _ticks([day(s["start"]) for s in slices]))
        axes.margins(x=0.08)
        axes.set_xlabel(f"Start of the slice (freeze: {day(made['frozen_at'])})")
        axes.set_ylabel(metric_title(metric))
        legend_below(figure, axes, columns=1 if len(there) < 3 else 2)
    return Picture(
        "freshness",
        f"{metric_title(metric)} of the interactions after the freeze by slice of time, {model} on {dataset}. Bars: "
        "standard error over users, which is wider than that of the differences, since users are the same.",
        figure,
    )


def sentences(made: Mapping[str, Any]) -> list[str]:
    """What the overall comparisons of NDCG@10 say."""
    found = {
        (c["model"], c["baseline"]): c for c in made["comparisons"] if c["slice"] is None and c["metric"] == "ndcg@10"
    }
    result = [
        f"{TITLES[a]} minus {TITLES[b]}: NDCG@10 {decimal(c['difference'], sign=True)} "
        f"({decimal(c['low'], sign=True)} to {decimal(c['high'], sign=True)}), p (Holm) {c['adjusted']:.2g}"
        for (a, b), c in found.items()
    ]
    gap, gain = found.get((RETRAINED, NONE)), found.get((FRESH, FROZEN))
    if gap and gain and gap["difference"] > 0:
        result.append(
            f"What the corrections gain by going on to learn is {gain['difference'] / gap['difference']:.0%} of what "
            f"retraining the device's model gains ({decimal(gap['difference'], sign=True)}, without a correction)."
        )
    return result
