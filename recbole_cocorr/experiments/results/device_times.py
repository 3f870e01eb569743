"""The time of clicks and rankings on the device: the result of ``device-bench``."""

from dataclasses import dataclass, field

from recbole_cocorr.base.readers import Record
from recbole_cocorr.experiments.results.base import Result, Row

# Ends the name of a model that reads its window anew though it could carry a state on.
WINDOW_SUFFIX = ", window"
# Ends the name of the row of a model with a neighbour table.
NEIGHBOURS_SUFFIX = ", {} neighbours"
# Ends the name of the row of a model that the native library runs.
NATIVE_SUFFIX = ", native"
_NUMBERS = ("startup_ms", "peak_rss_mb", "graph_bytes", "artifact_bytes", "state_bytes")


@dataclass
class DeviceTimes(Result):
    """What ``device-bench`` timed.

    Attributes
    ----------
    setting : dict
        ``items``, ``candidates``, ``clicks``, ``table`` and ``histories``.
    models : dict of str to dict
        By name: the results of :func:`recbole_cocorr.experiments.device_bench.one.run`, ``policy``, ``window`` and the
        bytes of the artifact.
    """

    FORMAT, NAME, VERB = "recbole_cocorr.device-bench", "file of device-bench", "device-bench"
    FILE = "device.json"

    setting: Row = field(default_factory=dict)
    models: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record) -> "DeviceTimes":
        """The times that a file holds, those of at least one model."""
        setting, models = record.record("setting"), record.record("models")
        for name in ("items", "candidates", "clicks"):
            setting.whole(name)
        histories = setting.wholes("histories", 1)
        if not histories:
            raise setting.refuse("histories", "a list of numbers of clicks")
        if not models.content:
            raise record.refuse("models", "the times of at least one model")
        for name in models:
            model = models.record(name)
            for key in _NUMBERS:
                model.number(key, 0)
            click = model.record("click")
            for length in histories:
                _check_times(click, str(length))
            _check_times(model, "rank")
        return cls(setting.content, models.content)

    @property
    def is_empty(self) -> bool:
        """Whether no model was timed."""
        return not self.models

    def text(self) -> str:
        """A line for each model."""
        histories = [str(n) for n in self.setting["histories"]]
        head = ["model", *(f"click after {n}" for n in histories), f"rank {self.setting['candidates']}"]
        head += ["rank all", "start ms", "peak MB", "graphs KB", "all KB", "state B"]
        table = [head]
        for name, row in self.models.items():
            times = [*(row["click"][n] for n in histories), row["rank"], row.get("rank_all")]
            table.append([name, *(f"{t['p50']:.0f} / {t['p99']:.0f}" if t else "" for t in times)])
            table[-1] += [f"{row['startup_ms']:.1f}", f"{row['peak_rss_mb']:.0f}", f"{row['graph_bytes'] / 1000:.0f}"]
            table[-1] += [f"{row['artifact_bytes'] / 1000:.0f}", str(row["state_bytes"])]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(c.rjust(width) for c, width in zip(cells, widths, strict=True)) for cells in table]
        return "\n".join(["microseconds: p50 / p99; one thread", *lines])


def _check_times(record: Record, key: str) -> None:
    times = record.record(key)
    for share in ("p50", "p99"):
        if times.number(share, 0) == 0:
            raise times.refuse(share, "a number above 0")
    for share in ("p25", "p75"):  # files from before November 2026 have no upper quartile
        times.number(share, 0, default=0.0)
