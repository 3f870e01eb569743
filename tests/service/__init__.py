"""Helpers: a server in a thread, a server as a process, and requests."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import grpc
import numpy as np

from recbole_cocorr.service.client.pending import Pending
from recbole_cocorr.service.server.server import Server
from recbole_cocorr.service.server.settings import ServeSettings
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import CORRECT, SERVICE
from recbole_cocorr.training.checkpoint import Checkpoint, plain_config, save_checkpoint
from recbole_cocorr.training.recommend import Recommender
from tests.conftest import CHECKOUT

TOKEN = "a-token-of-sixteen-or-more"


def save(recommender: Recommender, path: Path) -> Path:
    """A checkpoint file of a model."""
    weights = {n: t.detach().clone() for n, t in recommender.model.state_dict().items()}
    config = plain_config(recommender.config)
    save_checkpoint(path, Checkpoint("model", config, recommender.vocabulary.items, weights, 1))
    return path


@contextmanager
def serving(settings: ServeSettings, prepare=None) -> Iterator[Server]:
    """A server in a thread of this process, on a free port.

    ``prepare`` is given the server before it listens.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = Server(replace(settings, listen=settings.listen or "127.0.0.1:0"))
    if prepare:
        prepare(server)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(30)
        server.loop = loop
        yield server
    finally:
        if server.port:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def process(checkpoint: Path, *flags: str, port: int = 0) -> tuple[subprocess.Popen, int]:
    """``serve`` as a process of its own; returns it and its port once it listens."""
    command = [sys.executable, "-m", "recbole_cocorr", "serve", "--checkpoint", str(checkpoint)]
    command += ["--listen", f"127.0.0.1:{port}", "--log_level", "error", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    line = running.stdout.readline()
    if not line.startswith("serving on port "):
        running.kill()
        raise AssertionError(f"the server did not start: {line!r}")
    return running, int(line.split()[-1])


def request(model: str, rows: np.ndarray, count: int = 1, **changed) -> bytes:
    """A request's bytes, with some of its fields changed."""
    parts = {"fingerprint": bytes.fromhex(model), "clicks": count, "hidden_states": rows.tobytes()}
    return pb.CorrectRequest(**{**parts, **changed}).SerializeToString()


def ask(channel: grpc.Channel, raw: bytes, timeout: float = 20, metadata=(), method: str = CORRECT):
    """The status code and, if it is OK, the bytes that a call is answered with."""
    try:
        return grpc.StatusCode.OK, channel.unary_unary(method)(raw, timeout=timeout, metadata=metadata)
    except grpc.RpcError as error:
        return error.code(), error.details()


@contextmanager
def answering(name: str, answer) -> Iterator[str]:
    """A server that answers one RPC as told, and knows no other; its address."""
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {name: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


class Watched(Pending):
    """A request that puts its number into a queue when somebody begins to wait for it."""

    def __init__(self, waiting: SimpleQueue, number: int, *arguments):
        super().__init__(*arguments)
        self._waiting, self._number = waiting, number

    def answer(self, wait: float):
        if wait > 0:
            self._waiting.put(self._number)
        return super().answer(wait)


@contextmanager
def held(monkeypatch, model: type) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold a model's passes until the second event is set; the first says that one waits there."""
    begun, open_ = threading.Event(), threading.Event()
    plain = model.correct

    def correct(self, asked):
        begun.set()
        assert open_.wait(20)
        return plain(self, asked)

    monkeypatch.setattr(model, "correct", correct)
    yield begun, open_
    open_.set()
