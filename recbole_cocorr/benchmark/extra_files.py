"""What other commands leave in a results folder beside the runs: costs, timings, ablation, correctors, failures."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_cocorr.benchmark.cost_columns import COST_COLUMNS
from recbole_cocorr.benchmark.run_files import read_json
from recbole_cocorr.errors import UserError

COST_FILE, COST_FORMAT = "cost.json", "recbole_cocorr.cost"
SWEEP_FILE, SWEEP_FORMAT = "sweep.json", "recbole_cocorr.sweep"
ABLATION_FILE, ABLATION_FORMAT = "ablation.json", "recbole_cocorr.ablation"
CORRECTORS_FILE, CORRECTORS_FORMAT = "correctors.json", "recbole_cocorr.correctors"
FAILURES_FILE = "failures.json"

Row = dict[str, Any]


@dataclass(frozen=True)
class Extras:
    """The rows of each file; empty where there is none.

    Attributes
    ----------
    cost : list of dict
        ``model`` (a label), ``L``, and what was counted: numbers, or None; further keys are left alone.
    cost_settings, cost_machine : dict
        How it was counted and where it was timed.
    sweep : list of dict
        ``K``, ``latency_us``, ``batch_latency_us``.
    ablation : list of dict
        ``dataset``, ``label``, ``seed``, ``variant``, ``metrics``.
    common_share : list of dict
        ``dataset``, ``label``, ``seed``, and the shares ``attention`` and ``bias``.
    correctors : list of dict
        ``dataset``, ``label``, ``seed``, ``variant``, ``metrics``: the test items under the cloud's item-item scores.
    failures : list of dict
        ``run``, ``error``.
    """

    cost: list[Row] = field(default_factory=list)
    cost_settings: Row = field(default_factory=dict)
    cost_machine: Row = field(default_factory=dict)
    sweep: list[Row] = field(default_factory=list)
    ablation: list[Row] = field(default_factory=list)
    common_share: list[Row] = field(default_factory=list)
    correctors: list[Row] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)


def read_extras(folder: Path) -> Extras:
    """Read the files that are there.

    Raises
    ------
    UserError
        If one is damaged or of another format version.
    """
    cost_path = folder / COST_FILE
    cost = _read(cost_path, COST_FORMAT, "rows", {"model": str, "L": int})
    for row in cost:
        for name in COST_COLUMNS:
            value = row.get(name)
            if not (value is None or (is_number(value) and value >= 0)):
                raise UserError(f"{cost_path} is damaged: {name} of {row['model']!r} is {value!r}, no number from 0")
    made = read_json(cost_path, COST_FORMAT) if cost else {}
    ablation_path = folder / ABLATION_FILE
    whose = {"dataset": str, "label": str, "seed": int}
    return Extras(
        cost=cost,
        cost_settings=_object(cost_path, made, "settings"),
        cost_machine=_object(cost_path, made, "machine"),
        sweep=_read(folder / SWEEP_FILE, SWEEP_FORMAT, "rows", {"K": int, "latency_us": float}),
        ablation=_read(ablation_path, ABLATION_FORMAT, "rows", {**whose, "variant": str, "metrics": dict}),
        common_share=_read(
            ablation_path, ABLATION_FORMAT, "common_share", {**whose, "attention": float, "bias": float}
        ),
        correctors=[
            row
            for row in _read(
                folder / CORRECTORS_FILE, CORRECTORS_FORMAT, "rows", {**whose, "variant": str, "metrics": dict}
            )
            if not row["variant"].startswith("valid ")
        ],
        failures=_read_failures(folder / FAILURES_FILE),
    )


def _read(path: Path, kind: str, key: str, columns: dict[str, type]) -> list[Row]:
    if not path.is_file():
        return []
    return _check(path, read_json(path, kind).get(key, []), columns)


def _object(path: Path, content: Row, key: str) -> Row:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: {key} is no object")
    return value


def _read_failures(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    return _check(path, content, {"run": str, "error": str})


def _check(path: Path, rows: Any, columns: dict[str, type]) -> list[Row]:
    if not isinstance(rows, list):
        raise UserError(f"{path} is damaged: its rows are no list")
    for index, row in enumerate(rows):
        for name, kind in columns.items():
            if not isinstance(row, dict) or name not in row:
                raise UserError(f"{path} is damaged: row {index} lacks {name!r}")
            right = is_number(row[name]) if kind is float else isinstance(row[name], kind)
            if not right or isinstance(row[name], bool):
                raise UserError(f"{path} is damaged: {name} of row {index} is {row[name]!r}")
    return rows


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
