"""Many devices against a real server, with faults: does any ranking go wrong, get lost, or wait too long?"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import torch

from recbole_cocorr.artifact.evidence import fuse
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.arrival import model_and_rows
from recbole_cocorr.experiments.simulate.device import RECORD, STATUSES, USED
from recbole_cocorr.experiments.simulate.faults import LIES, Front, LyingServer
from recbole_cocorr.models.catalogue import takes_corrections
from recbole_cocorr.models.scoring import find_scorer
from recbole_cocorr.service.server.correction_model import CorrectionModel, load_correction_model
from recbole_cocorr.service.server.score_model import ScoreModel, load_score_model
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import CORRECT, SCORE

FAULTS = ("none", "killed and restarted", "frozen", "cut mid-message", "a flood from one client", *LIES)
_DTYPE = np.dtype(
    [
        ("time", "<f8"),
        ("status", "u1"),
        ("used", "u1"),
        ("wrong", "u1"),
        ("lost", "u1"),
        ("waited", "<f4"),
        ("round_trip", "<f4"),
    ]
)
# A ranking has kept its deadline if it waited no longer than that and this, ms: a thread's way back to the processor.
SLACK = 1.0
# The time after a fault, as long as it.
RECOVERING = "after each fault"


class ServerProcess:
    """``serve`` as a process, on a port that it keeps when it is started again."""

    def __init__(self, checkpoint: Path | None, corrector: Path | None = None):
        self._served = ["--checkpoint", str(checkpoint)] if checkpoint is not None else []
        self._served += ["--corrector", str(corrector)] if corrector is not None else []
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it; returns once it listens."""
        command = [sys.executable, "-m", "recbole_cocorr", "serve", *self._served]
        command += ["--listen", f"127.0.0.1:{self.port}", "--log_level", "error"]
        self._running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self._running.stdout.readline() if self._running.stdout else ""
        if not line.startswith("serving on port "):
            raise UserError("the server did not start; its error stands above")
        self.port = int(line.split()[-1])

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._running.pid

    def send(self, number: int) -> None:
        """Send a signal."""
        self._running.send_signal(number)

    def kill(self) -> None:
        """End it without a word."""
        self._running.kill()
        self._running.wait()


@torch.no_grad()
def prepare(
    checkpoint: Path, data_path: str | None, users: int, folder: Path, corrector: Path | None = None
) -> tuple[CorrectionModel | None, ScoreModel | None]:
    """Write what the devices read: the artifact, users with candidates, and the scores of the single process.

    Returns
    -------
    CorrectionModel or None, and ScoreModel or None
        What a server of these will serve.
    """
    from recbole_cocorr.exporter.export import export

    recommender, loader = model_and_rows(checkpoint, data_path, needs_correction=corrector is None)
    model, names = recommender.model, np.array(recommender.vocabulary.items)
    corrects = takes_corrections(model)
    # The device is to ask for scores, so it has no table of its own.
    manifest = export(checkpoint, folder / "artifact", corrector=corrector, neighbours=0)
    scorer = None if corrector is None else load_score_model(corrector)
    chosen: list[dict[str, list[str]]] = []
    scores: dict[str, list[np.ndarray]] = {}
    for batch in loader.batches():
        rows = batch.interaction[: users - len(chosen)]
        seq, length = rows[model.ITEM_SEQ], rows[model.ITEM_SEQ_LEN]
        candidates = batch.candidates[: len(seq)]
        # A user who has had nearly everything has fewer candidates; those rows are left out, and all have one shape.
        full = (candidates > 0).all(dim=1)
        rows, seq, length, candidates = rows[full], seq[full], length[full], candidates[full]
        if not len(seq):
            continue
        found = {0: own_scores(model, rows, candidates, corrected=False)}
        if corrects:
            found[USED["correction"]] = own_scores(model, rows, candidates, corrected=True)
        histories = [row[:size] for row, size in zip(seq.numpy(), length.tolist(), strict=True)]
        if scorer is not None:
            # As they come over the wire.
            given = scorer.corrector.scores(histories, candidates.numpy()).astype(np.float16).astype(np.float32)
            weights = {name: manifest.trust[name] for name in ("base", "per_log_click", "scale")}
            for used in list(found):
                found[used | USED["scores"]] = fuse(found[used], given, length.numpy(), **weights)
        for used, values in found.items():
            scores.setdefault(str(used), []).append(values)
        for history, some in zip(histories, candidates.numpy(), strict=True):
            chosen.append({"history": names[history].tolist(), "candidates": names[some].tolist()})
        if len(chosen) >= users:
            break
    (folder / "users.json").write_text(json.dumps(chosen))
    np.savez(folder / "expected.npz", **{name: np.concatenate(parts) for name, parts in scores.items()})
    return load_correction_model(checkpoint) if corrects else None, scorer


