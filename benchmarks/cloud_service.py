"""Throughput, latency and memory of the correction service: the server on one core, its client on another.

    python benchmarks/cloud_service.py [--checkpoint FILE] [--in_flight 1 8 64] [--seconds 10] [--memory 100000]

Without a checkpoint the network has the paper's sizes and fresh weights: the times are the same. "empty" is a gRPC
method that computes nothing and answers as many bytes: what is left to gRPC whatever the service does. The two take
turns, and the last lines are the median ratios of neighbours. "CPU us" is the server's processor time for a request,
which a busy machine changes less than the rate.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import grpc
import numpy as np

from recbole_cocorr.experiments.delay import checkpoint_of_length
from recbole_cocorr.experiments.simulate.processes import ServerProcess
from recbole_cocorr.service.server.correction_model import load_correction_model
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import CORRECT, encode_rows

EMPTY = "/empty/Empty"


def serve_empty(port: "multiprocessing.Queue[int]", core: int, answer: bytes) -> None:
    """A server whose one method answers at once."""

    async def method(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return answer

    async def run() -> None:
        server = grpc.aio.server()
        methods = {"Empty": grpc.unary_unary_rpc_method_handler(method)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("empty", methods),))
        listening = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        port.put(listening)
        await server.wait_for_termination()

    os.sched_setaffinity(0, [core])
    asyncio.run(run())


async def load(
    port: int, request: bytes, in_flight: int, seconds: float, requests: int = 0, method: str = CORRECT
) -> np.ndarray:
    """Milliseconds of every request of so many callers, each asking again as soon as it is answered."""
    found: list[float] = []
    end = time.monotonic() + seconds if seconds else float("inf")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(method)

        async def caller() -> None:
            while time.monotonic() < end and (not requests or len(found) < requests):
                began = time.monotonic()
                await call(request, timeout=60)
                found.append(1000 * (time.monotonic() - began))

        await call(request, timeout=60)
        await asyncio.gather(*(caller() for _ in range(in_flight)))
    return np.array(found)


def processor_seconds(pid: int) -> float:
    """Processor time of a process since its start, its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB that a process holds in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--in_flight", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=100_000, help="requests over which memory is watched; 0: none")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        checkpoint_of_length(arguments.checkpoint, 10, file)
        model = load_correction_model(file)
        rows = np.random.default_rng(0).standard_normal((10, model.width))
        request = pb.CorrectRequest(
            fingerprint=bytes.fromhex(model.fingerprint), clicks=10, hidden_states=encode_rows(rows)
        ).SerializeToString()
        answer = bytes(
            4 * model.shape.heads * model.shape.mini_batch * (model.shape.mini_batch + model.shape.head_width)
        )
        spawn = multiprocessing.get_context("spawn")
        told = spawn.Queue()
        empty = spawn.Process(target=serve_empty, args=(told, cores[0], answer), daemon=True)
        empty.start()
        empty_port = told.get()
        server = ServerProcess(file)
        try:
            for thread in os.listdir(f"/proc/{server.pid}/task"):
                os.sched_setaffinity(int(thread), cores[:1])
            os.sched_setaffinity(0, cores[1:] or cores)
            print(f"request {len(request)} bytes, {model.width=}, one core for the server", file=sys.stderr)
            print("method   in flight  requests/s   p50 ms   p99 ms   CPU us")
            sides = (("Correct", server.port, CORRECT, server.pid), ("empty", empty_port, EMPTY, empty.pid))
            rates: dict[tuple[str, int], list[float]] = {}
            for _, port, method, _ in sides:
                asyncio.run(load(port, request, 8, min(1.0, arguments.seconds), method=method))  # warm
            for count in arguments.in_flight:
                for name, port, method, pid in sides * arguments.rounds:
                    began, used = time.monotonic(), processor_seconds(pid)
                    found = asyncio.run(load(port, request, count, arguments.seconds, method=method))
                    rate = len(found) / (time.monotonic() - began)
                    used = 1e6 * (processor_seconds(pid) - used) / len(found)
                    rates.setdefault((name, count), []).append(rate)
                    p50, p99 = np.quantile(found, [0.5, 0.99])
                    print(f"{name:7} {count:10} {rate:11.0f} {p50:8.2f} {p99:8.2f} {used:8.0f}", flush=True)
            for count in arguments.in_flight:
                pairs = zip(rates["Correct", count], rates["empty", count], strict=True)
                print(
                    f"{count} in flight: {100 * np.median([a / b for a, b in pairs]):.0f}% of the empty method's rate"
                )
            if arguments.memory:
                before = resident(server.pid)
                asyncio.run(load(server.port, request, 16, 0, arguments.memory))
                after = resident(server.pid)
                print(f"memory: {before:.1f} MiB, {after:.1f} MiB after {arguments.memory} more requests")
        finally:
            server.kill()
            empty.kill()


if __name__ == "__main__":
    main()
