"""Figure 6: quality and inference time over the mini-batch size K of the test-time training."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.utils.benchmark import Timer

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import write_versioned
from recbole_cocorr.experiments.entries import Entry
from recbole_cocorr.experiments.extra_files import SWEEP_FILE, SWEEP_FORMAT
from recbole_cocorr.experiments.runs.environment import machine, versions
from recbole_cocorr.experiments.runs.groups import is_sweep
from recbole_cocorr.experiments.runs.run_files import FORMAT_VERSION, runs_in
from recbole_cocorr.experiments.runs.worker import MODEL_FILE
from recbole_cocorr.training.agreement import PLACE, SPEED
from recbole_cocorr.training.recommend import load_model

BATCH = 1024


def entries(sizes: Iterable[int], length: int, use_gcn: bool) -> list[Entry]:
    """CoCorrRec with each K, at one L.

    Raises
    ------
    UserError
        For a K below 1 or above L, which would be no other model than K = L.
    """
    found = []
    for size in sizes:
        if not 1 <= size <= length:
            raise UserError(f"K is {size}; it must be at least 1 and at most L = {length}")
        settings = {"mini_batch_size": size, "MAX_ITEM_LIST_LENGTH": length, "use_gcn": use_gcn, "hidden_size": 64}
        found.append(Entry(f"K = {size}", "CoCorrRec", settings))
    return found


@torch.no_grad()
def time_runs(folder: Path, repeats: int = 5) -> list[dict[str, Any]]:
    """Inference time of each finished run of a sweep, one thread, histories of full length.

    The runs are measured in turn, ``repeats`` times, and the median is kept: a shared machine changes its speed.

    Returns
    -------
    list of dict
        ``K``, ``latency_us`` (one user, history to user vector) and ``batch_latency_us`` (a batch of 1024).

    Raises
    ------
    UserError
        If the folder holds sweeps with different settings.
    """
    runs = [(record, run) for record, run in runs_in(folder) if is_sweep(record)]
    for record, _ in runs[1:]:
        _check_same_sweep(runs[0][0].settings, record.settings, folder)
    models: dict[int, Any] = {}
    for record, run in runs:
        size = record.settings["mini_batch_size"]
        if size not in models:
            models[size] = load_model(run / MODEL_FILE)
    threads = torch.get_num_threads()
    took: dict[int, dict[int, list[float]]] = {size: {1: [], BATCH: []} for size in models}
    torch.set_num_threads(1)
    try:
        for _ in range(repeats):
            for size, recommender in sorted(models.items()):
                length = recommender.config["MAX_ITEM_LIST_LENGTH"]
                for rows in (1, BATCH):
                    seq = torch.randint(1, recommender.vocabulary.item_num, (rows, length))
                    lengths = torch.full((rows,), length)
                    timer = Timer(
                        "model(seq, lengths)", globals={"model": recommender.model, "seq": seq, "lengths": lengths}
                    )
                    took[size][rows].append(timer.blocked_autorange(min_run_time=0.2).median * 1e6)
    finally:
        torch.set_num_threads(threads)
    return [
        {"K": size, "latency_us": _median(by[1]), "batch_latency_us": _median(by[BATCH])}
        for size, by in sorted(took.items())
    ]


def _check_same_sweep(one: dict[str, Any], other: dict[str, Any], folder: Path) -> None:
    for key in sorted({*one, *other} - PLACE - SPEED - {"mini_batch_size"}):
        if one.get(key) != other.get(key):
            raise UserError(
                f"{folder} holds sweeps with {key}={one.get(key)!r} and with {key}={other.get(key)!r}; times of both "
                "cannot stand in one table: name a new folder with --out"
            )


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def write_times(folder: Path, say=print) -> None:
    """Measure the sweep's runs, print the table and write ``sweep.json``."""
    rows = time_runs(folder)
    if not rows:
        raise UserError(f"{folder} holds no finished run of a sweep")
    scores: dict[int, list[float]] = {}
    for record, _ in runs_in(folder):
        if record.test and "mini_batch_size" in record.settings:
            scores.setdefault(record.settings["mini_batch_size"], []).append(record.test.get("ndcg@10", float("nan")))
    say(f"{'K':>4}{'NDCG@10':>10}{'one user, us':>14}{f'{BATCH} users, us':>16}")
    for row in rows:
        found = scores.get(row["K"], [])
        mean = f"{sum(found) / len(found):.4f}" if found else ""
        say(f"{row['K']:>4}{mean:>10}{row['latency_us']:>14.0f}{row['batch_latency_us']:>16.0f}")
    content = {"versions": versions(), "machine": {**machine(), "threads": 1}, "rows": rows}
    write_versioned(folder / SWEEP_FILE, "times of the sweep", SWEEP_FORMAT, FORMAT_VERSION, content)
