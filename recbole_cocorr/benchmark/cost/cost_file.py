"""The JSON file that ``cost`` writes, and how it is read again.

``{"format": "recbole_cocorr.cost", "format_version": 1, "machine": {...}, "versions": {...}, "settings": {...},
"rows": [...]}``; a row's keys are those of :data:`NUMBERS` and ``model``, described in ``docs/cost.md``.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_cocorr import __version__
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write

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
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(cost)}
    with atomic_write(path, what="cost table", through=True) as file:
        json.dump(content, file, indent=1)
        file.write("\n")


def read_cost(path: str | Path) -> Cost:
    """Read a file that ``cost --out`` wrote.

    Raises
    ------
    UserError
        If it is missing, damaged, or of another kind or version.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged, it is no JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not what `python -m recbole_cocorr cost --out` writes")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version!r}, and recbole_cocorr {__version__} reads version {FORMAT_VERSION}; "
            "run `python -m recbole_cocorr cost` again"
        )
    for name in ("settings", "versions", "machine"):
        if not isinstance(content.get(name), dict):
            raise UserError(f"{path} is damaged: {name} is no object")
    rows = content.get("rows")
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path} is damaged: it holds no rows")
    seen = set()
    for number, row in enumerate(rows, 1):
        _check_row(path, number, row)
        if (row["model"], row["L"]) in seen:
            raise UserError(f"{path} is damaged: row {number} repeats {row['model']} at L = {row['L']}")
        seen.add((row["model"], row["L"]))
    return Cost(rows, content["settings"], content["versions"], content["machine"])


def _check_row(path: str | Path, number: int, row: Any) -> None:
    where = f"{path} is damaged: row {number}"
    if not isinstance(row, dict) or not isinstance(row.get("model"), str) or not row["model"]:
        raise UserError(f"{where} names no model")
    if not isinstance(row.get("reads_history_again"), bool):
        raise UserError(f"{where} has reads_history_again {row.get('reads_history_again')!r}; it must be true or false")
    for key in NUMBERS:
        value = row.get(key)
        kinds = (int,) if key in WHOLE else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or not 0 <= value < float("inf"):
            raise UserError(f"{where} has {key} {value!r}; it must be a number of at least 0")
    if not (row.get("K") is None or (isinstance(row["K"], int) and row["K"] >= 1)):
        raise UserError(f"{where} has K {row['K']!r}; it must be a whole number of at least 1, or null")
