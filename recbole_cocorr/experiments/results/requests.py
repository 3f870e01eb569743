"""What is left of the cloud's gain when a share of the rankings may ask: the result of ``requests``."""

from dataclasses import dataclass, field

from recbole_cocorr.base.readers import Record
from recbole_cocorr.experiments.results.base import Result, Row, checked_rows

WAYS = ("rule", "random", "evenly", "evenly, last answer kept")
_COLUMNS = dict.fromkeys(("share", "asked", "ndcg@10", "hit@10", "over_random", "standard_error"), float)


@dataclass
class Requests(Result):
    """Quality against the share of rankings that ask, one ranking of each test user.

    Attributes
    ----------
    dataset, model : str
    users : int
    rows : list of dict
        ``answer`` (``scores`` or ``correction``), ``way`` (one of ``WAYS``), the wanted ``share``, the share that
        ``asked``, ``ndcg@10``, ``hit@10``, and NDCG@10 ``over_random``: over what as many requests bring that are
        spread by chance, with its ``standard_error``.
    rules : dict
        The rule of each answer.
    """

    FORMAT, NAME, VERB, FILE = "recbole_cocorr.requests", "file of requests", "requests", "requests.json"

    dataset: str = ""
    model: str = ""
    users: int = 0
    rows: list[Row] = field(default_factory=list)
    rules: Row = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record) -> "Requests":
        """The requests that a file holds."""
        rows = checked_rows(record, "rows", {"answer": str, "way": str, **_COLUMNS}, required=True)
        for row in record.records("rows"):
            row.text("answer", ("scores", "correction")), row.text("way", WAYS)
            row.number("share", 0, 1), row.number("asked", 0, 1)
        names = record.text("dataset"), record.text("model")
        return cls(*names, record.whole("users"), rows, record.record("rules").content)

    @property
    def answers(self) -> list[str]:
        """What was asked for, each once."""
        return list(dict.fromkeys(row["answer"] for row in self.rows))

    def text(self) -> str:
        """A line for each answer, share and way."""
        lines = [f"{self.model} on {self.dataset}, {self.users} users, one ranking each"]
        for answer in self.answers:
            lines.append(
                f"{answer:11}{'share':>6}  {'who asks':25}{'asked':>7}{'NDCG@10':>9}{'HR@10':>8}   over random, NDCG@10"
            )
            for r in (r for r in self.rows if r["answer"] == answer):
                lines.append(
                    f"{'':11}{r['share']:6.0%}  {r['way']:25}{r['asked']:7.1%}{r['ndcg@10']:9.4f}{r['hit@10']:8.4f}   "
                    f"{r['over_random']:+.4f} (standard error {r['standard_error']:.4f})"
                )
        return "\n".join(lines)
