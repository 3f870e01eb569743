"""Figure 6: quality and inference time over the mini-batch size K of the test-time training."""

from math import nan
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch.utils.benchmark import Timer

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.spread import QUARTILES, quartiles
from recbole_cocorr.experiments.results.sweep import BATCH, SweepTimes
from recbole_cocorr.experiments.runs.environment import machine, versions
from recbole_cocorr.experiments.runs.groups import is_sweep, sweep_groups
from recbole_cocorr.experiments.runs.run_files import RunRecord, read_results, runs_in
from recbole_cocorr.experiments.runs.worker import MODEL_FILE
from recbole_cocorr.training.agreement import PLACE, SPEED
from recbole_cocorr.training.recommend import load_model


def sweep_runs(folder: Path) -> list[tuple[RunRecord, Path]]:
    """The finished runs of a folder's sweep, each with its own folder.

    Raises
    ------
    UserError
        If there is none, or the folder holds sweeps with different settings.
    """
    runs = [(record, run) for record, run in runs_in(folder) if is_sweep(record)]
    if not runs:
        raise UserError(f"{folder} holds no finished run of a sweep")
    first = runs[0][0].settings
    for record, _ in runs[1:]:
        for key in sorted({*first, *record.settings} - PLACE - SPEED - {"mini_batch_size"}):
            if first.get(key) != record.settings.get(key):
                raise UserError(
                    f"{folder} holds sweeps with {key}={first.get(key)!r} and with {key}={record.settings.get(key)!r}; "
                    "times of both cannot stand in one table: name a new folder with --out"
                )
    return runs


@torch.no_grad()
def measure(folder: Path, repeats: int = 5) -> SweepTimes:
    """Inference time of each finished run of a sweep, one thread, histories of full length.

    The runs are measured in turn, ``repeats`` times, and the median counts: a shared machine changes its speed.

    Raises
    ------
    UserError
        As :func:`sweep_runs`.
    """
    models: dict[int, Any] = {}
    for record, run in sweep_runs(folder):
        size = record.settings["mini_batch_size"]
        if size not in models:
            models[size] = load_model(run / MODEL_FILE)
    threads = torch.get_num_threads()
    times: dict[int, dict[int, list[float]]] = {size: {1: [], BATCH: []} for size in models}
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
                    times[size][rows].append(timer.blocked_autorange(min_run_time=0.2).median * 1e6)
    finally:
        torch.set_num_threads(threads)
    rows_of: list[Row] = [
        {
            "K": size,
            "latency_us": median(by[1]),
            "latency_us" + QUARTILES: quartiles(by[1]),
            "batch_latency_us": median(by[BATCH]),
            "batch_latency_us" + QUARTILES: quartiles(by[BATCH]),
        }
        for size, by in sorted(times.items())
    ]
    return SweepTimes(versions(), {**machine(), "threads": 1}, rows_of)


def quality(folder: Path, dataset: str, protocol: str) -> dict[int, float]:
    """Test NDCG@10 of each K on a data set, the mean over seeds."""
    by_size = sweep_groups(read_results(folder))[dataset, protocol]
    return {size: fmean(run.test.get("ndcg@10", nan) for run in by_size[size].values()) for size in by_size}
