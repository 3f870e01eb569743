"""One artifact, timed in a process of its own: ``python -m recbole_cocorr.experiments.device_bench.one SPEC``.

Imports numpy and, for its runtime, onnxruntime alone, so that the memory it reports is the device's.
"""

import json
import resource
import sys
import time
from typing import Any

import numpy as np

from recbole_cocorr.device.session import Session


def microseconds(times: list[float]) -> dict[str, float]:
    """Quartiles, median and 99th percentile of some durations; on a busy machine the lower quartile moves least."""
    return {f"p{q}": round(float(np.percentile(times, q)) * 1e6, 2) for q in (25, 50, 75, 99)}


def timed(call: Any, arguments: list, warm: int = 100) -> dict[str, float]:
    """Time a call with one argument after another; the first ``warm`` are not counted."""
    times = []
    clock = time.perf_counter
    for argument in arguments:
        start = clock()
        call(argument)
        times.append(clock() - start)
    return microseconds(times[min(warm, len(times) // 2) :])


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes.

    Where Linux tells it: getrusage's figure begins with that of the process that started this one.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Time one artifact.

    Parameters
    ----------
    spec : dict
        ``artifacts`` by length of the history, ``candidates``, ``clicks``, ``seed``, ``policy`` and ``runtime``.

    Returns
    -------
    dict
        ``startup_ms`` (opening, the imports done), ``click`` by length of the history, ``rank`` and ``rank_all``, in
        microseconds, ``state_bytes`` and ``peak_rss_mb`` of the whole process.
    """
    generator = np.random.default_rng(spec["seed"])
    start = time.perf_counter()
    settings = {"policy": spec["policy"], "runtime": spec["runtime"]}
    session = Session.open(next(iter(spec["artifacts"].values())), **settings)
    startup = (time.perf_counter() - start) * 1e3
    vocabulary = session.artifact.vocabulary

    def tokens(count: int) -> list[str]:
        return [vocabulary.token(int(row)) for row in generator.integers(1, len(vocabulary), count)]

    click = {}
    for length, artifact in spec["artifacts"].items():
        session = Session.open(artifact, **settings)
        session.history(tokens(int(length)))
        click[length] = timed(session.click, tokens(spec["clicks"]))
    lists = [tokens(spec["candidates"]) for _ in range(500)]
    return {
        "startup_ms": round(startup, 2),
        "click": click,
        "rank": timed(session.rank, lists),
        "rank_all": timed(session.rank_all, [10] * 200),
        "state_bytes": session.layout.size(),
        "peak_rss_mb": round(peak_memory() / 1e6, 1),
        "modules": sorted({"torch", "recbole", "pandas", "scipy"} & set(sys.modules)),
    }


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
