"""The JSON file that ``cost`` writes, and how it is read again.

``{"format": "recbole_cocorr.cost", "format_version": 1, "machine": {...}, "versions": {...}, "settings": {...},
"rows": [...]}``; a row's keys are those of :data:`NUMBERS` and ``model``, described in ``docs/cost.md``.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import write_versioned
from recbole_cocorr.base.readers import Record, read_json, versioned

FORMAT = "recbole_cocorr.cost"
FORMAT_VERSION = 1

_WHOLE = """
    L parameters parameters_without_items device_parameters cloud_parameters item_table_bytes
    flops flops_products flops_elementwise flops_encode flops_score flops_score_without_table
    device_flops cloud_flops flops_per_click device_flops_per_click cloud_flops_per_click
    state_bytes cloud_state_bytes peak_bytes device_peak_bytes runs
"""
WHOLE = frozenset(_WHOLE.split())
# Every key of a row that holds a number; the last three are microseconds.
NUMBERS = (*_WHOLE.split(), "latency_us", "device_latency_us", "click_latency_us")


@dataclass
class Cost:
    """What ``cost`` measured.

    Attributes
    ----------
    rows : list of dict
        One for each model and length.
    settings : dict
        Items of the catalogue, candidates, K, threads and repeats.
    versions, machine : dict
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]


def write_cost(path: str | Path, cost: Cost) -> None:
    """Write the file, whole or not at all."""
    content = dataclasses.asdict(cost)
    write_versioned(path, "cost table", FORMAT, FORMAT_VERSION, content, end="\n", through=True)


def read_cost(path: str | Path) -> Cost:
    """Read a file that ``cost --out`` wrote.

    Raises
    ------
    UserError
        If it is missing, damaged, or of another kind or version.
    """
    mend = "run `python -m recbole_cocorr cost` again"
    source = str(path)
    content = versioned(read_json(path, "cost file", nan=True), source, FORMAT, "cost file", FORMAT_VERSION, mend)
    whole = {name: content.record(name).content for name in ("settings", "versions", "machine")}
    rows = content.records("rows")
    if not rows:
        raise content.refuse("rows", "a list of at least one object")
    seen = set()
    for number, row in enumerate(rows, 1):
        _check_row(row)
        place = row.text("model"), row.whole("L")
        if place in seen:
            raise UserError(f"{path} is damaged: row {number} repeats {place[0]} at L = {place[1]}")
        seen.add(place)
    return Cost([row.content for row in rows], **whole)


def _check_row(row: Record) -> None:
    if not row.text("model"):
        raise row.refuse("model", "the name of a model")
    row.flag("reads_history_again")
    for key in NUMBERS:
        if key in WHOLE:
            row.whole(key, most=1 << 200)
        else:
            row.number(key, 0)
    if not row.absent("K"):
        row.whole("K", 1)
