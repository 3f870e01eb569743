"""The pictures of a results folder. Each has one pair of axes, so that it reads at the width of a phone."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_cocorr.evaluation.result_table import metric_title
from recbole_cocorr.experiments.comparisons import over_seeds
from recbole_cocorr.experiments.history_bins import HistoryBin
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.runs.groups import Group, in_field_order, slug
from recbole_cocorr.experiments.runs.run_files import RunRecord
from recbole_cocorr.models.card import Look
from recbole_cocorr.report.cost_tables import COST_COLUMNS
from recbole_cocorr.report.plot_style import (
    FAINT,
    GRID,
    INK,
    engineering,
    legend_below,
    log_scale,
    panel,
    settings,
)
from recbole_cocorr.report.tables import variant_order

Styles = dict[str, Look]


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its files, and a sentence that says what it shows."""

    name: str
    caption: str
    figure: Any


def valid_metric(run: RunRecord) -> str:
    """The metric that chose the epoch, in lower case."""
    return str(run.config.get("valid_metric") or "NDCG@10").lower()


def curve_points(run: RunRecord, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epoch (from 1), seconds since the start and validation metric at every validation of a run."""
    epochs, seconds, values = [], [], []
    clock = 0.0
    for entry in run.curve:
        clock += float(entry.get("train_seconds") or 0.0) + float(entry.get("valid_seconds") or 0.0)
        valid = entry.get("valid") or {}
        if metric in valid:
            epochs.append(int(entry["epoch"]) + 1)
            seconds.append(clock)
            values.append(float(valid[metric]))
    return np.array(epochs), np.array(seconds), np.array(values)


def training_curves(group: Group, styles: Styles) -> list[Picture]:
    """Validation metric over epochs and over seconds; one line per seed, a marker at the epoch that was kept."""
    metric = valid_metric(next(run for by_seed in group.runs.values() for run in by_seed.values()))
    curves = {
        label: [(run.best_epoch + 1, *curve_points(run, metric)) for run in by_seed.values()]
        for label, by_seed in group.runs.items()
    }
    curves = {label: drawn for label, runs in curves.items() if (drawn := [c for c in runs if len(c[1])])}
    if not curves:
        return []
    pictures = []
    for axis, column, heading in (("epochs", 1, "Epoch"), ("seconds", 2, "Seconds of training and validation")):
        with settings():
            figure, axes = panel(len(curves))
            for label, runs in curves.items():
                line = styles[label].line() | {"marker": ""}
                point = styles[label].points() | {"linestyle": ""}
                for index, curve in enumerate(runs):
                    best, x, y = curve[0], curve[column], curve[3]
                    axes.plot(x, y, **line, alpha=1.0 if index == 0 else 0.3)
                    at_best = curve[1] == best
                    axes.plot(x[at_best], y[at_best], **point)
                axes.plot([], [], **styles[label].line(), label=label)
            if column == 2 and max(c[2].max() for runs in curves.values() for c in runs) > 100:
                log_scale(axes.xaxis, engineering())
            axes.set_xlabel(heading + (" (log)" if axes.get_xscale() == "log" else ""))
            axes.set_ylabel(f"Validation {metric_title(metric)}")
            legend_below(figure, axes)
        pictures.append(
            Picture(
                f"curves-{axis}-{group.slug}",
                f"Validation {metric_title(metric)} over {axis}, {group.name}. A line per seed, the first seed's "
                "darkest; a marker at the epoch that was kept.",
                figure,
            )
        )
    return pictures


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
        for model in models:
            points = sorted((r["L"], r[column] * factor) for r in rows if r["model"] == model)
            axes.plot(*zip(*points, strict=True), **styles[model].line(), label=model)
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
        + (", both axes logarithmic." if log else ", vertical axis logarithmic." if log_y else "."),
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
        for index, (label, flops, mean, values) in enumerate(models):
            if len(values) > 1:
                axes.errorbar(flops, mean, yerr=np.std(values, ddof=1), color=styles[label].colour, capsize=2, lw=1)
            axes.plot(flops, mean, **styles[label].points(), linestyle="", label=label)
            if index in front:
                axes.plot(
                    flops, mean, "o", markersize=12, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=0.8
                )
        axes.margins(0.12)
        log_scale(axes.xaxis, engineering())
        axes.set_xlabel("FLOPs of one inference (log)")
        axes.set_ylabel(f"Test {metric_title(metric)}")
        legend_below(figure, axes)
    names = ", ".join(models[i][0] for i in front)
    return Picture(
        f"quality-flops-{group.slug}",
        f"Test {metric_title(metric)} against FLOPs of one inference, {group.name}. On the front (ringed), from "
        f"cheap to dear: {names}. Bars: standard deviation over seeds.",
        figure,
    )


def sweep_quality(
    sweep: dict[int, dict[int, RunRecord]], style: Look, name: str, metric: str = "ndcg@10"
) -> Picture | None:
    """Figure 6, first half: test metric over the TTT mini-batch K."""
    values = {size: metrics for size, runs in sweep.items() if (metrics := over_seeds(runs, metric))}
    if not values:
        return None
    with settings():
        figure, axes = panel()
        means = [float(np.mean(v)) for v in values.values()]
        spread = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in values.values()]
        axes.errorbar(list(values), means, yerr=spread if any(spread) else None, capsize=3, **style.line())
        _k_axis(axes, list(values))
        axes.set_ylabel(f"Test {metric_title(metric)}")
    bars = " Bars: standard deviation over seeds." if any(spread) else ""
    return Picture(f"figure6-quality-{slug(name)}", f"Test {metric_title(metric)} over K, {name}.{bars}", figure)


def sweep_time(rows: Sequence[Row], style: Look) -> Picture | None:
    """Figure 6, second half: time of one inference over the TTT mini-batch K."""
    if not rows:
        return None
    rows = sorted(rows, key=lambda r: r["K"])
    with settings():
        figure, axes = panel(2)
        axes.plot([r["K"] for r in rows], [r["latency_us"] * 1e-6 for r in rows], **style.line(), label="one user")
        batch = [(r["K"], r["batch_latency_us"] * 1e-6) for r in rows if r.get("batch_latency_us") is not None]
        if batch:
            other = style.line() | {"color": INK, "markeredgecolor": INK, "marker": "s", "markerfacecolor": "none"}
            axes.plot(*zip(*batch, strict=True), **other | {"linestyle": "--"}, label="one batch of users")
            log_scale(axes.yaxis, engineering("s"))
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(engineering("s"))
        _k_axis(axes, [r["K"] for r in rows])
        axes.set_ylabel("Inference time" + (" (log)" if batch else ""))
        legend_below(figure, axes)
    return Picture("figure6-time", "Time of one inference over K.", figure)


def _k_axis(axes, sizes: Sequence[int]) -> None:
    if len(sizes) > 1:
        axes.set_xscale("log")
    axes.set_xticks(list(sizes))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("K, clicks per TTT mini-batch" + (" (log)" if len(sizes) > 1 else ""))


def quality_by_history(group: Group, bins: dict[str, list[HistoryBin]], styles: Styles, metric: str) -> Picture | None:
    """A metric over the number of clicks before the test item, with 95% intervals and the number of users."""
    labels = {b.label: b for of_model in bins.values() for b in of_model}
    if not labels:
        return None
    tick = {label: i for i, label in enumerate(labels)}
    with settings():
        figure, axes = panel(len(bins), height=3.0)
        for index, (model, of_model) in enumerate(bins.items()):
            shift = (index - (len(bins) - 1) / 2) * 0.6 / max(len(bins), 1)
            x = [tick[b.label] + shift for b in of_model]
            error = [b.half_width for b in of_model]
            axes.errorbar(
                x, [b.mean for b in of_model], yerr=error, elinewidth=0.8, **styles[model].line(), label=model
            )
        axes.set_xticks(range(len(labels)), [f"{label}\n{b.users:,}" for label, b in labels.items()])
        axes.tick_params(axis="x", labelsize=8 if len(labels) > 5 else 9)
        axes.grid(False, axis="x")
        axes.set_xlabel("Clicks before the test item\n(below: number of users)")
        axes.set_ylabel(f"Test {metric_title(metric)}")
        legend_below(figure, axes)
    return Picture(
        f"history-{group.slug}",
        f"Test {metric_title(metric)} by the length of the user's history, {group.name}. Bars: 95% interval of "
        "the mean.",
        figure,
    )


def correction_ablation(
    rows: Sequence[Row], dataset: str, styles: Styles, metric: str = "ndcg@10", name: str = "ablation"
) -> Picture | None:
    """A metric under each correction: a small dot per seed, a big one for their mean."""
    rows = [r for r in rows if r["dataset"] == dataset and metric in r["metrics"]]
    if not rows:
        return None
    variants = variant_order(r["variant"] for r in rows)
    models = in_field_order(r["label"] for r in rows)
    with settings():
        # All of a correction's dots stand within its own row, however many models there are.
        apart, tall = min(0.25, 0.8 / len(models)), max(0.32, 0.12 * len(models))
        figure, axes = panel(len(models) if len(models) > 1 else 0, height=1.0 + tall * len(variants))
        axes.grid(visible=False, axis="y")
        for edge in range(1, len(variants)):
            axes.axhline(edge - 0.5, color=GRID, linewidth=0.8)
        for index, model in enumerate(models):
            shift = (index - (len(models) - 1) / 2) * apart
            for row, variant in enumerate(variants):
                values = [r["metrics"][metric] for r in rows if (r["label"], r["variant"]) == (model, variant)]
                if not values:
                    continue
                y = row + shift
                points = styles[model].points()
                axes.plot(values, [y] * len(values), linestyle="", **points | {"markersize": 3.5}, alpha=0.55)
                axes.plot(np.mean(values), y, linestyle="", **points | {"markersize": 8 if apart > 0.2 else 6})
            axes.plot([], [], linestyle="", **styles[model].points(), label=model)
        axes.set_yticks(range(len(variants)), variants)
        axes.set_ylim(len(variants) - 0.5, -0.5)
        axes.margins(x=0.12)
        axes.set_xlabel(f"Test {metric_title(metric)}")
        axes.set_ylabel("Correction")
        if len(models) > 1:
            legend_below(figure, axes)
    return Picture(
        f"{name}-{slug(dataset)}",
        f"Test {metric_title(metric)} under each correction, {dataset}. Small dots: seeds; big ones: their mean.",
        figure,
    )
