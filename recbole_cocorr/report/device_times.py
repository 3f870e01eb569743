"""What ``device-bench --out RESULTS/device.json`` measured, for the report: a picture and a table."""

from pathlib import Path
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.device_bench.bench import FORMAT as DEVICE_FORMAT
from recbole_cocorr.experiments.device_bench.bench import NATIVE_SUFFIX, NEIGHBOURS_SUFFIX, WINDOW_SUFFIX
from recbole_cocorr.experiments.extra_files import Row, is_number
from recbole_cocorr.experiments.runs.groups import in_field_order
from recbole_cocorr.experiments.runs.run_files import read_record
from recbole_cocorr.report.figures import Picture, Styles
from recbole_cocorr.report.plot_style import engineering, legend_below, log_scale, panel, settings
from recbole_cocorr.report.table_formats import Cell, Table, row

DEVICE_FILE = "device.json"
_WITH_NEIGHBOURS = NEIGHBOURS_SUFFIX.format("").lstrip(", ")
_SETTING = ("items", "candidates", "clicks")
_NUMBERS = ("startup_ms", "peak_rss_mb", "graph_bytes", "artifact_bytes", "state_bytes")


def read_device(path: Path) -> Row:
    """The file's ``setting`` and ``models``; empty where it is not there.

    Raises
    ------
    UserError
        If it is damaged or of another format version.
    """
    if not path.is_file():
        return {}
    content = read_record(path, DEVICE_FORMAT, "file of device-bench").content
    setting, models = content.get("setting"), content.get("models")
    if not isinstance(setting, dict) or not isinstance(models, dict) or not models:
        raise UserError(f"{path} is damaged: it lacks its setting or its models")
    for name in _SETTING:
        _check(path, name, setting.get(name))
    histories = setting.get("histories")
    if not isinstance(histories, list) or not histories or any(type(n) is not int or n < 1 for n in histories):
        raise UserError(f"{path} is damaged: its histories are no list of numbers of clicks")
    for model, found in models.items():
        if not isinstance(found, dict):
            raise UserError(f"{path} is damaged: {model!r} is no object")
        for name in _NUMBERS:
            _check(path, f"{name} of {model!r}", found.get(name))
        clicks = found.get("click") if isinstance(found.get("click"), dict) else {}
        timed = {f"click after {n}": clicks.get(str(n)) for n in histories}
        for name, times in {**timed, "rank": found.get("rank")}.items():
            for share in ("p50", "p99"):
                value = times.get(share) if isinstance(times, dict) else None
                _check(path, f"{share} of {name} of {model!r}", value, positive=True)
    return {"setting": setting, "models": models}


def _check(path: Path, name: str, value: Any, positive: bool = False) -> None:
    if not is_number(value) or value < 0 or (positive and value == 0):
        raise UserError(f"{path} is damaged: {name} is {value!r}, no number {'above' if positive else 'from'} 0")


def click_times(device: Row, styles: Styles) -> Picture:
    """Microseconds per click over the clicks of history, on logarithmic axes: medians, whiskers up to the p99."""
    histories = sorted(device["setting"]["histories"])
    # A model that is there twice is drawn as it carries its state on, and without a neighbour table; the table has all.
    models = device["models"]
    twice = {f"{label}{WINDOW_SUFFIX}" for label in models} | {f"{label}{NATIVE_SUFFIX}" for label in models}
    drawn = [label for label in models if label not in twice and not label.endswith(_WITH_NEIGHBOURS)]
    labels = in_field_order(drawn)
    with settings():
        figure, axes = panel(len(labels))
        for label in labels:
            times = [device["models"][label]["click"][str(n)] for n in histories]
            middle = [t["p50"] for t in times]
            above = [max(0.0, t["p99"] - t["p50"]) for t in times]
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


def device_table(device: Row) -> Table:
    """Clicks, rankings, start-up, memory and bytes of every model."""
    setting = device["setting"]
    histories = sorted(setting["histories"])
    header = ["Model", *(f"click after {n}, us" for n in histories), f"rank {setting['candidates']}, us"]
    header += ["start, ms", "peak memory, MB", "graphs, KB", "artifact, KB", "state, B"]
    rows = []
    for label in in_field_order(device["models"]):
        found = device["models"][label]
        times = [*(found["click"][str(n)] for n in histories), found["rank"]]
        cells: list[str | Cell] = [label, *(f"{t['p50']:.1f} / {t['p99']:.1f}" for t in times)]
        cells += [f"{found['startup_ms']:.1f}", f"{found['peak_rss_mb']:.0f}", f"{found['graph_bytes'] / 1000:.0f}"]
        cells += [f"{found['artifact_bytes'] / 1000:.0f}", f"{found['state_bytes']:.0f}"]
        rows.append(row(*cells))
    notes = (
        "Times are median / 99th percentile, on one thread. State is the file that keeps a user.",
        f"{setting['items']:,} items, {setting['clicks']:,} clicks for each time.",
    )
    return Table("device", "On the device", tuple(header), tuple(rows), notes)
