"""A correction's way over slow networks, and the quality that results: the result of ``delay``."""

from dataclasses import dataclass, field

from recbole_cocorr.base.readers import Record
from recbole_cocorr.experiments.results.base import CheckpointResult, Row, checked_rows

# The paper's tolerance, ms.
PAPERS_TOLERANCE = 4.21
_MS = ("upload_ms", "cloud_ms", "download_ms", "total_ms", "p99_ms", "formula_ms")


@dataclass
class Delay(CheckpointResult):
    """What ``delay`` measured.

    Attributes
    ----------
    rows : list of dict
        For each network and ``length`` L: ``bandwidth`` (MB/s), ``round_trip`` (ms), the payloads ``up_bytes`` and
        ``down_bytes``, the medians of the measured times in ms (``upload_ms``, ``cloud_ms``, ``download_ms``,
        ``total_ms``), ``p99_ms``, ``formula_ms`` (bytes / bandwidth + round trip + the measured cloud time), and the
        share of requests that were back within the paper's tolerance (``in_time``).
    papers_tolerance : float
    tolerance : dict or None
        Milliseconds from the hidden states' being ready until the correction is needed, in a session on this machine:
        ``click`` (one more click, the state being there) and ``history`` (L clicks read from the start).
    quality : list of dict
        ``share`` of the corrections that arrive, ``ndcg@10`` and its ``deviation`` between draws.
    """

    FORMAT, NAME, VERB, ONCE_UNMARKED = "recbole_cocorr.delay", "delay file", "delay", True
    FILE = "delay.json"

    rows: list[Row] = field(default_factory=list)
    papers_tolerance: float = PAPERS_TOLERANCE
    tolerance: dict[str, float] | None = None
    quality: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, record: Record) -> "Delay":
        """The delays that a file holds."""
        columns = dict.fromkeys(("bandwidth", "round_trip", *_MS, "in_time"), float)
        columns |= dict.fromkeys(("length", "up_bytes", "down_bytes"), int)
        return cls(
            checked_rows(record, "rows", columns, required=True),
            record.number("papers_tolerance"),
            None if record.absent("tolerance") else record.numbers("tolerance"),
            checked_rows(record, "quality", dict.fromkeys(("share", "ndcg@10", "deviation"), float)),
            **cls.origin_of(record),
        )

    def text(self) -> str:
        """A line for each cell, the device's time, and the quality by the share that arrives."""
        lines = [
            "MB/s   RTT ms     L   up B     down B   upload   cloud  download   total     p99  formula  in 4.21 ms"
        ]
        for r in self.rows:
            lines.append(
                f"{r['bandwidth']:4g} {r['round_trip']:8g} {r['length']:5} {r['up_bytes']:6} {r['down_bytes']:10} "
                f"{r['upload_ms']:8.2f} {r['cloud_ms']:7.2f} {r['download_ms']:9.2f} "
                f"{r['total_ms']:7.2f} {r['p99_ms']:7.2f} {r['formula_ms']:8.2f} {r['in_time']:11.1%}"
            )
        if self.tolerance:
            click, history = (f"{self.tolerance[name]:.3f} ms" for name in ("click", "history"))
            lines.append(
                f"the device here, from hidden state ready to correction needed: {click} for a click, {history} for "
                f"{min(r['length'] for r in self.rows)} clicks from the start"
            )
        for q in self.quality:
            lines.append(
                f"{q['share']:5.0%} arrive: NDCG@10 {q['ndcg@10']:.5f} (deviation of a draw {q['deviation']:.5f})"
            )
        return "\n".join(lines)
