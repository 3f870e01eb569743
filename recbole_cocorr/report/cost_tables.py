"""Table 4 and its continuation: what one inference of each model costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.spread import NOISY, QUARTILES, is_noisy
from recbole_cocorr.experiments.runs.groups import in_field_order, slug
from recbole_cocorr.report.table_formats import MISSING, Cell, Table, row

# Key of a cost -> heading, and how its value is written.
COST_COLUMNS = {
    "parameters": ("Parameters", "count"),
    "parameters_without_items": ("without items", "count"),
    "device_parameters": ("on the device", "count"),
    "cloud_parameters": ("in the cloud", "count"),
    "flops": ("FLOPs, one inference", "si"),
    "flops_products": ("of it matrix products", "si"),
    "flops_elementwise": ("of it element-wise", "si"),
    "flops_score": ("of it scoring", "si"),
    "device_flops": ("FLOPs, one inference, on the device", "si"),
    "flops_per_click": ("FLOPs, one new click", "si"),
    "device_flops_per_click": ("FLOPs, one new click, on the device", "si"),
    "peak_bytes": ("Peak memory", "bytes"),
    "state_bytes": ("State between clicks", "bytes"),
    "latency_us": ("Latency, one inference", "us"),
    "click_latency_us": ("Latency, one new click", "us"),
}

# The columns in the same order, under what they share.
_GROUPS = {
    "Parameters": {
        "parameters": "all",
        "parameters_without_items": "without items",
        "device_parameters": "on the device",
        "cloud_parameters": "in the cloud",
    },
    "FLOPs of one inference": {
        "flops": "all",
        "flops_products": "matrix products",
        "flops_elementwise": "element-wise",
        "flops_score": "scoring",
        "device_flops": "on the device",
    },
    "FLOPs of one new click": {"flops_per_click": "all", "device_flops_per_click": "on the device"},
    "Memory": {"peak_bytes": "peak", "state_bytes": "state"},
    "Time": {"latency_us": "one inference", "click_latency_us": "one new click"},
}


def si(value: float | None, unit: str = "") -> str:
    """Three significant digits with a decimal prefix: ``1.23 M``, ``45.6 kB``."""
    if value is None:
        return MISSING
    size = abs(value)
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= factor * 0.9995:
            return f"{_three(value / factor)} {prefix}{unit}"
    return f"{value:.0f} {unit}".strip() if float(value).is_integer() else f"{_three(value)} {unit}".strip()


def _three(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")


def cost_value(column: str, value: float | None) -> str:
    """A number of cost.json as people read it."""
    if value is None:
        return MISSING
    kind = COST_COLUMNS[column][1]
    if kind == "count":
        return f"{value:,.0f}"
    if kind == "us":
        return f"{_three(value / 1000)} ms" if value >= 999.5 else f"{_three(value)} µs"
    return si(value, "B" if kind == "bytes" else "")


NOISE_NOTE = (
    f"~ timed while the machine was busy: the middle half of the runs spans more than {NOISY:.0%} of their median."
)


def noisy(cost: Row, column: str) -> bool:
    """Whether a time of a row is that of a noisy machine."""
    return cost.get(column) is not None and is_noisy(cost[column], cost.get(column + QUARTILES))


def cost_cell(column: str, cost: Row) -> Cell:
    """A number as people read it; a time with half of what its runs span, where that is known."""
    text, low_high = cost_value(column, cost.get(column)), cost.get(column + QUARTILES)
    if low_high and cost.get(column):
        text += f" ±{(low_high[1] - low_high[0]) / 2 / cost[column]:.0%}"
    return Cell(text, mark="~" if noisy(cost, column) else "")


def _spread_notes(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """What stands below a table of times."""
    times = [c for c in columns if COST_COLUMNS[c][1] == "us"]
    notes = []
    if any(r.get(c + QUARTILES) for r in rows for c in times):
        notes.append("Times are medians, ± half of what the middle half of the runs spans.")
    elif times:
        notes.append("Times are medians; this file does not say how far the runs lie apart.")
    return notes + [NOISE_NOTE] * any(noisy(r, c) for r in rows for c in times)


def cost_table(rows: Sequence[Row], length: int, setting: str = "") -> Table:
    """Table 4: what one inference costs at one length of history.

    Parameters
    ----------
    rows : sequence of dict
    length : int
    setting : str
        A sentence below the table: how it was measured.
    """
    at = {r["model"]: r for r in rows if r["L"] == length}
    columns = [c for c in COST_COLUMNS if any(r.get(c) is not None for r in at.values())]
    return Table(
        name="table4-cost",
        caption=f"Cost of one inference with L = {length} clicks of history",
        header=("Model", *(COST_COLUMNS[c][0] for c in columns)),
        groups=(("", ("Model",)), *_grouped(columns)),
        rows=tuple(row(m, *(cost_cell(c, at[m]) for c in columns)) for m in in_field_order(at)),
        notes=(
            "Device and cloud together, where no other is named. FLOPs: a multiplication and an addition count as two. "
            "B: bytes, k = 1,000. State: what the device keeps per user between two clicks. One new click: from the "
            "click to the scores; a model that reads its whole history again does all of that work.",
            *_spread_notes(list(at.values()), columns),
            *([setting] if setting else []),
        ),
    )


def _grouped(columns: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The columns under the titles of ``_GROUPS``."""
    groups = []
    for title, headings in _GROUPS.items():
        known = tuple(heading for column, heading in headings.items() if column in columns)
        groups += [(title, known)] if known else []
    return groups


