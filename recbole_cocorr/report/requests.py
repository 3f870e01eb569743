"""What a share of the requests is worth, as pictures and a table."""

from recbole_cocorr.experiments.results.formats import decimal
from recbole_cocorr.experiments.results.requests import WAYS, Requests
from recbole_cocorr.models.card import Look
from recbole_cocorr.report.figures import Picture
from recbole_cocorr.report.plot_style import FAINT, legend_below, panel, settings
from recbole_cocorr.report.table_formats import Table, row

_LOOKS = dict(
    zip(
        WAYS,
        (
            Look("#0072B2", "o"),
            Look(FAINT, "", "--"),
            Look("#E69F00", "s", hollow=True),
            Look("#009E73", "^", hollow=True),
        ),
        strict=True,
    )
)
_TITLES = {"scores": "item-item scores", "correction": "the correction"}


def quality_by_share(requests: Requests, answer: str) -> Picture:
    """NDCG@10 over the share of rankings that ask, one line for each way to choose them."""
    with settings():
        figure, axes = panel(len(WAYS), columns=1)
        for way in WAYS:
            points = [
                (100 * r["asked"], r["ndcg@10"]) for r in requests.rows if (r["answer"], r["way"]) == (answer, way)
            ]
            if points:
                axes.plot(*zip(*sorted(points), strict=True), label=way, **_LOOKS[way].line())
        axes.set_xlabel("Rankings that ask, %")
        axes.set_ylabel("NDCG@10")
        legend_below(figure, axes, columns=1)
    caption = (
        f"Quality if a share of the rankings asks for {_TITLES[answer]}: those of which the rule expects the most, as "
        "many chosen by chance, and every so many clicks. One ranking of each test user."
    )
    return Picture(f"requests-{answer}", caption, figure)


def requests_table(requests: Requests) -> Table:
    """NDCG@10 and HR@10 of every share and way."""
    header = ("Answer", "Who asks", "Share", "Asked", "NDCG@10", "HR@10", "over random", "standard error")
    rows = [
        row(
            r["answer"],
            r["way"],
            f"{r['share']:.0%}",
            f"{r['asked']:.1%}",
            decimal(r["ndcg@10"]),
            decimal(r["hit@10"]),
            decimal(r["over_random"], sign=True),
            decimal(r["standard_error"]),
        )
        for r in requests.rows
    ]
    notes = (
        f"{requests.model} on {requests.dataset}, {requests.users} users, one ranking each.",
        "Over random: NDCG@10 over that of as many requests spread by chance.",
    )
    return Table("requests", "Quality by the share of rankings that ask", header, tuple(rows), notes, text_columns=2)
