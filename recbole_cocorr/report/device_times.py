"""The times of ``device-bench``, as pictures and a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.device_times import (
    NATIVE_SUFFIX,
    NEIGHBOURS_SUFFIX,
    WINDOW_SUFFIX,
    DeviceTimes,
)
from recbole_cocorr.experiments.results.spread import NOISY, is_noisy
from recbole_cocorr.experiments.runs.groups import in_field_order
from recbole_cocorr.report.cost_tables import NOISE_NOTE
from recbole_cocorr.report.figures import Picture, Styles
from recbole_cocorr.report.overlaps import in_words, layered, together
from recbole_cocorr.report.plot_style import engineering, legend_below, log_scale, panel, ring, settings
from recbole_cocorr.report.table_formats import Cell, Table, row

_WITH_NEIGHBOURS = NEIGHBOURS_SUFFIX.format("").lstrip(", ")
CARRIED, ANEW = "carried on", "window anew"


@dataclass(frozen=True)
class Form:
    """One row of ``device.json``: a model, and in which form the device runs it.

    Attributes
    ----------
    label : str
        The row's name.
    model : str
    native : bool
        The native library runs it, not ONNX Runtime.
    way : str
        ``CARRIED`` where a click is added to the state, ``ANEW`` where the window is read again.
    with_table : bool
        Whether the artifact has a neighbour table.
    """

    label: str
    model: str
    native: bool
    way: str
    with_table: bool

    @property
    def runtime(self) -> str:
        """In words."""
        return "the native library" if self.native else "ONNX Runtime"


def forms_of(times: DeviceTimes) -> list[Form]:
    """The forms of every row, models in the field's order."""
    forms = []
    for label, model in times.models.items():
        rest = label.removesuffix(NATIVE_SUFFIX)
        parts = rest.split(", ")
        with_table = parts[-1].endswith(_WITH_NEIGHBOURS)
        rest = ", ".join(parts[:-1]) if with_table else rest
        anew = rest.endswith(WINDOW_SUFFIX) or model.get("policy") == "window"
        name = rest.removesuffix(WINDOW_SUFFIX)
        native = label.endswith(NATIVE_SUFFIX)
        forms.append(Form(label, name, native, ANEW if anew else CARRIED, with_table))
    order = in_field_order(form.model for form in forms)
    return sorted(forms, key=lambda form: order.index(form.model))


def noisy_time(time: Row) -> bool:
    """Whether a time's runs lie far apart; files from before November 2026 have no upper quartile."""
    if "p75" in time and "p25" in time:
        return is_noisy(time["p50"], (time["p25"], time["p75"]))
    return "p25" in time and time["p50"] - time["p25"] > NOISY / 2 * time["p50"]


def click_times(times: DeviceTimes, styles: Styles) -> list[Picture]:
    """Microseconds per click over the clicks of history, a picture for each runtime, both with the same axes."""
    forms = [form for form in forms_of(times) if not form.with_table]
    pictures = []
    for native in (False, True):
        drawn = [form for form in forms if form.native == native]
        if drawn:
            pictures.append(_clicks(times, drawn, styles, _range(times, forms)))
    return pictures


def _range(times: DeviceTimes, forms: Sequence[Form]) -> tuple[float, float]:
    """A little below and above all that the pictures draw."""
    clicks = [time for form in forms for time in times.models[form.label]["click"].values()]
    return 0.8 * min(t.get("p25", t["p50"]) for t in clicks), 1.25 * max(t["p99"] for t in clicks)


