"""A benchmark in one call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_cocorr.base.checks import checked_path, checked_whole
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.entries import benchmark_defaults, find_entries
from recbole_cocorr.experiments.runs.checks import check_plan
from recbole_cocorr.experiments.runs.engine import Engine, default_threads, open_folder
from recbole_cocorr.experiments.runs.executors import Processes
from recbole_cocorr.experiments.runs.plan import Plan, numbers
from recbole_cocorr.experiments.runs.run_files import RunRecord


def plan_of(
    datasets: Sequence[str],
    models: Sequence[str] | None = None,
    seeds: str | Sequence[int] | None = None,
    learning_rates: str | Sequence[float] | None = None,
    protocol: str = "paper",
    settings: dict[str, Any] | None = None,
) -> Plan:
    """What a benchmark is to run; see :func:`benchmark`."""
    defaults = benchmark_defaults()
    return Plan(
        entries=find_entries(models, own_rates=learning_rates is None),
        datasets=[name.strip() for name in datasets],
        protocol=protocol,
        seeds=numbers(seeds, "--seeds", int, defaults["seeds"]),
        learning_rates=numbers(learning_rates, "--learning_rates", float, defaults["learning_rates"]),
        settings=settings or {},
    )


def benchmark(
    datasets: Sequence[str],
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    learning_rates: Sequence[float] | None = None,
    protocol: str = "paper",
    out: str | Path = "results/benchmark",
    jobs: int = 1,
    threads: int | None = None,
    settings: dict[str, Any] | None = None,
) -> list[RunRecord]:
    """Train and evaluate every model on every dataset with every seed; what is finished already is not repeated.

    Parameters
    ----------
    datasets : sequence of str
        Names in ``dataset_configs/``, or of folders in the setting ``data_path``.
    models : sequence of str, optional
        Labels of the catalogue or of ``properties/benchmark.yaml``, or RecBole's models; the whole field, if left out.
    seeds : sequence of int, optional
    learning_rates : sequence of float, optional
        The grid; the best is chosen with the first seed, on the validation items.
    protocol : str
        Of ``properties/protocol/``.
    out : str or pathlib.Path
        The results folder, which ``report`` reads.
    jobs : int
        Runs at once, each a process of its own.
    threads : int, optional
        Threads of each run. If left out, the runs share the processors that this process may use.
    settings : dict, optional
        Further settings of all runs.

    Returns
    -------
    list of RunRecord
        The tested runs, by dataset, model and seed.

    Raises
    ------
    UserError
        If something does not fit, or a run failed; the finished ones stay in ``out``.
    """
    for name, value in (("datasets", datasets), ("models", models)):
        if isinstance(value, str):
            raise UserError(f"{name} is {value!r}; it must be a list of names")
    jobs = checked_whole(jobs, "jobs", 1)
    threads = default_threads(jobs) if threads is None else checked_whole(threads, "threads", 1)
    plan, folder = plan_of(datasets, models, seeds, learning_rates, protocol, settings), checked_path(out, "out")
    engine = Engine(plan, folder, Processes(threads), jobs)
    check_plan(plan, engine.record)
    open_folder(folder, plan)
    if not engine.run():
        run, error = min(engine.failed.items())
        raise UserError(f"{len(engine.failed)} runs failed, the first is {run}: {error}")
    records = []
    for group in plan.tunings():
        trial = engine.chosen(group)
        records += [record for spec in group.finals(trial) if (record := engine.record(spec)) is not None]
    return records
