"""Rankings of many devices under faults: the result of ``simulate``."""

from dataclasses import dataclass, field

from recbole_cocorr.base.readers import Record
from recbole_cocorr.experiments.results.base import CheckpointResult, Row, checked_row, checked_rows

# How a ranking may end.
STATUSES = ("corrected", "late", "offline", "refused")


@dataclass
class Simulation(CheckpointResult):
    """What ``simulate`` counted.

    Attributes
    ----------
    rows : list of dict
        By ``fault``: ``lists``, their statuses, how many used the correction and the scores (``with_correction``,
        ``with_scores``), ``wrong``, ``lost``, the share ``kept`` that met the deadline, the longest wait
        (``longest_ms``), and ``p50_ms`` and ``p99_ms`` of the round trips. The last row is of the time after each
        fault.
    total : dict
        The same of all lists.
    flood : dict
        Requests of the flooding client per second: ``answered_per_s`` and ``refused_per_s``; empty without a flood.
    deadline_ms, slack_ms : float
        A ranking has met its deadline if it waited no longer than both together.
    """

    FORMAT, NAME, VERB, ONCE_UNMARKED = "recbole_cocorr.simulation", "simulation file", "simulate", True
    FILE = "simulation.json"

    rows: list[Row] = field(default_factory=list)
    total: Row = field(default_factory=dict)
    flood: dict[str, float] = field(default_factory=dict)
    deadline_ms: float = 0.0
    slack_ms: float = 0.0

    @classmethod
    def of(cls, record: Record) -> "Simulation":
        """The simulation that a file holds."""
        columns = {"fault": str, **dict.fromkeys(("lists", *STATUSES, "with_scores", "wrong", "lost"), int)}
        for row in (*record.records("rows"), record.record("total")):
            for name in ("kept", "p50_ms", "p99_ms"):
                if not row.absent(name):
                    row.number(name)
        return cls(
            checked_rows(record, "rows", columns, required=True),
            checked_row(record.record("total"), columns),
            record.numbers("flood", {}),
            record.number("deadline_ms", 0, default=0.0),
            record.number("slack_ms", 0, default=0.0),
            **cls.origin_of(record),
        )

    @property
    def right(self) -> bool:
        """Whether no list was wrong or lost."""
        return not (self.total["wrong"] or self.total["lost"])

    def text(self) -> str:
        """A line for each fault, and one for all."""
        names = ("lists", *STATUSES, "with_scores", "wrong", "lost")
        head = "".join(f"{n.removeprefix('with_'):>10}" for n in names)
        lines = ["fault".ljust(25) + head + "  deadline kept  p50 ms  p99 ms"]
        for r in (*self.rows, self.total):
            share = "-" if r.get("kept") is None else f"{r['kept']:.3%}"
            p50, p99 = ("-" if r.get(k) is None else f"{r[k]:.2f}" for k in ("p50_ms", "p99_ms"))
            lines.append(r["fault"].ljust(25) + "".join(f"{r[n]:10}" for n in names) + f"{share:>15}{p50:>8}{p99:>8}")
        if self.flood:
            lines.append(
                "the flood: {answered_per_s:.0f} requests/s answered, {refused_per_s:.0f} refused".format(**self.flood)
            )
        return "\n".join(lines)
