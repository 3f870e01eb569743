"""Comparisons of two models as rows of a result's file."""

from collections.abc import Mapping

from recbole_cocorr.base.readers import Record, is_number
from recbole_cocorr.evaluation.significance import Comparison
from recbole_cocorr.experiments.results.base import Row, checked_rows

_COLUMNS = {
    "model": str,
    "baseline": str,
    "metric": str,
    "seeds": list,
    "users": int,
    "per_seed": list,
    **dict.fromkeys(("difference", "low", "high", "p", "adjusted"), float),
}


def checked_comparisons(record: Record, columns: Mapping[str, type]) -> list[Row]:
    """The list ``comparisons``: rows with the fields of a Comparison, and the given columns.

    Raises
    ------
    UserError
        Naming the row and the column.
    """
    rows = checked_rows(record, "comparisons", {**columns, **_COLUMNS})
    for row in record.records("comparisons"):
        for name in ("seeds", "per_seed"):
            if not all(is_number(number) for number in row.array(name)):
                raise row.refuse(name, "a list of numbers")
    return rows


def comparison_of(row: Row) -> Comparison:
    """The comparison that a row holds."""
    fields = {name: row[name] for name in _COLUMNS}
    return Comparison(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
