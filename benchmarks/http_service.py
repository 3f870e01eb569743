"""The correction service over HTTP/1.1: requests per second and latency, its server on one core, its client on another.

    python benchmarks/http_service.py [--in_flight 1 8 64] [--seconds 2] [--rounds 3] [--items 10]

"correct" is POST /v1/correct of ten hidden states; "delta" is GET of a delta file with so many new items, and "304" the
same where the client has it (If-None-Match). "empty" answers as many bytes as "correct" and computes nothing, on the
service's own front; so do "uvicorn" and "granian" (RSGI), where they are installed. All take turns in one run. Without
a checkpoint the network has the paper's sizes and fresh weights. "CPU us" is the server's processor time for a request.
"""

import argparse
import asyncio
import multiprocessing
import os
import select
import socket
import sys
import tempfile
import time
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from cloud_service import processor_seconds

from recbole_cocorr.artifact.delta import Delta
from recbole_cocorr.artifact.vocabulary import encode_tokens
from recbole_cocorr.experiments.delay import checkpoint_of_length
from recbole_cocorr.experiments.simulate.processes import ServerProcess
from recbole_cocorr.exporter.delta import write_delta
from recbole_cocorr.service.server.connection import Request, Response
from recbole_cocorr.service.server.correction_model import CorrectionModel, load_correction_model
from recbole_cocorr.service.server.delta_files import load_deltas
from recbole_cocorr.service.server.server import run
from recbole_cocorr.service.server.web import Web
from recbole_cocorr.service.wire import encode_rows

HEADERS = [("Content-Type", "application/octet-stream"), ("Cache-Control", "no-store")]


class Empty:
    """An application that reads a request and answers so many bytes: for the service's own front, and as RSGI."""

    def __init__(self, answer: bytes):
        self._response = Response(HTTPStatus.OK, HEADERS, answer)

    def most_bytes(self, path: str) -> int:
        return 1 << 20

    def serve(self, request: Request) -> Response:
        return self._response

    async def __rsgi__(self, scope: object, protocol: object) -> None:
        await protocol()
        headers = [*HEADERS, ("Content-Length", str(len(self._response.body)))]
        protocol.response_bytes(200, headers, self._response.body)


def asgi(answer: bytes) -> object:
    """The same as ASGI."""
    headers = [*HEADERS, ("Content-Length", str(len(answer)))]
    start = {"status": 200, "headers": [(name.lower().encode(), value.encode()) for name, value in headers]}

    async def application(scope: dict, receive: object, send: object) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": answer})

    return application


async def serve_empty(front: str, port: int, answer: bytes) -> None:
    """Serve the empty application on one of the fronts, for ever."""
    if front == "empty":
        await Web(Empty(answer)).start("127.0.0.1", port)
        await asyncio.Event().wait()
    elif front == "uvicorn":
        from uvicorn import Config, Server

        settings = {"access_log": False, "lifespan": "off", "log_config": None, "http": "httptools"}
        await Server(Config(asgi(answer), port=port, **settings)).serve()
    else:
        from granian.constants import HTTPModes
        from granian.server.embed import Server

        await Server(Empty(answer), port=port, http=HTTPModes.http1, websockets=False, log_enabled=False).serve()


def in_process(front: str, port: int, core: int, answer: bytes) -> None:
    """What a process of an empty application does."""
    os.sched_setaffinity(0, [core])
    run(serve_empty(front, port, answer))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def wait_for(port: int) -> None:
    """Return once somebody listens."""
    end = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 20).close()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def exchange(made: socket.socket, request: bytes, status: bytes) -> int:
    """Bytes of the answer of one request."""
    made.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += made.recv(65536)
    head, *_ = answer.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != status:
        raise SystemExit(f"the server answered {head[:200]!r}")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    size = len(head) + 4 + (int(lengths[0].split(b":")[1]) if lengths and status != b"304" else 0)
    while len(answer) < size:
        answer += made.recv(1 << 20)
    return size


def load(port: int, request: bytes, in_flight: int, seconds: float, status: bytes) -> tuple[float, np.ndarray]:
    """Requests per second, and the milliseconds of each, of so many connections that ask again once answered."""
    poll, clock, found = select.epoll(), time.perf_counter, []
    connections: dict[int, list] = {}
    for _ in range(in_flight):
        made = socket.create_connection(("127.0.0.1", port), 20)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = exchange(made, request, status)  # all of this connection's answers are as long
        poll.register(made, select.EPOLLIN)
        connections[made.fileno()] = [made, size, 0, 0.0]
    began = clock()
    for state in connections.values():
        state[3] = clock()
        state[0].sendall(request)
    while clock() < began + seconds:
        for number, _ in poll.poll():
            state = connections[number]
            made, size, before, since = state
            state[2] = before + len(made.recv(1 << 20))
            if state[2] == before or state[2] > size:
                raise SystemExit("the server closed a connection, or answered more than it was asked")
            if state[2] == size:
                now = clock()
                found.append(now - since)
                state[2], state[3] = 0, now
                made.sendall(request)
    rate = len(found) / (clock() - began)
    for state in connections.values():
        state[0].close()
    return rate, 1000 * np.array(found)


