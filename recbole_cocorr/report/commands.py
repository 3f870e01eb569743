"""Commands that people are told to type: whole, with the folder as it was named, quoted for a shell."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.entries import benchmark_defaults, find_entries, sweep_entries
from recbole_cocorr.experiments.runs.groups import in_field_order, is_sweep
from recbole_cocorr.experiments.runs.run_files import PLAN_FILE, RunRecord, read_plan


def command(*arguments: Any) -> str:
    """``python -m recbole_cocorr`` with the arguments."""
    return "python -m recbole_cocorr " + shlex.join(map(str, arguments))


def benchmark_command(folder: Path, records: Sequence[RunRecord] = (), *more: str) -> str:
    """The ``benchmark`` that goes on in a results folder: as its plan says, or else as its runs do."""
    plan = _plan(folder)
    return command(
        "benchmark",
        *(_planned(plan) or _trained(records)),
        *_data(plan, records),
        *more,
        f"--out={folder}",
        *_settings(plan),
    )


def sweep_command(folder: Path, records: Sequence[RunRecord] = ()) -> str:
    """A ``sweep`` of the same data into the same folder, without the settings that a sweep has of its own."""
    plan = _plan(folder)
    (row,) = sweep_entries([1], 1, use_gcn=False)
    plan["settings"] = {k: v for k, v in (plan.get("settings") or {}).items() if k not in row.settings}
    return command("sweep", *_data(plan, records), f"--out={folder}", *_settings(plan))


def _plan(folder: Path) -> dict[str, Any]:
    return read_plan(folder) if (folder / PLAN_FILE).is_file() else {}


def _data(plan: dict[str, Any], records: Sequence[RunRecord]) -> list[str]:
    names = plan.get("datasets") or sorted({r.dataset for r in records}) or ["NAME"]
    protocol = plan.get("protocol", "paper")
    return [f"--datasets={','.join(names)}", *([f"--protocol={protocol}"] if protocol != "paper" else [])]


def _planned(plan: dict[str, Any]) -> list[str]:
    """Models, seeds and rates of a plan; an empty list for a sweep's plan, whose models have no names."""
    if not {"models", "seeds", "learning_rates"} <= set(plan):
        return []
    labels = [m["label"] for m in plan["models"]]
    try:
        entries = find_entries(labels)
    except UserError:
        return []
    defaults = benchmark_defaults()
    own = [list(e.learning_rates) if e.learning_rates else None for e in entries]
    chosen = [f"--models={','.join(labels)}", f"--seeds={','.join(map(str, plan['seeds']))}"]
    # Named only where they were: a grid that is named takes the place of a model's own.
    if plan["learning_rates"] != defaults["learning_rates"] or own != [m["learning_rates"] for m in plan["models"]]:
        chosen.append(f"--learning_rates={','.join(f'{r:g}' for r in plan['learning_rates'])}")
    return chosen


def _trained(records: Sequence[RunRecord]) -> list[str]:
    runs = [r for r in records if not is_sweep(r)]
    labels = in_field_order(r.label for r in runs)
    try:
        find_entries(labels)
    except UserError:
        return []
    seeds, rates = sorted({r.seed for r in runs}), sorted({r.learning_rate for r in runs})
    return [
        f"--models={','.join(labels)}",
        f"--seeds={','.join(map(str, seeds))}",
        f"--learning_rates={','.join(f'{rate:g}' for rate in rates)}",
    ]


def _settings(plan: dict[str, Any]) -> list[str]:
    return [f"--{key}={value}" for key, value in (plan.get("settings") or {}).items()]