def own_scores(model: torch.nn.Module, rows: Any, candidates: torch.Tensor, corrected: bool) -> np.ndarray:
    """The single process's scores [B, C], with the model's correction or without it."""
    if not takes_corrections(model):
        scorer = find_scorer(model, rows)
        scorer.prepare()
        return scorer.candidates(rows, candidates).numpy()
    hidden, length = model.hidden_states(rows[model.ITEM_SEQ]), rows[model.ITEM_SEQ_LEN]
    vectors = model.user_vectors(hidden, length, model.correction(hidden, length) if corrected else None)
    return torch.einsum("bcd,bd->bc", model.item_vectors()[candidates], vectors).numpy()


@contextlib.contextmanager
def devices(folder: Path, count: int, port: int, deadline_ms: float) -> Iterator[Callable[[], None]]:
    """Devices as processes, ended with the block; what is given raises if one of them has ended by itself."""
    module = "recbole_cocorr.experiments.simulate.device"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(folder), str(number), str(count), str(port), str(deadline_ms)],
            env=environment,
        )
        for number in range(count)
    ]

    def check() -> None:
        if any(device.poll() is not None for device in running):
            raise UserError("a device ended before its time; its error stands above")

    try:
        yield check
        check()
    finally:
        for device in running:
            device.terminate()
        for device in running:
            device.wait()


def records_of(folder: Path) -> np.ndarray:
    """All records that the devices have written by now."""
    parts = []
    for file in sorted(folder.glob("device-*.records")):
        raw = file.read_bytes()
        parts.append(np.frombuffer(raw[: len(raw) - len(raw) % RECORD.size], _DTYPE))
    return np.concatenate(parts) if parts else np.empty(0, _DTYPE)


class Flood(threading.Thread):
    """One client that asks as fast as it can.

    Attributes
    ----------
    answered, refused : int
        Its requests so far.
    """

    def __init__(self, port: int, model: CorrectionModel | None, scorer: ScoreModel | None = None):
        super().__init__(daemon=True)
        self.answered = self.refused = 0
        self._port, self._over = port, threading.Event()
        self._method, request = CORRECT, None
        if model is not None:
            rows = np.ones((model.most_rows, model.width), "<f4")
            request = pb.CorrectRequest(
                fingerprint=bytes.fromhex(model.fingerprint), clicks=1, hidden_states=rows.tobytes()
            )
        else:
            self._method = SCORE
            some = (1 + np.arange(100) % (scorer.items - 1)).astype("<i4").tobytes()
            request = pb.ScoreRequest(
                corrector=bytes.fromhex(scorer.fingerprint), clicks=1, clicked=some[:40], candidates=some
            )
        self._request = request.SerializeToString()

    def run(self) -> None:
        """Ask until stopped, 6,000 requests in flight on one connection."""
        room = threading.Semaphore(6000)
        with grpc.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            call = channel.unary_unary(self._method)
            while not self._over.is_set():
                if room.acquire(timeout=0.1):
                    call.future(self._request, timeout=5).add_done_callback(lambda done: self._count(done, room))

    def _count(self, done: grpc.Future, room: threading.Semaphore) -> None:
        if done.code() is grpc.StatusCode.OK:
            self.answered += 1
        else:
            self.refused += 1
        room.release()

    def stop(self) -> None:
        """End."""
        self._over.set()
        self.join(20)


def _phase(
    fault: str,
    seconds: float,
    server: ServerProcess,
    front: Front,
    liar: LyingServer,
    served: tuple[CorrectionModel | None, ScoreModel | None],
) -> dict[str, float]:
    """One fault, for some seconds; afterwards everything is as before. Returns what a flood got, per second."""
    flooded: dict[str, float] = {}

    def wait(share: float = 1.0) -> None:
        time.sleep(share * seconds)

    undo: Callable[[], None] = lambda: None  # noqa: E731
    if fault == "killed and restarted":
        server.kill()
        wait(0.3)
        server.start()
        wait(0.7)
    elif fault == "frozen":
        server.send(signal.SIGSTOP)
        wait()
        server.send(signal.SIGCONT)
    elif fault == "cut mid-message":
        front.put(server.port, cut_after=20_000)
        wait()
        undo = lambda: front.put(server.port)  # noqa: E731
    elif fault == "a flood from one client":
        flood = Flood(server.port, *served)
        flood.start()
        wait()
        flooded = {"answered_per_s": flood.answered / seconds, "refused_per_s": flood.refused / seconds}
        flood.stop()
    elif fault in LIES:
        liar.lie = fault
        front.put(liar.port)
        wait()
        undo = lambda: front.put(server.port)  # noqa: E731
    else:
        wait()
    undo()
    return flooded


