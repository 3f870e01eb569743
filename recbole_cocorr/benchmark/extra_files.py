"""What other commands leave in a results folder beside the runs: costs, timings, ablation, correctors, failures."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.benchmark.cost_columns import COST_COLUMNS
from recbole_cocorr.benchmark.run_files import read_json

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
        ``dataset``, ``protocol``, ``label``, ``seed``, ``variant``, ``metrics``: the test items under the cloud's
        item-item scores.
    corrector_comparisons : list of dict, or None
        ``dataset``, ``protocol``, ``kind``, and the fields of a Comparison; None in a file that was written before
        there were any.
    best_of_ours : list of dict
        ``dataset``, ``protocol``, ``label``: which of our models is compared with the baselines.
    corrector_problems : list of str
        Comparisons that could not be made.
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
    corrector_comparisons: list[Row] | None = None
    best_of_ours: list[Row] = field(default_factory=list)
    corrector_problems: list[str] = field(default_factory=list)
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
        **_read_correctors(folder / CORRECTORS_FILE, whose),
        failures=_read_failures(folder / FAILURES_FILE),
    )


def _read(path: Path, kind: str, key: str, columns: dict[str, type]) -> list[Row]:
    if not path.is_file():
        return []
    return _check(path, read_json(path, kind).get(key, []), columns)


_COMPARISON = {
    "dataset": str,
    "protocol": str,
    "kind": str,
    "model": str,
    "baseline": str,
    "metric": str,
    "seeds": list,
    "users": int,
    "per_seed": list,
    **dict.fromkeys(("difference", "low", "high", "p", "adjusted"), float),
}


def _read_correctors(path: Path, whose: dict[str, type]) -> Row:
    if not path.is_file():
        return {}
    content = read_json(path, CORRECTORS_FORMAT)
    rows = _check(path, content.get("rows", []), {**whose, "variant": str, "metrics": dict})
    # Files without a protocol were written when `correct` read the paper's alone.
    rows = [{"protocol": "paper", **r} for r in rows if not r["variant"].startswith("valid ")]
    if "comparisons" not in content:
        return {"correctors": rows}
    problems = content.get("problems", [])
    if not isinstance(problems, list) or not all(isinstance(p, str) for p in problems):
        raise UserError(f"{path} is damaged: problems is no list of sentences")
    comparisons = _check(path, content["comparisons"], _COMPARISON)
    for row in comparisons:
        if not all(is_number(number) for number in [*row["seeds"], *row["per_seed"]]):
            raise UserError(f"{path} is damaged: a comparison of {row['model']!r} has seeds that are no numbers")
    return {
        "correctors": rows,
        "corrector_comparisons": comparisons,
        "best_of_ours": _check(path, content.get("best_of_ours", []), {"dataset": str, "protocol": str, "label": str}),
        "corrector_problems": problems,
    }


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
