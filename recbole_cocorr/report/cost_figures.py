"""What models cost, in pictures: over the length of the history, and against quality."""

import textwrap
from collections.abc import Callable, Sequence

import numpy as np

from recbole_cocorr.evaluation.result_table import metric_title
from recbole_cocorr.experiments.comparisons import over_seeds
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.spread import QUARTILES
from recbole_cocorr.experiments.runs.groups import Group, in_field_order, slug
from recbole_cocorr.report.cost_tables import COST_COLUMNS, noisy
from recbole_cocorr.report.figures import Picture, Styles
from recbole_cocorr.report.overlaps import in_words, layered, together
from recbole_cocorr.report.plot_style import FAINT, INK, engineering, legend_below, log_scale, panel, ring, settings

APART = 30  # times the cheapest
_UNITS = {"si": "", "count": "", "bytes": "B", "us": "s"}


def cost_over_length(
    rows: Sequence[Row], column: str, styles: Styles, lengths: Callable[[int], bool], log: bool
) -> Picture | None:
    """One cost of every model over the length of the history; None where there are fewer than two lengths.

    With ``log`` both axes are logarithmic. Without it the vertical one still is where the models lie so far apart that
    the cheap ones could not be told from zero.
    """
    rows = [r for r in rows if lengths(r["L"]) and r.get(column) is not None]
    ticks = sorted({r["L"] for r in rows})
    if len(ticks) < 2:
        return None
    kind = COST_COLUMNS[column][1]
    factor = 1e-6 if kind == "us" else 1.0
    models = in_field_order(r["model"] for r in rows)
    positive = [r[column] for r in rows if r[column] > 0]
    log_y = log or (bool(positive) and max(positive) > APART * min(positive))
    with settings():
        figure, axes = panel(len(models))
        points = {m: sorted((r["L"], r[column] * factor) for r in rows if r["model"] == m) for m in models}
        covered = together(points, log_x=log, log_y=log_y)
        for model in models:
            axes.plot(*zip(*points[model], strict=True), **layered(styles[model], model, covered), label=model)
        spread = [r for r in rows if r.get(column + QUARTILES)]
        for r in spread:
            axes.vlines(
                r["L"], *(q * factor for q in r[column + QUARTILES]), color=styles[r["model"]].colour, linewidth=1.2
            )
        doubted = [r for r in spread if noisy(r, column)]
        for r in doubted:
            ring(axes, r["L"], r[column] * factor)
        if log:
            axes.set_xscale("log")
        if log_y:
            log_scale(axes.yaxis, engineering(_UNITS[kind]))
        else:
            axes.set_ylim(bottom=0)
        axes.set_xticks(ticks if len(ticks) < 6 else [t for t in ticks if t in (10, 20, 50, 100, 200, 500, 1000)])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        if not log_y:
            axes.yaxis.set_major_formatter(engineering(_UNITS[kind]))
        axes.set_xlabel("L, clicks of history" + " (log)" * log)
        axes.set_ylabel(textwrap.fill(COST_COLUMNS[column][0] + " (log)" * log_y, 30))
        legend_below(figure, axes)
    span = f"L = {ticks[0]} to {ticks[-1]}"
    return Picture(
        f"cost-{slug(column)}-{'long' if log else 'short'}",
        f"{COST_COLUMNS[column][0]}, of one user, over the length of the history, {span}"
        + (", both axes logarithmic." if log else ", vertical axis logarithmic." if log_y else ".")
        + (" Upright lines: the middle half of the runs." if spread else "")
        + (" Ringed: timed while the machine was busy." if doubted else "")
        + in_words(covered),
        figure,
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other one beats: costs no more and is no worse, and is better in one of the two.

    Parameters
    ----------
    points : sequence of (cost, quality)

    Returns
    -------
    list of int
        By rising cost; equal points are all on the front or all off it.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    front: list[int] = []
    for i in order:
        if not front or points[i][1] > points[front[-1]][1] or points[i] == points[front[-1]]:
            front.append(i)
    return front


def quality_against_flops(group: Group, rows: Sequence[Row], styles: Styles, metric: str = "ndcg@10") -> Picture | None:
    """Test metric over FLOPs of one inference at the runs' own L, with the Pareto front.

    None where fewer than two models have both.
    """
    cost = {(r["model"], r["L"]): r["flops"] for r in rows if r.get("flops")}
    models = []
    for label, by_seed in group.runs.items():
        length = next(iter(by_seed.values())).config.get("MAX_ITEM_LIST_LENGTH")
        values = over_seeds(by_seed, metric)
        if values and (label, length) in cost:
            models.append((label, cost[label, length], float(np.mean(values)), values))
    if len(models) < 2:
        return None
    front = pareto_front([(flops, mean) for _, flops, mean, _ in models])
    with settings():
        figure, axes = panel(len(models) + 1)
        x, y = ([models[i][k] for i in front] for k in (1, 2))
        axes.plot(x, y, color=FAINT, linewidth=1, linestyle="-", drawstyle="steps-post", zorder=1, label="Pareto front")
        covered = together({label: [(flops, mean)] for label, flops, mean, _ in models}, log_x=True)
        for index, (label, flops, mean, values) in enumerate(models):
            if len(values) > 1:
                axes.errorbar(flops, mean, yerr=np.std(values, ddof=1), color=styles[label].colour, capsize=2, lw=1)
            points = layered(styles[label], label, covered, line=False)
            axes.plot(flops, mean, **points, linestyle="", label=label)
            if index in front:
                ring(axes, flops, mean, points["markersize"] + 6.5, INK)
        axes.margins(0.12)
        log_scale(axes.xaxis, engineering())
        axes.set_xlabel("FLOPs of one inference (log)")
        axes.set_ylabel(f"Test {metric_title(metric)}")
        legend_below(figure, axes)
    names = ", ".join(models[i][0] for i in front)
    return Picture(
        f"quality-flops-{group.slug}",
        f"Test {metric_title(metric)} against FLOPs of one inference, {group.name}. On the front (ringed), from "
        f"cheap to dear: {names}. Bars: standard deviation over seeds.{in_words(covered)}",
        figure,
    )