def request_of(what: str, headers: str = "", body: bytes = b"") -> bytes:
    """The bytes of a request."""
    return f"{what} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode() + body


def correct_request(model: CorrectionModel) -> bytes:
    """A request for the correction of ten hidden states."""
    body = encode_rows(np.random.default_rng(0).standard_normal((10, model.width)))
    headers = f"X-Fingerprint: {model.fingerprint}\r\nX-Clicks: 10\r\nContent-Length: {len(body)}\r\n"
    return request_of("POST /v1/correct", headers, body)


def small_delta(folder: Path, items: int, width: int = 64) -> None:
    """A folder with a delta of some new items; the service does not ask which artifact it is of."""
    bytes_, offsets = encode_tokens(["", *(f"new-{i}" for i in range(items))])
    vectors = np.random.default_rng(0).standard_normal((items, width)).astype(np.float32)
    arrays = {"item_vectors": vectors, "token_bytes": bytes_, "token_offsets": offsets}
    folder.mkdir()
    write_delta(folder, Delta(1, "1" * 32, "2" * 32, 3417, "3" * 32, "4" * 32, "fp32", arrays))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--in_flight", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=10, help="new items of the delta")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    spawn, processes, server = multiprocessing.get_context("spawn"), [], None
    with tempfile.TemporaryDirectory() as place:
        file, folder = Path(place) / "model.safetensors", Path(place) / "deltas"
        checkpoint_of_length(arguments.checkpoint, 10, file)
        small_delta(folder, arguments.items)
        model, delta = load_correction_model(file), load_deltas(str(folder))["delta-1.bin"]
        correct = correct_request(model)
        get = "GET /deltas/delta-1.bin"
        asked = {"correct": (correct, b"200"), "delta": (request_of(get), b"200")}
        asked["304"] = request_of(get, f"If-None-Match: {delta.etag}\r\n"), b"304"
        try:
            port = free_port()
            server = ServerProcess(file, None, "--http", f"127.0.0.1:{port}", "--deltas", str(folder))
            for thread in os.listdir(f"/proc/{server.pid}/task"):
                os.sched_setaffinity(int(thread), cores[:1])
            sides = [(name, port, server.pid, *asked[name]) for name in asked]
            for front in ["empty", *(name for name in ("uvicorn", "granian") if find_spec(name))]:
                port = free_port()
                process = spawn.Process(
                    target=in_process, args=(front, port, cores[0], bytes(model.shape.bytes)), daemon=True
                )
                process.start()
                processes.append(process)
                sides.append((front, port, process.pid, *asked["correct"]))
            os.sched_setaffinity(0, cores[1:] or cores)
            for _, port, *_ in sides:
                wait_for(port)
            print(
                f"a request of {len(correct)} bytes, {model.shape.bytes} down; a delta of {len(delta.content)} bytes",
                file=sys.stderr,
            )
            print("what     in flight  requests/s   p50 ms   p99 ms   CPU us")
            rates: dict[tuple[str, int], list[float]] = {}
            for _, port, _, request, status in sides:
                load(port, request, 8, min(0.5, arguments.seconds), status)  # warm
            for count in arguments.in_flight:
                for name, port, pid, request, status in sides * arguments.rounds:
                    used = processor_seconds(pid)
                    rate, times = load(port, request, count, arguments.seconds, status)
                    used = 1e6 * (processor_seconds(pid) - used) / len(times)
                    rates.setdefault((name, count), []).append(rate)
                    p50, p99 = np.quantile(times, [0.5, 0.99])
                    print(f"{name:8} {count:9} {rate:11.0f} {p50:8.2f} {p99:8.2f} {used:8.0f}", flush=True)
            for count in arguments.in_flight:
                empty = np.array(rates["empty", count])
                shares = {name: np.median(np.array(rates[name, count]) / empty) for name, *_ in sides}
                print(f"{count} in flight, of empty: " + ", ".join(f"{n} {100 * v:.0f}%" for n, v in shares.items()))
        finally:
            if server is not None:
                server.kill()
            for process in processes:
                process.kill()


if __name__ == "__main__":
    main()
