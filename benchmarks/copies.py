"""Copies of the correction service behind one address (`share_port`): how many times as many requests as one copy.

    python benchmarks/copies.py [--copies 2] [--in_flight 32] [--seconds 3] [--rounds 5]

Each copy has a core, which it shares with a client of its own. So one copy and its client have one core, and two copies
and their clients two. "shared": the kernel gives a client's connections to any copy. "apart": each client asks the copy
on its core, at a port of its own. "loops": a Python loop on each core, which is what the machine itself gains from its
further cores. All take turns. `POST /v1/correct` over HTTP/1.1; without a checkpoint the network has the paper's sizes.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from http_service import correct_request, free_port, load, wait_for

from recbole_cocorr.base.arguments import count
from recbole_cocorr.experiments.delay import checkpoint_of_length
from recbole_cocorr.experiments.simulate.processes import ServerProcess
from recbole_cocorr.service.server.correction_model import load_correction_model


def start_copies(file: Path, port: int, cores: list[int]) -> list[ServerProcess]:
    """A copy on each of the cores, all on one port."""
    copies = []
    for core in cores:
        copy = ServerProcess(file, None, "--http", f"127.0.0.1:{port}", "--share_port", "1")
        for thread in os.listdir(f"/proc/{copy.pid}/task"):
            os.sched_setaffinity(int(thread), [core])
        copies.append(copy)
    wait_for(port)
    return copies


def loop(core: int, seconds: float) -> float:
    """Turns per second of a loop on a core."""
    os.sched_setaffinity(0, [core])
    turns, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(1000):
            turns += 1
    return turns / seconds


def client(core: int, port: int, request: bytes, in_flight: int, seconds: float) -> tuple[float, np.ndarray]:
    """Requests per second and milliseconds of a client on its core."""
    os.sched_setaffinity(0, [core])
    return load(port, request, in_flight, seconds, b"200")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--copies", type=count, default=2)
    parser.add_argument("--in_flight", type=count, default=32, help="of each client")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--rounds", type=count, default=5)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: arguments.copies]
    if len(cores) < arguments.copies:
        raise SystemExit(f"{arguments.copies} copies need {arguments.copies} cores; this process may use {len(cores)}")
    copies: list[ServerProcess] = []
    with tempfile.TemporaryDirectory() as place, multiprocessing.get_context("spawn").Pool(len(cores)) as pool:
        file = Path(place) / "model.safetensors"
        checkpoint_of_length(arguments.checkpoint, 10, file)
        request = correct_request(load_correction_model(file))
        try:
            one, shared = free_port(), free_port()
            copies += start_copies(file, one, cores[:1]) + start_copies(file, shared, cores)
            ports = [one]
            for core in cores[1:]:
                ports.append(free_port())
                copies += start_copies(file, ports[-1], [core])
            ask = partial(client, request=request, in_flight=arguments.in_flight, seconds=arguments.seconds)
            sides = {"one": [(cores[0], one)], "shared": [(core, shared) for core in cores]}
            sides["apart"] = list(zip(cores, ports, strict=True))
            rates: dict[str, list[float]] = {name: [] for name in (*sides, "one loop", "loops")}
            print("who     requests/s   p50 ms   p99 ms")
            for turn in range(arguments.rounds + 1):  # the first warms
                for name, clients in sides.items():
                    results = pool.starmap(ask, clients, chunksize=1)
                    if turn:
                        rates[name].append(sum(rate for rate, _ in results))
                        p50, p99 = np.quantile(np.concatenate([times for _, times in results]), [0.5, 0.99])
                        print(f"{name:6} {rates[name][-1]:11.0f} {p50:8.2f} {p99:8.2f}", flush=True)
                for name, used in (("one loop", cores[:1]), ("loops", cores)):
                    turns = pool.starmap(loop, [(core, arguments.seconds / 3) for core in used], chunksize=1)
                    rates[name] += [sum(turns)] * bool(turn)
            for name, alone in (("shared", "one"), ("apart", "one"), ("loops", "one loop")):
                ratios = np.array(rates[name]) / np.array(rates[alone])
                print(f"{name} over {alone}: {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})")
        finally:
            for copy in copies:
                copy.kill()


if __name__ == "__main__":
    main()
