"""The time of one inference over the mini-batch size K: the result of ``sweep``."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from recbole_cocorr.base.readers import Record
from recbole_cocorr.experiments.results.base import Result, Row, checked_object, checked_rows
from recbole_cocorr.experiments.results.spread import check_quartiles

# Users of the batch that is timed beside one user.
BATCH = 1024


@dataclass
class SweepTimes(Result):
    """What ``sweep`` timed.

    Attributes
    ----------
    versions, machine : dict
    rows : list of dict
        ``K``, ``latency_us`` (one user, history to user vector) and ``batch_latency_us`` (a batch of 1024),
        and of each its quartiles.
    """

    FORMAT, NAME, VERB, FILE = "recbole_cocorr.sweep", "sweep file", "sweep", "sweep.json"
    OF_RUNS = True

    versions: Row = field(default_factory=dict)
    machine: Row = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, record: Record) -> "SweepTimes":
        """The times that a file holds."""
        rows = checked_rows(record, "rows", {"K": int, "latency_us": float})
        for row in record.records("rows") if rows else ():
            for key in ("latency_us", "batch_latency_us"):
                check_quartiles(row, key)
        return cls(checked_object(record, "versions"), checked_object(record, "machine"), rows)

    def text(self, quality: Mapping[int, float] | None = None) -> str:
        """A line for each K, with its NDCG@10 where ``quality`` has it."""
        lines = [f"{'K':>4}{'NDCG@10':>10}{'one user, us':>14}{f'{BATCH} users, us':>16}"]
        for row in self.rows:
            mean = (quality or {}).get(row["K"])
            ndcg = "" if mean is None else f"{mean:.4f}"
            lines.append(f"{row['K']:>4}{ndcg:>10}{row['latency_us']:>14.0f}{row['batch_latency_us']:>16.0f}")
        return "\n".join(lines)
