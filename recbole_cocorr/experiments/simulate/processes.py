"""What runs during a simulation: the server, the devices, and a client that floods the server."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.service.server.correction_model import CorrectionModel
from recbole_cocorr.service.server.score_model import ScoreModel
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import CORRECT, SCORE


class ServerProcess:
    """``serve`` as a process, on a port that it keeps when it is started again; with further flags."""

    def __init__(self, checkpoint: Path | None, corrector: Path | None = None, *flags: str):
        self._served = ["--checkpoint", str(checkpoint)] if checkpoint is not None else []
        self._served += ["--corrector", str(corrector)] if corrector is not None else []
        self._served += flags
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
        """The id of the process."""
        return self._running.pid

    def send(self, number: int) -> None:
        """Send a signal."""
        self._running.send_signal(number)

    def kill(self) -> None:
        """End it without a word."""
        self._running.kill()
        self._running.wait()


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
                    call.future(self._request, timeout=5).add_done_callback(lambda reply: self._count(reply, room))

    def _count(self, reply: grpc.Future, room: threading.Semaphore) -> None:
        if reply.code() is grpc.StatusCode.OK:
            self.answered += 1
        else:
            self.refused += 1
        room.release()

    def stop(self) -> None:
        """End."""
        self._over.set()
        self.join(20)
