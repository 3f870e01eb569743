"""The pictures of a results folder. Each has one pair of axes, so that it reads at the width of a phone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_cocorr.evaluation.result_table import metric_title
from recbole_cocorr.experiments.comparisons import over_seeds
from recbole_cocorr.experiments.history_bins import HistoryBin
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.spread import QUARTILES
from recbole_cocorr.experiments.runs.groups import Group, in_field_order, slug
from recbole_cocorr.experiments.runs.run_files import RunRecord
from recbole_cocorr.models.card import Look
from recbole_cocorr.report.correction_tables import variant_order, variant_title
from recbole_cocorr.report.cost_tables import noisy
from recbole_cocorr.report.plot_style import (
    GRID,
    INK,
    engineering,
    legend_below,
    log_scale,
    panel,
    ring,
    settings,
    whole_numbers,
)

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
            if column == 1:
                whole_numbers(axes.xaxis)
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
        other = style.line() | {"color": INK, "markeredgecolor": INK, "marker": "s", "markerfacecolor": "none"}
        forms = {
            "latency_us": ("one user", style.line()),
            "batch_latency_us": ("one batch of users", other | {"linestyle": "--"}),
        }
        spread = doubted = False
        for column, (name, line) in forms.items():
            times = [r for r in rows if r.get(column) is not None]
            axes.plot([r["K"] for r in times], [r[column] * 1e-6 for r in times], **line, label=name if times else None)
            for r in (r for r in times if r.get(column + QUARTILES)):
                spread = True
                axes.vlines(r["K"], *(q * 1e-6 for q in r[column + QUARTILES]), color=line["color"], linewidth=1.2)
                if noisy(r, column):
                    doubted = True
                    ring(axes, r["K"], r[column] * 1e-6)
        batch = any(r.get("batch_latency_us") is not None for r in rows)
        if batch:
            log_scale(axes.yaxis, engineering("s"))
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(engineering("s"))
        _k_axis(axes, [r["K"] for r in rows])
        axes.set_ylabel("Inference time" + (" (log)" if batch else ""))
        legend_below(figure, axes)
    caption = "Time of one inference over K." + " Upright lines: the middle half of the runs." * spread
    return Picture("figure6-time", caption + " Ringed: timed while the machine was busy." * doubted, figure)


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
        axes.set_yticks(range(len(variants)), map(variant_title, variants))
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
