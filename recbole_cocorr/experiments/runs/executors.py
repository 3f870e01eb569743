"""Who runs a worker: processes on this machine, or a Ray cluster."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.runs.plan import RunSpec
from recbole_cocorr.experiments.runs.worker import DISK_FULL, command

LOG_FILE = "training.log"


@dataclass
class Outcome:
    """How a worker ended.

    Attributes
    ----------
    status : int
        0 for a finished run.
    error : str
        What it said last, otherwise.
    """

    status: int
    error: str = ""


class Executor(Protocol):
    """Starts runs and tells which have ended."""

    def start(self, spec: RunSpec, folder: Path) -> Any:
        """Start a run; the result is asked for with it."""

    def ended(self, handle: Any) -> Outcome | None:
        """How the run ended, or None while it goes on."""

    def stop(self, handle: Any) -> None:
        """End a run before its time."""


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}


def last_words(folder: Path, status: int) -> str:
    """The error a worker printed, without the rest of its log."""
    log = folder / LOG_FILE
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    said = [line for line in lines if line.strip()]
    # Only then has the worker itself said why; the log may hold the error of an earlier attempt.
    for line in reversed(said[-50:]) if status in (2, DISK_FULL) else ():
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    if status < 0:
        return f"killed by signal {-status}" + (" (out of memory?)" if status == -9 else "") + f"; see {log}"
    return f"{said[-1] if said else 'no word'}; see {log}"


class Processes:
    """Runs as processes on this machine.

    Parameters
    ----------
    threads : int
        Threads of each.
    """

    def __init__(self, threads: int):
        self.threads = threads

    def start(self, spec: RunSpec, folder: Path) -> tuple[subprocess.Popen, Path]:
        """Start a run; its output goes to ``training.log`` in its folder."""
        with (folder / LOG_FILE).open("a") as log:
            process = subprocess.Popen(
                command(spec, folder, self.threads),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=_environment(self.threads),
            )
        return process, folder

    def ended(self, handle: tuple[subprocess.Popen, Path]) -> Outcome | None:
        """How the run ended, or None."""
        process, folder = handle
        status = process.poll()
        if status is None:
            return None
        return Outcome(status, last_words(folder, status) if status else "")

    def stop(self, handle: tuple[subprocess.Popen, Path]) -> None:
        """Terminate it; what it has written whole stays."""
        process, _ = handle
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class RayTasks:
    """Runs as tasks of a Ray cluster; the results folder and the data must be on a file system they all see.

    No cluster is started here: Ray asks nobody who he is and listens on every interface, so whoever reaches a port of
    it runs code as this user. Who starts a cluster decides which network that is.

    Parameters
    ----------
    threads : int
        CPUs that a run asks for.

    Raises
    ------
    UserError
        If Ray is not installed, there is no address, or no cluster at it.
    """

    def __init__(self, threads: int):
        address = os.environ.get("RAY_ADDRESS", "")
        if address in ("", "local"):
            raise UserError(
                "--distributed ray needs RAY_ADDRESS=HOST:PORT of a Ray cluster that you run. None is started here: "
                "everybody who reaches a port of it could run code as you"
            )
        try:
            import ray
        except ImportError:
            line = "pip install 'recbole_cocorr[ray]'"
            raise UserError(f"ray is not installed; type: {line}, or leave --distributed out") from None
        self.ray, self.threads = ray, threads
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, include_dashboard=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise UserError(f"there is no Ray cluster to run on: {error}") from None
        self._task = ray.remote(num_cpus=threads, max_retries=0)(_run_to_end)

    def start(self, spec: RunSpec, folder: Path) -> tuple[Any, Path]:
        """Hand the run to the cluster."""
        folder = folder.resolve()
        return self._task.remote(spec, folder, self.threads, os.getcwd()), folder

    def ended(self, handle: tuple[Any, Path]) -> Outcome | None:
        """How the run ended, or None."""
        reference, folder = handle
        ended, _ = self.ray.wait([reference], timeout=0)
        if not ended:
            return None
        try:
            status = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            return Outcome(1, f"Ray lost the run: {str(error).splitlines()[0]}")
        return Outcome(status, last_words(folder, status) if status else "")

    def stop(self, handle: tuple[Any, Path]) -> None:
        """Ask the cluster to end it."""
        self.ray.cancel(handle[0], force=True)


def _run_to_end(spec: RunSpec, folder: Path, threads: int, working_folder: str) -> int:
    with (folder / LOG_FILE).open("a") as log:
        return subprocess.run(
            command(spec, folder, threads),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=_environment(threads),
            cwd=working_folder if os.path.isdir(working_folder) else None,
            check=False,
        ).returncode
