"""A results folder: its runs, and what other commands left beside them."""

from dataclasses import dataclass
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.results.corrections import Ablation, Corrections
from recbole_cocorr.experiments.results.cost import Cost
from recbole_cocorr.experiments.results.delay import Delay
from recbole_cocorr.experiments.results.device_quality import DeviceQuality
from recbole_cocorr.experiments.results.device_times import DeviceTimes
from recbole_cocorr.experiments.results.privacy import Privacy
from recbole_cocorr.experiments.results.requests import Requests
from recbole_cocorr.experiments.results.simulation import Simulation
from recbole_cocorr.experiments.results.sweep import SweepTimes
from recbole_cocorr.experiments.runs.run_files import PLAN_FILE, RunRecord, read_failures, read_results
from recbole_cocorr.report.commands import benchmark_command


@dataclass(frozen=True)
class ResultsFolder:
    """All that a report shows. A result whose file is missing is empty.

    Attributes
    ----------
    path : pathlib.Path
    records : list of RunRecord
    cost : Cost
    sweep : SweepTimes
    ablation : Ablation
    corrections : Corrections
    device : DeviceTimes
    device_quality : DeviceQuality
    requests : Requests
    delay : Delay
    privacy : Privacy
    simulation : Simulation
    failures : dict of str to str
        Errors by run.
    """

    path: Path
    records: list[RunRecord]
    cost: Cost
    sweep: SweepTimes
    ablation: Ablation
    corrections: Corrections
    device: DeviceTimes
    device_quality: DeviceQuality
    requests: Requests
    delay: Delay
    privacy: Privacy
    simulation: Simulation
    failures: dict[str, str]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to report on."""
        tested = any(record.test is not None for record in self.records)
        others = (self.cost, self.sweep, self.ablation, self.corrections, self.device_quality, self.requests)
        others += (self.delay, self.simulation)
        others += tuple(part for part in (self.privacy.uploads, self.privacy.scores) if part)
        return not (tested or any(result.rows for result in others) or self.device.models)


def read_folder(folder: str | Path) -> ResultsFolder:
    """Read a results folder, or one without runs that holds other results.

    Raises
    ------
    UserError
        If there is nothing to report on, or a file cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"the results folder {folder} does not exist; `{benchmark_command(folder)}` makes one")
    without_runs = not (folder / PLAN_FILE).is_file() and any(
        (folder / r.FILE).is_file() for r in (Cost, DeviceTimes, DeviceQuality, Requests, Delay, Privacy, Simulation)
    )
    results = ResultsFolder(
        path=folder,
        records=[] if without_runs else read_results(folder),
        cost=Cost.load_from(folder),
        sweep=SweepTimes.load_from(folder),
        ablation=Ablation.load_from(folder),
        corrections=Corrections.load_from(folder),
        device=DeviceTimes.load_from(folder),
        device_quality=DeviceQuality.load_from(folder),
        requests=Requests.load_from(folder),
        delay=Delay.load_from(folder),
        privacy=Privacy.load_from(folder),
        simulation=Simulation.load_from(folder),
        failures=read_failures(folder),
    )
    if not results.is_empty:
        return results
    if without_runs:
        raise UserError(f"the results in {folder} are empty; measure again")
    count = len(results.records)
    if not count:
        failed = f" ({len(results.failures)} failed, see failures.json)" if results.failures else ""
        raise UserError(
            f"{folder} has no finished run yet{failed}; start its `benchmark` again, it goes on where it stopped"
        )
    raise UserError(
        f"{folder} has {count} finished {'run' if count == 1 else 'runs'}, but no run was tested: they served to "
        "choose a learning rate; start its `benchmark` again, it goes on where it stopped"
    )
