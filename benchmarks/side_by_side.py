"""Time two ways of doing the same thing in turn, in one process, and say how they compare.

A shared machine changes its speed from minute to minute, so the two sides alternate and the figure to quote is
the median of the ratios of neighbours, not a time.
"""

import gc
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass
class Comparison:
    """Seconds of both sides, pair by pair."""

    what: str
    ours: list[float]
    other: list[float]

    @property
    def ratio(self) -> float:
        """Median of other / ours: above 1, ours is faster."""
        return statistics.median(b / a for a, b in zip(self.ours, self.other, strict=True))

    @property
    def ratios(self) -> tuple[float, float]:
        """Least and greatest ratio."""
        pairs = [b / a for a, b in zip(self.ours, self.other, strict=True)]
        return min(pairs), max(pairs)


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(what: str, ours: Callable[[], object], other: Callable[[], object], repeats: int) -> Comparison:
    """Call both sides ``repeats`` times, alternating."""
    result = Comparison(what, [], [])
    for _ in range(repeats):
        result.ours.append(seconds(ours))
        result.other.append(seconds(other))
    return result


def table(comparisons: list[Comparison], ours: str, other: str) -> str:
    """A Markdown table: medians of the seconds, the median ratio and its range."""
    lines = [f"| | {ours}, s | {other}, s | ratio (least, greatest) |", "|---|---|---|---|"]
    for c in comparisons:
        low, high = c.ratios
        lines.append(
            f"| {c.what} | {statistics.median(c.ours):.3g} | {statistics.median(c.other):.3g} | "
            f"{c.ratio:.1f}x ({low:.1f}, {high:.1f}) |"
        )
    return "\n".join(lines)


def machine() -> str:
    """Processor, threads and versions, for the line below a table."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = f"{models[0]}, {len(models)} cores" if models else name
    return f"{name}; {torch.get_num_threads()} threads; torch {torch.__version__}; {time.strftime('%Y-%m-%d')}"