def length_table(rows: Sequence[Row], column: str) -> Table:
    """One cost over the length of the history."""
    lengths = sorted({r["L"] for r in rows})
    value = {(r["model"], r["L"]): cost_cell(column, r) for r in rows}
    models = in_field_order(r["model"] for r in rows)
    heading = COST_COLUMNS[column][0]
    return Table(
        name=f"cost-{slug(column)}",
        caption=f"{heading} over the length L of the history",
        header=("Model", *(f"L = {length}" for length in lengths)),
        rows=tuple(row(m, *(value.get((m, length), MISSING) for length in lengths)) for m in models),
        notes=tuple(_spread_notes(rows, [column])),
    )


_CHEAPEST = (
    ("flops", "per inference"),
    ("device_flops", "per inference on the device"),
    ("flops_per_click", "per new click"),
    ("device_flops_per_click", "per new click on the device"),
)


def cheapest(rows: Sequence[Row]) -> list[str]:
    """Sentences on who needs the fewest FLOPs at each length, per inference and per new click."""
    result = []
    for column, what in _CHEAPEST:
        at: dict[str, list[int]] = {}
        for length in sorted({r["L"] for r in rows}):
            known = {r["model"]: r[column] for r in rows if r["L"] == length and r.get(column) is not None}
            if len(known) > 1:
                lowest = min(known.values())
                names = ", ".join(in_field_order(m for m, value in known.items() if value == lowest))
                at.setdefault(names, []).append(length)
        if at:
            models = [f"{names} at L = {', '.join(map(str, lengths))}" for names, lengths in at.items()]
            result.append(f"Fewest FLOPs {what}: {'; '.join(models)}.")
    return result


def cost_setting(settings: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    """A sentence on the sizes and the machine that cost.json names; empty where it names neither."""
    texts = {
        "items": "{:,} items",
        "candidates": "{} candidates scored",
        "mini_batch_size": "K at most {}",
        "threads": "latency on {} threads",
        "repeats": "median of {} runs",
    }
    facts = [text.format(settings[key]) for key, text in texts.items() if isinstance(settings.get(key), int)]
    if settings.get("threads") == 1:
        facts = [fact.replace(" threads", " thread") for fact in facts]
    if machine.get("processor"):
        facts.append(f"processor: {machine['processor']}")
    return "; ".join(facts)[:1].upper() + "; ".join(facts)[1:] + "." if facts else ""
