"""A results folder: its runs, and what other commands left beside them."""

from dataclasses import dataclass, fields
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.results.base import Result
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
        return not tested and all(getattr(self, name).is_empty for name in RESULTS)


# By the name of the attribute.
RESULTS: dict[str, type[Result]] = {
    field.name: field.type
    for field in fields(ResultsFolder)
    if isinstance(field.type, type) and issubclass(field.type, Result)
}


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
        (folder / kind.FILE).is_file() for kind in RESULTS.values() if not kind.OF_RUNS
    )
    results = ResultsFolder(
        path=folder,
        records=[] if without_runs else read_results(folder),
        failures=read_failures(folder),
        **{name: kind.load_from(folder) for name, kind in RESULTS.items()},
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
