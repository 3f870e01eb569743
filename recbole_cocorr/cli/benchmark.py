"""``python -m recbole_cocorr benchmark``."""

import argparse
import signal
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command ``benchmark`` to the subparsers of ``python -m recbole_cocorr``."""
    parser = subparsers.add_parser(
        "benchmark",
        help="train and evaluate several models under one protocol, into one results folder",
        description="Train and evaluate every model on every dataset with every seed. The learning rate is chosen "
        "with the first seed, on the validation items. A results folder may be gone on with after a kill: finished "
        "runs are not repeated.",
        epilog="Further settings of all runs: --key=value, as for run. The field, its settings, the default grid "
        "and seeds are in properties/benchmark.yaml.",
        allow_abbrev=False,  # --seed=1 is a setting, not --seeds
    )
    parser.add_argument("--models", help="labels of properties/benchmark.yaml or RecBole models, separated by commas")
    parser.add_argument("--datasets", required=True, help="separated by commas")
    parser.add_argument("--protocol", default="paper", help="paper or full (default: paper)")
    parser.add_argument("--seeds", help="separated by commas")
    parser.add_argument("--learning_rates", help="separated by commas")
    parser.add_argument("--out", default="results/benchmark", metavar="DIR", help="(default: results/benchmark)")
    add_running_flags(parser)
    parser.add_argument(
        "--ablate",
        choices=["correction"],
        help="afterwards evaluate each CoCorrRec run with its own correction, none, a stale one and another user's",
    )
    parser.add_argument("--dry_run", action="store_true", help="show the plan and run nothing")
    parser.set_defaults(func=_benchmark, takes_settings=True)
    return parser


def add_running_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say where the runs of a plan run."""
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (default: 1)")
    parser.add_argument(
        "--threads", type=int, help="threads of each (default: the processors that are allowed, shared)"
    )
    parser.add_argument(
        "--distributed",
        choices=["ray"],
        help="run on the Ray cluster at RAY_ADDRESS instead of processes on this machine",
    )


def make_executor(arguments: argparse.Namespace):
    """The executor that the running flags ask for, and the number of runs at once."""
    from recbole_cocorr.base.errors import UserError
    from recbole_cocorr.experiments.runs.engine import default_threads
    from recbole_cocorr.experiments.runs.executors import Processes, RayTasks

    for name in ("jobs", "threads"):
        number = getattr(arguments, name)
        if number is not None and number < 1:
            raise UserError(f"--{name} is {number}; it must be at least 1")
    threads = arguments.threads or default_threads(arguments.jobs)
    return RayTasks(threads) if arguments.distributed == "ray" else Processes(threads)


def _benchmark(arguments: argparse.Namespace) -> int:
    # Imported late: --help answers at once.
    from recbole_cocorr.experiments.entries import benchmark_defaults, find_entries
    from recbole_cocorr.experiments.runs.plan import Plan, numbers
    from recbole_cocorr.training.config import parse_overrides

    defaults = benchmark_defaults()
    plan = Plan(
        entries=find_entries(
            arguments.models.split(",") if arguments.models else None, own_rates=arguments.learning_rates is None
        ),
        datasets=[name.strip() for name in arguments.datasets.split(",")],
        protocol=arguments.protocol,
        seeds=numbers(arguments.seeds, "--seeds", int, defaults["seeds"]),
        learning_rates=numbers(arguments.learning_rates, "--learning_rates", float, defaults["learning_rates"]),
        settings=parse_overrides(arguments.settings),
    )
    status = carry_out(plan, arguments)
    if arguments.ablate and not arguments.dry_run and status == 0:
        from recbole_cocorr.experiments.ablation import ablate

        ablate(Path(arguments.out))
    return status


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt  # the runs are stopped in order, as after Ctrl-C


def carry_out(plan, arguments: argparse.Namespace) -> int:
    """Check a plan, run what is open and say what came of it; the exit status is 1 if a run failed."""
    from recbole_cocorr.experiments.runs.checks import check_plan
    from recbole_cocorr.experiments.runs.engine import Engine, open_folder

    folder = Path(arguments.out)
    engine = Engine(plan, folder, None if arguments.dry_run else make_executor(arguments), arguments.jobs)
    check_plan(plan, engine.record)
    if arguments.dry_run:
        finished, total = engine.counts()
        print("\n".join(engine.lines()))
        print(f"{total} runs, {finished} of them finished in {folder}; nothing was run (--dry_run)")
        return 0
    open_folder(folder, plan)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        complete = engine.run()
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on in {folder}")
        return 130
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    finished, total = engine.counts()
    print(f"{finished} of {total} runs are finished in {folder}")
    for run, error in sorted(engine.failed.items()):
        print(f"failed: {run}: {error}")
    if not complete:
        print("the same command tries the failed runs again")
    return 0 if complete else 1