def _clicks(times: DeviceTimes, forms: Sequence[Form], styles: Styles, limits: tuple[float, float]) -> Picture:
    histories = sorted(times.setting["histories"])
    clicks = {form.label: [times.models[form.label]["click"][str(n)] for n in histories] for form in forms}
    medians = {label: [(n, t["p50"]) for n, t in zip(histories, ts, strict=True)] for label, ts in clicks.items()}
    covered = together(medians, log_x=True, log_y=True)
    doubted = False
    with settings():
        figure, axes = panel(len(forms))
        axes.set_ylim(limits)  # before the ticks are chosen
        for form in forms:
            middle = [t["p50"] for t in clicks[form.label]]
            below = [max(0.0, t["p50"] - t.get("p25", t["p50"])) for t in clicks[form.label]]
            above = [max(0.0, t["p99"] - t["p50"]) for t in clicks[form.label]]
            style = layered(styles[form.model], form.label, covered)
            if form.way == ANEW:
                style |= {"linestyle": ":", "markerfacecolor": "none"}
            else:
                style |= {"linestyle": "-", "markerfacecolor": style["color"]}
            axes.errorbar(
                histories, middle, yerr=[below, above], ecolor=style["color"], elinewidth=1, capsize=2.5,
                label=f"{form.model}, {form.way}", **style,
            )  # fmt: skip
            for n, time in zip(histories, clicks[form.label], strict=True):
                if noisy_time(time):
                    doubted = True
                    ring(axes, n, time["p50"])
        log_scale(axes.xaxis, engineering())
        axes.set_xticks(histories)
        log_scale(axes.yaxis, engineering())
        axes.set_ylim(limits)
        axes.set_xlabel("Clicks of history (log)")
        axes.set_ylabel("Microseconds per click (log)")
        legend_below(figure, axes)
    names = {form.label: f"{form.model}, {form.way}" for form in forms}
    caption = (
        f"Time of one click on the device with {forms[0].runtime}, until the user vector is there: the median, and "
        "a whisker from the lower quartile up to the 99th percentile. One thread. Solid: the click is added to a state "
        "that is carried on; dotted: the window of the last clicks is read anew."
        + (" Ringed: timed while the machine was busy." if doubted else "")
        + in_words([[names[label] for label in labels] for labels in covered])
    )
    return Picture("device-clicks-native" if forms[0].native else "device-clicks", caption, figure)


def device_table(times: DeviceTimes) -> Table:
    """Clicks, rankings, start-up, memory and bytes of every model in every form."""
    setting = times.setting
    histories = sorted(setting["histories"])
    rank = f"rank {setting['candidates']}"
    header = ["Model", "State", *(f"click after {n}, us" for n in histories), f"{rank}, us"]
    header += ["start, ms", "peak memory, MB", "graphs, KB", "artifact, KB", "state, B"]
    forms = forms_of(times)
    rows, doubted = [], False
    for form in forms:
        model = times.models[form.label]
        spans = [*(model["click"][str(n)] for n in histories), model["rank"]]
        cells: list[str | Cell] = [form.label, form.way]
        cells += [Cell(f"{t['p50']:.1f} / {t['p99']:.1f}", mark="~" if noisy_time(t) else "") for t in spans]
        doubted = doubted or any(map(noisy_time, spans))
        cells += [f"{model['startup_ms']:.1f}", f"{model['peak_rss_mb']:.0f}", f"{model['graph_bytes'] / 1000:.0f}"]
        cells += [f"{model['artifact_bytes'] / 1000:.0f}", f"{model['state_bytes']:.0f}"]
        rows.append(row(*cells))
    notes = (
        "Times are median / 99th percentile, on one thread. Carried on: a click is added to the state. Window anew: "
        "the last clicks are read again. State, B: the file that keeps a user.",
        *([NOISE_NOTE] if doubted else []),
        f"{setting['items']:,} items, {setting['clicks']:,} clicks for each time.",
    )
    groups = (
        ("", ("Model", "State")),
        ("Microseconds of one click after so many", tuple(f"{n:,}" for n in histories)),
        ("Microseconds", (rank,)),
        ("", ("Start, ms",)),
        ("Memory", ("peak, MB",)),
        ("Files", ("graphs, KB", "artifact, KB", "state, B")),
    )
    return Table("device", "On the device", tuple(header), tuple(rows), notes, text_columns=2, groups=groups)
