"""Many devices against a real server, with faults: does any ranking go wrong, get lost, or wait too long?"""

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_cocorr.experiments.results.simulation import Simulation
from recbole_cocorr.experiments.runs.environment import origin
from recbole_cocorr.experiments.simulate.expected import prepare
from recbole_cocorr.experiments.simulate.faults import LIES, Front, LyingServer
from recbole_cocorr.experiments.simulate.processes import Flood, ServerProcess, devices
from recbole_cocorr.experiments.simulate.records import SLACK, records_of, summary
from recbole_cocorr.service.server.correction_model import CorrectionModel
from recbole_cocorr.service.server.score_model import ScoreModel
from recbole_cocorr.training.checkpoint import load_checkpoint

FAULTS = ("none", "killed and restarted", "frozen", "cut mid-message", "a flood from one client", *LIES)
# The time after a fault, as long as it.
RECOVERING = "after each fault"
# The name of a fault or of RECOVERING, its start and its end.
Span = tuple[str, float, float]


@dataclass
class Cloud:
    """The server that is served to the devices, and all that can go wrong with it.

    Attributes
    ----------
    server : ServerProcess
    front : Front
        The address that the devices know.
    liar : LyingServer
    model : CorrectionModel or None
    scorer : ScoreModel or None
    """

    server: ServerProcess
    front: Front
    liar: LyingServer
    model: CorrectionModel | None
    scorer: ScoreModel | None

    def suffer(self, fault: str, seconds: float) -> dict[str, float]:
        """One fault, for some seconds; afterwards everything is as before. Returns what a flood got, per second."""
        if fault == "killed and restarted":
            self.server.kill()
            time.sleep(0.3 * seconds)
            self.server.start()
            time.sleep(0.7 * seconds)
        elif fault == "frozen":
            self.server.send(signal.SIGSTOP)
            time.sleep(seconds)
            self.server.send(signal.SIGCONT)
        elif fault == "a flood from one client":
            return self._flooded(seconds)
        elif fault == "cut mid-message":
            self.front.put(self.server.port, cut_after=20_000)
            time.sleep(seconds)
            self.front.put(self.server.port)
        elif fault in LIES:
            self.liar.lie = fault
            self.front.put(self.liar.port)
            time.sleep(seconds)
            self.front.put(self.server.port)
        else:
            time.sleep(seconds)
        return {}

    def _flooded(self, seconds: float) -> dict[str, float]:
        flood = Flood(self.server.port, self.model, self.scorer)
        flood.start()
        time.sleep(seconds)
        rates = {"answered_per_s": flood.answered / seconds, "refused_per_s": flood.refused / seconds}
        flood.stop()
        return rates


@contextmanager
def cloud_of(
    checkpoint: Path, corrector: Path | None, model: CorrectionModel | None, scorer: ScoreModel | None
) -> Iterator[Cloud]:
    """A server behind a front, ended with the block."""
    server = ServerProcess(None if model is None else checkpoint, corrector)
    with closing(Front()) as front, closing(LyingServer(None if model is None else model.shape)) as liar:
        try:
            front.put(server.port)
            yield Cloud(server, front, liar, model, scorer)
        finally:
            server.kill()


def measure(
    checkpoint: Path,
    data_path: str | None,
    lists: int,
    count: int,
    deadline_ms: float,
    seconds: float,
    users: int,
    faults: tuple[str, ...] = FAULTS,
    corrector: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Simulation:
    """Run all faults, again and again until the devices have ranked ``lists`` lists.

    A list is wrong if it lacks a candidate, is out of order, or a score differs from the single process's: with the
    correction, the corrector's scores or both where the ranking says that it used them, without otherwise.

    Parameters
    ----------
    checkpoint : Path
        A CoCorrRec with its correction network, or with ``corrector`` any model that ``export`` takes; its data set is
        at hand.
    data_path : str, optional
    lists : int
    count : int
        Devices, each a process.
    deadline_ms : float
        The deadline of a ranking.
    seconds : float
        The length of a fault.
    users : int
        Test users that are replayed, in turn.
    faults : tuple of str
    corrector : Path, optional
        A folder that ``fit-corrector`` wrote for the checkpoint: devices ask for its scores too.
    say : callable
        Called with a sentence after each fault.

    Raises
    ------
    UserError
        If the checkpoint, its data, the server or a device is not usable.
    """
    spans: list[Span] = []
    flood: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        model, scorer = prepare(checkpoint, data_path, users, folder, corrector)
        with (
            cloud_of(checkpoint, corrector, model, scorer) as cloud,
            devices(folder, count, cloud.front.port, deadline_ms) as check,
        ):
            while not len(records_of(folder)):
                check()
                time.sleep(0.1)
            while not spans or len(records_of(folder)) < lists:
                check()
                for fault in faults:
                    start = time.monotonic()
                    flood.update(cloud.suffer(fault, seconds))
                    end = time.monotonic()
                    time.sleep(seconds)
                    spans += [(fault, start, end), (RECOVERING, end, time.monotonic())]
                    say(f"{fault}: {len(records_of(folder))} lists by now")
        records = records_of(folder)
    rows = [summary(fault, _within(records, spans, fault), deadline_ms) for fault in (*faults, RECOVERING)]
    total = summary("all", records, deadline_ms)
    return Simulation(rows, total, flood, deadline_ms, SLACK, **origin(load_checkpoint(checkpoint).config))


def _within(records: np.ndarray, spans: list[Span], fault: str) -> np.ndarray:
    """The records of the times of a fault."""
    inside = np.zeros(len(records), bool)
    for name, start, end in spans:
        if name == fault:
            inside |= (records["time"] >= start) & (records["time"] < end)
    return records[inside]
