"""What uploads and requests for scores say about the clicks: the result of ``privacy``."""

from dataclasses import dataclass

from recbole_cocorr.base.readers import Record
from recbole_cocorr.experiments.results.base import CheckpointResult, Row, checked_rows


@dataclass
class UploadPrivacy:
    """What an upload of hidden states reveals.

    Attributes
    ----------
    clicks, users : int
        Attacked clicks, and test users.
    guess : float
        Share of the most popular item: what is recovered without any upload.
    rows : list of dict
        ``way``, ``attack``, ``bytes`` of an upload of L clicks, ``recovered`` (share of the clicks) and ``ndcg@10``.
    """

    clicks: int
    users: int
    guess: float
    rows: list[Row]

    def text(self) -> str:
        """A line for each way and attack."""
        lines = [
            f"{self.users} users, {self.clicks} uploaded clicks",
            f"{'upload':45}{'attack':55}{'bytes':>6}{'recovered':>11}{'NDCG@10':>9}",
        ]
        for r in self.rows:
            share = "-" if r.get("recovered") is None else f"{r['recovered']:.2%}"
            lines.append(f"{r['way']:45}{r['attack']:55}{r['bytes']:6}{share:>11}{r['ndcg@10']:9.5f}")
        return "\n".join(lines)


@dataclass
class ScorePrivacy:
    """What a request for scores reveals, one ranking of each test user.

    Attributes
    ----------
    users, clicks : int
        Test users, and the clicks of all their histories.
    rows : list of dict
        ``score_clicks`` (n; 0: no request), ``told`` (share of the clicks that one request names), ``read`` (share of
        these that the service knows), ``up`` and ``down`` (mean bytes of payload), ``ndcg@10``.
    """

    users: int
    clicks: int
    rows: list[Row]

    def text(self) -> str:
        """A line for each n."""
        lines = [
            f"scores: {self.users} users, {self.clicks} clicks; one ranking each",
            f"{'score_clicks':>12}{'clicks told':>13}{'of them read':>14}{'bytes up':>10}{'bytes down':>12}"
            f"{'NDCG@10':>9}",
        ]
        for r in self.rows:
            read = "-" if r.get("read") is None else f"{r['read']:.2%}"
            count = r["score_clicks"] or "no scores"
            lines.append(f"{count:>12}{r['told']:>13.2%}{read:>14}{r['up']:10.1f}{r['down']:12.1f}{r['ndcg@10']:9.5f}")
        return "\n".join(lines)


@dataclass
class Privacy(CheckpointResult):
    """What ``privacy`` measured: uploads, for a model with a correction network; scores, for a corrector."""

    FORMAT, NAME, VERB, ONCE_UNMARKED = "recbole_cocorr.privacy", "privacy file", "privacy", True
    FILE = "privacy.json"

    uploads: UploadPrivacy | None = None
    scores: ScorePrivacy | None = None

    def content(self) -> Row:
        """The keys of the uploads stand beside ``scores``."""
        content = super().content()
        uploads, scores = content.pop("uploads"), content.pop("scores")
        return {**content, **(uploads or {}), **({} if scores is None else {"scores": scores})}

    @classmethod
    def of(cls, record: Record) -> "Privacy":
        """The measurement that a file holds: of uploads, of scores, or of both."""
        uploads = scores = None
        if "rows" in record or "scores" not in record:
            columns = {"way": str, "attack": str, "bytes": int, "ndcg@10": float}
            rows = checked_rows(record, "rows", columns, required=True)
            uploads = UploadPrivacy(record.whole("clicks"), record.whole("users"), record.number("guess", 0, 1), rows)
            for row in (r for r in record.records("rows") if not r.absent("recovered")):
                row.number("recovered", 0, 1)
        if "scores" in record:
            inner = record.record("scores")
            columns = {"score_clicks": int, **dict.fromkeys(("told", "up", "down", "ndcg@10"), float)}
            rows = checked_rows(inner, "rows", columns, required=True)
            for row in (r for r in inner.records("rows") if not r.absent("read")):
                row.number("read", 0, 1)
            scores = ScorePrivacy(inner.whole("users"), inner.whole("clicks"), rows)
        return cls(uploads, scores, **cls.origin_of(record))

    @property
    def is_empty(self) -> bool:
        """Whether neither was measured."""
        return not any(part.rows for part in (self.uploads, self.scores) if part is not None)

    def text(self) -> str:
        """Both tables."""
        return "\n".join(table.text() for table in (self.uploads, self.scores) if table is not None)
