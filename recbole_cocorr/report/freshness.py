"""The tables and the picture of ``freshness``."""

from collections.abc import Sequence
from datetime import datetime, timezone

from recbole_cocorr.evaluation.result_table import metric_title
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.comparison_rows import comparison_of
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
    Freshness,
)
from recbole_cocorr.models.card import Look
from recbole_cocorr.report.figures import Picture
from recbole_cocorr.report.plot_style import INK, legend_below, panel, settings
from recbole_cocorr.report.table_formats import MISSING, Cell, Table, decimal, row
from recbole_cocorr.report.tables import COMPARISON_HEADER, comparison_cells, how_compared

# Okabe and Ito's colours, as the other figures have.
_STYLES = {
    NONE: Look(INK, "o", (0, (2, 1)), hollow=True),
    FROZEN: Look("#56B4E9", "D", (0, (6, 1.5, 1, 1.5))),
    FRESH: Look("#D55E00", "o", "-", width=2.2),
    DELTAS: Look("#CC79A7", "s", "-"),
    POPULAR: Look("#E69F00", "v", (0, (4, 1))),
    RETRAINED: Look("#009E73", "^", (0, (3, 1.5, 1, 1.5))),
}


def day(time: float) -> str:
    """The date of seconds since 1970, or the number where the date would be implausible."""
    if 1e8 <= time < 1e10:
        return datetime.fromtimestamp(time, timezone.utc).date().isoformat()
    return f"{time:g}"


def _with_error(result: Row | None, metric: str) -> str:
    if result is None or result["metrics"][metric] is None:
        return MISSING
    error = result["standard_errors"][metric]
    return decimal(result["metrics"][metric]) + (f" ± {decimal(error)}" if error is not None else "")


_COUNTED = "Mean over users of each user's mean over the ranked interactions, ± its standard error over users."


def tables_of(result: Freshness) -> list[Table]:
    """NDCG@10 by slice, with and without new items, and every comparison."""
    return [slices_table(result), new_items_table(result), significance_table(result)]


def slices_table(result: Freshness) -> Table:
    """NDCG@10 of each variant by slice, and what each slice holds."""
    slices, indices = result.slices, [*(s["slice"] for s in result.slices), None]
    counts = [f"{s['interactions']:,}" for s in slices]
    return Table(
        name="freshness-slices",
        caption=f"NDCG@10 of interactions after the freeze on {day(result.frozen_at)}, {_name(result)}",
        header=("Correction", *(f"{s['slice']}: {day(s['start'])} to {day(s['end'])}" for s in slices), "All"),
        rows=(
            *(
                row(TITLES[v], *(_with_error(result.result(i, ALL, v), "ndcg@10") for i in indices))
                for v in result.variants
            ),
            row("interactions", *counts, f"{result.total('interactions'):,}"),
            row("users", *(f"{s['users']:,}" for s in slices), f"{result.result(None, ALL, NONE)['users']:,}"),
            _shares("of an item first seen after the freeze", result, "new_items"),
            _shares("of a user first seen after the freeze", result, "of_new_users"),
        ),
        notes=(_COUNTED,),
    )


def new_items_table(result: Freshness) -> Table:
    """Two metrics of all interactions, of those with a known item and of those with a new one."""
    metrics = ("hit@10", "ndcg@10")
    counts = {ALL: result.total("interactions"), NEW: result.total("new_items")}
    counts[KNOWN] = counts[ALL] - counts[NEW]
    headings = {ALL: "all", KNOWN: "known items", NEW: "new items"}
    return Table(
        name="freshness-new-items",
        caption=f"With and without items first seen after the freeze, all slices, {_name(result)}",
        header=(
            "Correction",
            *(f"{metric_title(m)}, {headings[t]} ({counts[t]:,})" for t in headings for m in metrics),
        ),
        rows=tuple(
            row(TITLES[v], *(_with_error(result.result(None, t, v), m) for t in headings for m in metrics))
            for v in result.variants
        ),
        notes=(_COUNTED,),
    )


def significance_table(result: Freshness) -> Table:
    """Every comparison of two variants."""
    comparisons = [(c["slice"], comparison_of(c)) for c in result.comparisons]
    overall = [c for index, c in comparisons if index is None]
    each = [c for index, c in comparisons if index is not None]
    notes = [f"All slices together: {how_compared(overall)}"] if overall else []
    notes += [f"Slice by slice: {how_compared(each)}"] if each else []
    return Table(
        name="freshness-significance",
        caption=f"One correction minus another, {_name(result)}",
        header=("Correction", "Against", "Slice", *COMPARISON_HEADER),
        rows=tuple(
            row(TITLES[c.model], TITLES[c.baseline], "all" if i is None else str(i), *comparison_cells(c))
            for i, c in comparisons
        ),
        notes=tuple(notes),
        text_columns=4,
    )


def _name(result: Freshness) -> str:
    return f"{result.model} on {result.dataset}"


def _shares(title: str, result: Freshness, key: str) -> tuple[Cell, ...]:
    """A row of shares of the interactions."""
    total = result.total(key) / result.total("interactions")
    return row(title, *(f"{s[key] / s['interactions']:.1%}" for s in result.slices), f"{total:.1%}")


def _ticks(days: Sequence[str]) -> list[str]:
    """Dates of one year without the year, of several without the day."""
    if all(len(d) == 10 and d[4] == d[7] == "-" for d in days):
        return [d[5:] if len({d[:4] for d in days}) == 1 else d[:7] for d in days]
    return list(days)


def picture_of(result: Freshness, metric: str = "ndcg@10") -> Picture:
    """A metric by slice, a line per variant; bars are standard errors over users."""
    variants, indices = result.variants, [s["slice"] for s in result.slices]
    with settings():
        figure, axes = panel(len(variants), height=3.0)
        for number, variant in enumerate(variants):
            rows = [result.result(index, ALL, variant) for index in indices]
            shift = (number - (len(variants) - 1) / 2) * 0.12  # bars beside each other
            axes.errorbar(
                [index + shift for index in indices],
                [r["metrics"][metric] for r in rows],
                yerr=[r["standard_errors"][metric] or 0.0 for r in rows],
                elinewidth=0.8,
                **_STYLES[variant].line(),
                label=TITLES[variant],
            )
        axes.set_xticks(indices, _ticks([day(s["start"]) for s in result.slices]))
        axes.margins(x=0.08)
        axes.set_xlabel(f"Start of the slice (freeze: {day(result.frozen_at)})")
        axes.set_ylabel(metric_title(metric))
        legend_below(figure, axes, columns=1 if len(variants) < 3 else 2)
    return Picture(
        "freshness",
        f"{metric_title(metric)} of the interactions after the freeze by slice of time, {_name(result)}. Bars: "
        "standard error over users, which is wider than that of the differences, since users are the same.",
        figure,
    )
