"""Table 4 and its continuation: what one inference of each model costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.runs.groups import in_field_order, slug
from recbole_cocorr.report.table_formats import MISSING, Table, row

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
        rows=tuple(row(m, *(cost_value(c, at[m].get(c)) for c in columns)) for m in in_field_order(at)),
        notes=(
            "Device and cloud together, where no other is named. FLOPs: a multiplication and an addition count as two. "
            "B: bytes, k = 1,000. State: what the device keeps per user between two clicks. One new click: from the "
            "click to the scores; a model that reads its whole history again does all of that work.",
            *([setting] if setting else []),
        ),
    )


def length_table(rows: Sequence[Row], column: str) -> Table:
    """One cost over the length of the history."""
    lengths = sorted({r["L"] for r in rows})
    value = {(r["model"], r["L"]): r.get(column) for r in rows}
    models = in_field_order(r["model"] for r in rows)
    heading = COST_COLUMNS[column][0]
    return Table(
        name=f"cost-{slug(column)}",
        caption=f"{heading} over the length L of the history",
        header=("Model", *(f"L = {length}" for length in lengths)),
        rows=tuple(row(m, *(cost_value(column, value.get((m, length))) for length in lengths)) for m in models),
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