def simulate(
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
) -> dict[str, Any]:
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
    seconds : float
        Of a fault.
    users : int
        Test users that are replayed.
    faults : tuple of str
    corrector : Path, optional
        A folder that ``fit-corrector`` wrote for the checkpoint: devices ask for its scores too.
    say : callable
        Told of each fault as it is over.

    Returns
    -------
    dict
        ``rows``: per fault the lists, their statuses, how many used the correction and the scores (``with_correction``,
        ``with_scores``), ``wrong``, ``lost``, the share that kept the deadline, the
        longest wait, and p50 and p99 of the round trips, ms. The last row is of the time after each fault. ``total``:
        the same of all. ``flood``: requests of the flooding client that were answered and refused, per second.

    Raises
    ------
    UserError
        If the checkpoint, its data, the server or a device is not usable.
    """
    spans: list[tuple[str, float, float]] = []
    flooded: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        served = prepare(checkpoint, data_path, users, folder, corrector)
        model = served[0]
        server = ServerProcess(None if model is None else checkpoint, corrector)
        front, liar = Front(), LyingServer(None if model is None else model.shape)
        try:
            front.put(server.port)
            with devices(folder, count, front.port, deadline_ms) as check:
                while not len(records_of(folder)):
                    check()
                    time.sleep(0.1)
                while not spans or len(records_of(folder)) < lists:
                    check()
                    for fault in faults:
                        began = time.monotonic()
                        flooded.update(_phase(fault, seconds, server, front, liar, served))
                        over = time.monotonic()
                        time.sleep(seconds)
                        spans += [(fault, began, over), (RECOVERING, over, time.monotonic())]
                        say(f"{fault}: {len(records_of(folder))} lists by now")
            records = records_of(folder)
        finally:
            front.close()
            liar.close()
            server.kill()
    rows = []
    for fault in (*faults, RECOVERING):
        inside = np.zeros(len(records), bool)
        for name, began, over in spans:
            if name == fault:
                inside |= (records["time"] >= began) & (records["time"] < over)
        rows.append(_summary(fault, records[inside], deadline_ms))
    total = _summary("all", records, deadline_ms)
    return {"rows": rows, "total": total, "flood": flooded, "deadline_ms": deadline_ms, "slack_ms": SLACK}


def _summary(name: str, records: np.ndarray, deadline_ms: float) -> dict[str, Any]:
    trips = records["round_trip"][records["status"] == 0]
    return {
        "fault": name,
        "lists": len(records),
        **{status: int(((records["status"] == i) & (records["lost"] == 0)).sum()) for i, status in enumerate(STATUSES)},
        **{f"with_{name}": int(((records["used"] & bit) > 0).sum()) for name, bit in USED.items()},
        "wrong": int(records["wrong"].sum()),
        "lost": int(records["lost"].sum()),
        "kept": float((records["waited"] <= deadline_ms + SLACK).mean()) if len(records) else None,
        "longest_ms": float(records["waited"].max()) if len(records) else None,
        "p50_ms": float(np.quantile(trips, 0.5)) if len(trips) else None,
        "p99_ms": float(np.quantile(trips, 0.99)) if len(trips) else None,
    }


def table_text(found: dict[str, Any]) -> str:
    """The rows as a table for people."""
    names = ("lists", *STATUSES, "with_scores", "wrong", "lost")
    lines = [
        "fault".ljust(25) + "".join(f"{n.removeprefix('with_'):>10}" for n in names) + "  deadline kept  p50 ms  p99 ms"
    ]
    for r in (*found["rows"], found["total"]):
        kept = "-" if r["kept"] is None else f"{r['kept']:.3%}"
        p50, p99 = ("-" if r[k] is None else f"{r[k]:.2f}" for k in ("p50_ms", "p99_ms"))
        lines.append(r["fault"].ljust(25) + "".join(f"{r[n]:10}" for n in names) + f"{kept:>15}{p50:>8}{p99:>8}")
    if found.get("flood"):
        lines.append(
            "the flood: {answered_per_s:.0f} requests/s answered, {refused_per_s:.0f} refused".format(**found["flood"])
        )
    return "\n".join(lines)
