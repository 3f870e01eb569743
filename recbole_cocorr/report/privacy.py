"""What uploads and requests for scores say about the clicks, as tables."""

from recbole_cocorr.experiments.results.formats import MISSING, decimal
from recbole_cocorr.experiments.results.privacy import ScorePrivacy, UploadPrivacy
from recbole_cocorr.report.table_formats import Table, row


def uploads_table(uploads: UploadPrivacy, setting: str) -> Table:
    """What every way to upload reveals, and its quality."""
    header = ("Upload", "Attack", "Bytes", "Clicks recovered", "NDCG@10")
    rows = tuple(
        row(
            r["way"],
            r["attack"],
            f"{r['bytes']:,}",
            MISSING if r.get("recovered") is None else f"{r['recovered']:.1%}",
            decimal(r["ndcg@10"]),
        )
        for r in uploads.rows
    )
    attacked = f"{uploads.clicks:,} clicks of {uploads.users:,} users, attacked by somebody who holds the item table."
    caption = "What an upload of hidden states reveals"
    return Table("privacy-uploads", caption, header, rows, tuple(filter(None, (attacked, setting))), text_columns=2)


def scores_table(scores: ScorePrivacy, setting: str) -> Table:
    """What requests for scores tell by the clicks that they name, and their quality."""
    header = ("Clicks in a request, at most", "Of all clicks", "Of them read", "Bytes up", "Bytes down", "NDCG@10")
    rows = tuple(
        row(
            f"{r['score_clicks']}" if r["score_clicks"] else "no request",
            f"{r['told']:.1%}",
            MISSING if r.get("read") is None else f"{r['read']:.0%}",
            f"{r['up']:.0f}",
            f"{r['down']:.0f}",
            decimal(r["ndcg@10"]),
        )
        for r in scores.rows
    )
    sent = f"{scores.clicks:,} clicks of {scores.users:,} users, one ranking each. Read: by the service."
    caption = "What requests for item-item scores tell"
    return Table("privacy-scores", caption, header, rows, tuple(filter(None, (sent, setting))))
