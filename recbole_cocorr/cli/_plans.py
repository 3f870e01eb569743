"""What ``benchmark`` and ``sweep`` do with a plan."""

import argparse
import signal
from pathlib import Path
from typing import Any


def carry_out(plan: Any, arguments: argparse.Namespace) -> int:
    """Check a plan, run what is open and say what came of it; the exit status is 1 if a run failed."""
    from recbole_cocorr.experiments.runs.checks import check_plan
    from recbole_cocorr.experiments.runs.engine import Engine, open_folder

    folder = Path(arguments.out)
    engine = Engine(plan, folder, None if arguments.dry_run else _executor(arguments), arguments.jobs)
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


def _executor(arguments: argparse.Namespace) -> Any:
    """The executor that the flags ask for."""
    from recbole_cocorr.base.errors import UserError
    from recbole_cocorr.experiments.runs.engine import default_threads
    from recbole_cocorr.experiments.runs.executors import Processes, RayTasks

    for name in ("jobs", "threads"):
        number = getattr(arguments, name)
        if number is not None and number < 1:
            raise UserError(f"--{name} is {number}; it must be at least 1")
    threads = arguments.threads or default_threads(arguments.jobs)
    return RayTasks(threads) if arguments.distributed == "ray" else Processes(threads)


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt  # the runs are stopped in order, as after Ctrl-C
