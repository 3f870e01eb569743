"""What other commands leave in a results folder beside the runs: costs, timings, ablation, correctors, failures."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_cocorr.base.readers import Record, read_json
from recbole_cocorr.experiments.cost.columns import COST_COLUMNS
from recbole_cocorr.experiments.runs.run_files import read_record

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
    cost = _read(folder / COST_FILE, COST_FORMAT, "cost file")
    for row in cost.records("rows") if "rows" in cost else ():
        for name in (n for n in COST_COLUMNS if not row.absent(n)):
            row.number(name, 0)
    sweep = _read(folder / SWEEP_FILE, SWEEP_FORMAT, "sweep file")
    ablation = _read(folder / ABLATION_FILE, ABLATION_FORMAT, "ablation file")
    whose = {"dataset": str, "label": str, "seed": int}
    return Extras(
        cost=_rows(cost, "rows", {"model": str, "L": int}),
        cost_settings=_object(cost, "settings"),
        cost_machine=_object(cost, "machine"),
        sweep=_rows(sweep, "rows", {"K": int, "latency_us": float}),
        ablation=_rows(ablation, "rows", {**whose, "variant": str, "metrics": dict}),
        common_share=_rows(ablation, "common_share", {**whose, "attention": float, "bias": float}),
        **_read_correctors(folder / CORRECTORS_FILE, whose),
        failures=_read_failures(folder / FAILURES_FILE),
    )


def _read(path: Path, kind: str, name: str) -> Record:
    """The file's contents; as of a file without rows where it is not there."""
    content = read_record(path, kind, name).content if path.is_file() else {}
    return Record(content, str(path))


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
    content = _read(path, CORRECTORS_FORMAT, "corrector file")
    rows = _rows(content, "rows", {**whose, "variant": str, "metrics": dict})
    # Files without a protocol were written when `correct` read the paper's alone.
    rows = [{"protocol": "paper", **r} for r in rows if not r["variant"].startswith("valid ")]
    if "comparisons" not in content:
        return {"correctors": rows}
    comparisons = _rows(content, "comparisons", _COMPARISON)
    for row in content.records("comparisons"):
        for name in ("seeds", "per_seed"):
            if not all(is_number(number) for number in row.array(name)):
                raise row.refuse(name, "a list of numbers")
    best = _rows(content, "best_of_ours", {"dataset": str, "protocol": str, "label": str})
    return {
        "correctors": rows,
        "corrector_comparisons": comparisons,
        "best_of_ours": best,
        "corrector_problems": content.array("problems", str, []),
    }


def _object(content: Record, key: str) -> Row:
    return {} if content.absent(key) else content.record(key).content


def _read_failures(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    content = Record({"failures": read_json(path, "list of failed runs")}, str(path))
    return _rows(content, "failures", {"run": str, "error": str})


def _rows(content: Record, key: str, columns: dict[str, type]) -> list[Row]:
    """A list of objects with these columns; empty where there is none."""
    if key not in content:
        return []
    for row in content.records(key):
        for name, kind in columns.items():
            _TAKE[kind](row, name)
    return content.array(key)


_TAKE = {
    str: Record.text,
    int: Record.whole,
    float: Record.number,
    list: Record.array,
    dict: Record.numbers,
}


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
