"""Comparisons in words: a row says on how many metrics one is better than the other, and by how much on one of them."""

from collections.abc import Mapping, Sequence

from recbole_cocorr.evaluation.result_table import metric_title
from recbole_cocorr.evaluation.significance import Comparison
from recbole_cocorr.report.table_formats import MISSING, Cell, Table, decimal, row

MAIN = "ndcg@10"
_VERDICTS = ("better", "worse", "no difference")


def main_metric(metrics: Sequence[str]) -> str:
    """NDCG@10, where it is among the metrics, or else the first."""
    return MAIN if MAIN in metrics else metrics[0]


def in_words(comparisons: Sequence[Comparison], other: str = "") -> str:
    """``better than OTHER on 7 of 7 metrics``, ``better on 4, no difference on 3 of 7 metrics``."""
    counts = {v: sum(c.verdict == v for c in comparisons) for v in _VERDICTS}
    parts = [f"{verdict} on {count}" for verdict, count in counts.items() if count]
    if other:
        verdict, _, count = parts[0].rpartition(" on ")
        parts[0] = f"{verdict} {'from' if verdict == 'no difference' else 'than'} {other} on {count}"
    return f"{', '.join(parts)} of {len(comparisons)} metric{'s' if len(comparisons) > 1 else ''}"


def verdict_table(
    name: str, caption: str, first: Sequence[str], pairs: Mapping[tuple[str, ...], Sequence[Comparison]]
) -> Table:
    """A row per pair that was compared.

    Parameters
    ----------
    name, caption : str
    first : sequence of str
        Headings of the columns that name the pair.
    pairs : mapping of tuple of str to sequence of Comparison
        What stands in those columns, and the comparisons on every metric.
    """
    metric = main_metric([c.metric for comparisons in pairs.values() for c in comparisons])
    rows = []
    for names, comparisons in pairs.items():
        main = next((c for c in comparisons if c.metric == metric), None)
        words = in_words(comparisons)
        rows.append(
            row(
                *names,
                Cell(words, bold=any(c.verdict != "no difference" for c in comparisons)),
                *(_numbers(main) if main else (MISSING,) * 4),
            )
        )
    title = metric_title(metric)
    under = ("difference", "95% interval", "p (Holm)", "deviation over seeds")
    return Table(
        name=name,
        caption=caption,
        header=(*first, "Verdict", *(f"{title}, {heading}" for heading in under)),
        rows=tuple(rows),
        notes=("Better and worse: p < .05 after Holm's correction, paired per user.",),
        text_columns=len(first) + 1,
        groups=(("", (*first, "Verdict")), (title, under)),
    )


def _numbers(c: Comparison) -> tuple[str, ...]:
    return (
        decimal(c.difference, sign=True),
        f"{decimal(c.low, sign=True)} to {decimal(c.high, sign=True)}",
        p_value(c.adjusted),
        decimal(c.spread) if c.spread is not None else MISSING,
    )


def p_value(p: float) -> str:
    """``.0312``, or ``< .0001``."""
    if p < 0.0001:
        return "< .0001"
    return decimal(p) if p < 0.99995 else "1"
