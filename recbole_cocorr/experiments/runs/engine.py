"""Carry a plan out: what is finished stays, what is open is run, one bad run stops no other."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

from recbole_cocorr.base.cpus import allowed_cpus
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import exclusive, make_folder, write_versioned
from recbole_cocorr.base.leftovers import is_temporary
from recbole_cocorr.experiments.runs.executors import Executor
from recbole_cocorr.experiments.runs.plan import Plan, RunSpec, Tuning
from recbole_cocorr.experiments.runs.run_files import (
    FORMAT_VERSION,
    PLAN_FILE,
    PLAN_FORMAT,
    RUN_FILE,
    RunRecord,
    read_plan,
    read_run,
    runs_in,
    write_failures,
)
from recbole_cocorr.experiments.runs.worker import DISK_FULL, PROGRESS_FILE, read_progress

POLL_SECONDS = 0.2


def open_folder(folder: Path, plan: Plan) -> None:
    """Make the results folder, or go on in one of the same format.

    The plan in it is that of the benchmark that runs or ran last: :meth:`Engine.run` writes it once it is alone there.

    Raises
    ------
    UserError
        If the folder holds something else, or results of another version.
    """
    file = folder / PLAN_FILE
    if file.is_file():
        read_plan(folder)
    elif folder.is_dir() and any(f.name != ".lock" and not is_temporary(f.name) for f in folder.iterdir()):
        raise UserError(f"{folder} is not empty and no results folder; name a new one with --out")
    make_folder(folder, "results")
    if not file.is_file():
        _write_plan(folder, plan)


def _write_plan(folder: Path, plan: Plan) -> None:
    write_versioned(folder / PLAN_FILE, "plan", PLAN_FORMAT, FORMAT_VERSION, plan.content())


@dataclass
class _Job:
    spec: RunSpec
    handle: Any
    started: float = field(default_factory=time.monotonic)


class Engine:
    """Runs of a plan in a results folder.

    Parameters
    ----------
    plan : Plan
    folder : pathlib.Path
        Made by :func:`open_folder`.
    executor : Executor
    jobs : int
        Runs at once.
    say : callable
        Where lines for people go.
    """

    def __init__(self, plan: Plan, folder: Path, executor: Executor, jobs: int, say: Callable[[str], None] = print):
        self.plan, self.folder, self.executor, self.jobs, self.say = plan, folder, executor, jobs, say
        self.failed: dict[str, str] = {}
        self._checked: set[str] = set()
        self._records: dict[str, RunRecord] = {}
        self._seconds: dict[str, list[float]] = {}

    # -- what is there, and what is open ---------------------------------------------------------

    def run_folder(self, spec: RunSpec) -> Path:
        """Where a run's files lie."""
        return self.folder / "runs" / spec.id

    def record(self, spec: RunSpec) -> RunRecord | None:
        """The finished run, or None."""
        if spec.id not in self._records:
            file = self.run_folder(spec) / RUN_FILE
            if not file.is_file():
                return None
            self._records[spec.id] = read_run(file)
            self._seconds.setdefault(spec.label, []).append(self._records[spec.id].seconds)
        return self._records[spec.id]

    def _done(self, spec: RunSpec) -> bool:
        record = self.record(spec)
        return record is not None and (record.test is not None or not spec.test)

    def chosen(self, tuning: Tuning) -> RunSpec | None:
        """The tuning's best trial; None while its trials run, or if they all failed."""
        trials = tuning.trials()
        if not all(self._done(s) or s.id in self.failed for s in trials):
            return None
        records = {s.id: r for s in trials if (r := self.record(s)) is not None}
        scores, bigger = {}, True
        for key, record in records.items():
            metric = str(record.config["valid_metric"]).lower()
            bigger = bool(record.config.get("valid_metric_bigger", True))
            if metric in record.valid:
                scores[key] = record.valid[metric]
        return tuning.chosen(scores, bigger)

    def open_runs(self) -> list[RunSpec]:
        """Runs that can start now, in the plan's order."""
        runs: list[RunSpec] = []
        for tuning in self.plan.tunings():
            trial = self.chosen(tuning)
            specs = tuning.trials() if trial is None else tuning.finals(trial)
            if trial is not None and trial.id not in self._checked:
                self._check_tested(specs)
                self._checked.add(trial.id)
            runs += [s for s in specs if not self._done(s) and s.id not in self.failed]
        return runs

    def _check_tested(self, finals: list[RunSpec]) -> None:
        """Refuse to read on the test items, for one seed, two choices of one model."""
        ids = {(s.label, s.dataset, s.protocol, s.seed): s.id for s in finals}
        for record, folder in runs_in(self.folder):
            id_ = ids.get((record.label, record.dataset, record.protocol, record.seed))
            if record.test is not None and id_ not in (None, folder.name):
                raise UserError(
                    f"{record.label} on {record.dataset}, seed {record.seed}, was tested as {folder.name}, and by this "
                    f"plan validation chooses {id_}; name a new --out, or move that folder out of {self.folder}/runs/"
                )

    def counts(self) -> tuple[int, int]:
        """Runs finished and runs in all; reading a chosen run on the test items is no run of its own."""
        total = sum(tuning.total() for tuning in self.plan.tunings())
        finished = 0
        for tuning in self.plan.tunings():
            trial = self.chosen(tuning)
            specs = {s.id: s for s in tuning.trials()}
            if trial is not None:
                specs.update({s.id: s for s in tuning.finals(trial)})
            finished += sum(self._done(s) for s in specs.values())
        return finished, total

    def lines(self) -> list[str]:
        """The plan for people: each model, its runs, and what of them is finished."""
        lines = []
        for tuning in self.plan.tunings():
            trial = self.chosen(tuning)
            trials = tuning.trials()
            finished = sum(self.record(s) is not None for s in trials)
            rates = ", ".join(f"{r:g}" for r in tuning.rates)
            options = f" and each of {len(tuning.entry.options)} options" if tuning.entry.options else ""
            line = (
                f"{tuning.dataset}, {self.plan.protocol}: {tuning.entry.label}: seed {self.plan.seeds[0]} with "
                f"learning rate {rates}{options} ({finished} of {len(trials)} finished)"
            )
            others = [str(s) for s in self.plan.seeds[1:]]
            if others:
                best = tuning.choice(trial) if trial is not None else "the best of them on validation"
                line += f"; seeds {', '.join(others)} with {best}"
                if trial is not None:
                    finished = sum(self._done(s) for s in tuning.finals(trial)[1:])
                    line += f" ({finished} of {len(others)} finished)"
            lines.append(line)
        return lines

    # -- running ---------------------------------------------------------------------------------

    def run(self) -> bool:
        """Run everything that is open; True if no run failed.

        Raises
        ------
        UserError
            If the disk is full. Finished runs stay, and unfinished ones go on after their last whole epoch.
        """
        with exclusive(self.folder) as alone:
            if not alone:
                raise UserError(f"another benchmark is running in {self.folder}; wait for it, or name another --out")
            _write_plan(self.folder, self.plan)
            return self._run()

    def _run(self) -> bool:
        running: list[_Job] = []
        finished, total = self.counts()
        live = sys.stderr.isatty()  # in a log, a line a minute
        shape = "{l_bar}{bar}| {n}/{total}{postfix}"
        bar = tqdm(total=total, initial=finished, desc="runs", bar_format=shape, disable=not live)
        shown = 0.0
        try:
            while True:
                busy = {job.spec.id for job in running}
                for spec in self.open_runs():
                    if len(running) >= self.jobs:
                        break
                    if spec.id not in busy:
                        running.append(self._start(spec))
                        busy.add(spec.id)
                if not running:
                    break
                for job in list(running):
                    outcome = self.executor.ended(job.handle)
                    if outcome is None:
                        continue
                    running.remove(job)
                    self._records.pop(job.spec.id, None)
                    if outcome.status == DISK_FULL:
                        raise UserError(outcome.error)
                    if outcome.status or not self._done(job.spec):
                        self.failed[job.spec.id] = outcome.error or "it ended without a result"
                        bar.write(f"failed: {job.spec.id}: {self.failed[job.spec.id]}")
                        write_failures(self.folder, self.failed)
                if time.monotonic() - shown >= (1 if live else 60):
                    shown = time.monotonic()
                    bar.n = self.counts()[0]
                    if live:
                        bar.set_postfix_str(self._status(running))
                    else:
                        print(f"runs: {bar.n}/{total}, {self._status(running)}", file=sys.stderr, flush=True)
                time.sleep(POLL_SECONDS)
            bar.n = self.counts()[0]
            bar.set_postfix_str("")
        finally:
            for job in running:
                self.executor.stop(job.handle)
            bar.close()
        write_failures(self.folder, self.failed)
        return not self.failed

    def _start(self, spec: RunSpec) -> _Job:
        folder = self.run_folder(spec)
        folder.mkdir(parents=True, exist_ok=True)
        return _Job(spec, self.executor.start(spec, folder))

    def _status(self, running: list[_Job]) -> str:
        """Time left, and what the running runs are at."""
        texts = []
        left = self.seconds_left(running)
        if left:
            texts.append(f"about {_duration(left)} left")
        for job in running:
            text = f"{job.spec.label} on {job.spec.dataset}, seed {job.spec.seed}, lr {job.spec.learning_rate:g}"
            last = self._last_epoch(job.spec)
            if last is not None:
                text += f": epoch {last['epoch'] + 1}"
                text += "".join(f", {last['metric']} {v:.4f}" for v in [last["score"]] if v is not None)
            texts.append(text)
        return "; ".join(texts)

    def _last_epoch(self, spec: RunSpec) -> dict[str, Any] | None:
        try:
            curve, metric = read_progress(self.run_folder(spec) / PROGRESS_FILE)
        except UserError:  # not there yet; the run itself refuses one that is damaged
            return None
        if not curve:
            return None
        last = curve[-1]
        return {"epoch": last["epoch"], "metric": metric, "score": (last["valid"] or {}).get(metric)}

    def seconds_left(self, running: list[_Job]) -> float | None:
        """An estimate from the runs that are finished, those of the same model first; None before the first."""
        every = [s for of_label in self._seconds.values() for s in of_label]
        if not every:
            return None
        usual = median(every)
        now = time.monotonic()
        spent = {job.spec.id: now - job.started for job in running}
        total = 0.0
        for tuning in self.plan.tunings():
            each = median(self._seconds.get(tuning.entry.label, [usual]))
            trial = self.chosen(tuning)
            specs = {s.id: s for s in tuning.trials()}
            if trial is not None:
                specs.update({s.id: s for s in tuning.finals(trial)})
            open_ = [s for s in specs.values() if self.record(s) is None and s.id not in self.failed]
            total += sum(max(0.0, each - spent.get(s.id, 0.0)) for s in open_)
            total += (tuning.total() - len(specs)) * each
        return total / self.jobs


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{max(1, minutes)} min"


def default_threads(jobs: int) -> int:
    """Threads of a run where ``jobs`` share the processors that this process may use."""
    return max(1, allowed_cpus() // jobs)
