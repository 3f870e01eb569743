"""The times of ``device-bench``, as a picture and a table."""

from recbole_cocorr.experiments.results.device_times import (
    NATIVE_SUFFIX,
    NEIGHBOURS_SUFFIX,
    WINDOW_SUFFIX,
    DeviceTimes,
)
from recbole_cocorr.experiments.runs.groups import in_field_order
from recbole_cocorr.report.figures import Picture, Styles
from recbole_cocorr.report.plot_style import engineering, legend_below, log_scale, panel, settings
from recbole_cocorr.report.table_formats import Cell, Table, row

_WITH_NEIGHBOURS = NEIGHBOURS_SUFFIX.format("").lstrip(", ")


def click_times(times: DeviceTimes, styles: Styles) -> Picture:
    """Microseconds per click over the clicks of history, on logarithmic axes: medians, whiskers up to the p99."""
    histories = sorted(times.setting["histories"])
    # A model that is there twice is drawn as it carries its state on, and without a neighbour table; the table has all.
    models = times.models
    twice = {f"{label}{WINDOW_SUFFIX}" for label in models} | {f"{label}{NATIVE_SUFFIX}" for label in models}
    drawn = [label for label in models if label not in twice and not label.endswith(_WITH_NEIGHBOURS)]
    labels = in_field_order(drawn)
    with settings():
        figure, axes = panel(len(labels))
        for label in labels:
            clicks = [times.models[label]["click"][str(n)] for n in histories]
            middle = [t["p50"] for t in clicks]
            above = [max(0.0, t["p99"] - t["p50"]) for t in clicks]
            style = styles[label]
            axes.errorbar(
                histories, middle, yerr=[[0] * len(above), above], ecolor=style.colour, elinewidth=1, capsize=2.5,
                label=label, **style.line(),
            )  # fmt: skip
        log_scale(axes.xaxis, engineering())
        axes.set_xticks(histories)
        log_scale(axes.yaxis, engineering())
        axes.set_xlabel("Clicks of history (log)")
        axes.set_ylabel("Microseconds per click (log)")
        legend_below(figure, axes)
    caption = (
        "Time of one click on the device, until the user vector is there: the median, and a whisker up to the 99th "
        "percentile. One thread; SASRec reads its window anew, the others carry a state on; with their windows read "
        "anew they stand in the table."
    )
    return Picture("device-clicks", caption, figure)


def device_table(times: DeviceTimes) -> Table:
    """Clicks, rankings, start-up, memory and bytes of every model."""
    setting = times.setting
    histories = sorted(setting["histories"])
    header = ["Model", *(f"click after {n}, us" for n in histories), f"rank {setting['candidates']}, us"]
    header += ["start, ms", "peak memory, MB", "graphs, KB", "artifact, KB", "state, B"]
    rows = []
    for label in in_field_order(times.models):
        model = times.models[label]
        spans = [*(model["click"][str(n)] for n in histories), model["rank"]]
        cells: list[str | Cell] = [label, *(f"{t['p50']:.1f} / {t['p99']:.1f}" for t in spans)]
        cells += [f"{model['startup_ms']:.1f}", f"{model['peak_rss_mb']:.0f}", f"{model['graph_bytes'] / 1000:.0f}"]
        cells += [f"{model['artifact_bytes'] / 1000:.0f}", f"{model['state_bytes']:.0f}"]
        rows.append(row(*cells))
    notes = (
        "Times are median / 99th percentile, on one thread. State is the file that keeps a user.",
        f"{setting['items']:,} items, {setting['clicks']:,} clicks for each time.",
    )
    return Table("device", "On the device", tuple(header), tuple(rows), notes)
