"""Fill the tables of the pages of results and the README from the records in results/records: ``make results``.

A table stands between two lines:

    <!-- table NAME of FOLDER -->
    <!-- end of table -->

NAME is a table's of the report on that folder (`python -m recbole_cocorr report results/records/FOLDER`). The first
line may choose columns, and after a second bar rows by their first cell; caption and notes are then left out:

    <!-- table NAME of FOLDER | Model; NDCG@10, out; HR@10, out | GRU4Rec; CoCorrRec (full) -->
"""

import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write
from recbole_cocorr.base.readers import decode, read_bytes
from recbole_cocorr.report.report import Report, build
from recbole_cocorr.report.table_formats import Table, markdown

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = (DOCS / "results.md", DOCS / "deployed_results.md", DOCS / "paper_results.md", ROOT / "README.md")
RECORDS = ROOT / "results" / "records"
_TABLE = re.compile(
    r"(<!-- table (\S+) of (\S+?)(?: \| (.+?))?(?: \| (.+?))? -->\n)(.*?)(<!-- end of table -->)", re.DOTALL
)


def filled(text: str, records: Path) -> str:
    """A page's text with every table made anew.

    Raises
    ------
    UserError
        If a folder is no results folder, or its report has no table, column or row of the name.
    """

    @cache
    def report(folder: str) -> Report:
        return build(records / folder)

    def table(match: re.Match) -> str:
        begin, name, folder, columns, rows, _, end = match.groups()
        tables = {table.name: table for table in report(folder).tables}
        if name not in tables:
            raise UserError(f"the report on {records / folder} has no table {name!r}; it has {', '.join(tables)}")
        lines = markdown(_part_of(tables[name], columns, rows)).strip().splitlines()
        return begin + "\n".join(line for line in lines if not columns or line.startswith("|")) + "\n" + end

    return _TABLE.sub(table, text)


def _part_of(table: Table, columns: str | None, rows: str | None) -> Table:
    """Some columns and rows of a table, in the order in which they are named."""
    if columns is None:
        return table
    places = [_place(name, table.header, table) for name in columns.split("; ")]
    labels = [row[0].text for row in table.rows]
    chosen = range(len(labels)) if rows is None else [_place(name, labels, table) for name in rows.split("; ")]
    return replace(
        table,
        header=tuple(table.header[place] for place in places),
        rows=tuple(tuple(table.rows[row][place] for place in places) for row in chosen),
        text_columns=sum(place < table.text_columns for place in places),
    )


def _place(name: str, names: tuple[str, ...] | list[str], table: Table) -> int:
    if name not in names:
        raise UserError(f"the table {table.name} has no {name!r}; it has {', '.join(names)}")
    return names.index(name)


def page(path: Path) -> str:
    """A page as it is."""
    return decode(read_bytes(path, "page of tables"), str(path))


if __name__ == "__main__":
    for path in PAGES:
        new = filled(page(path), RECORDS)
        with atomic_write(path, what="page of tables") as file:
            file.write(new)
        print(f"{path}: {len(_TABLE.findall(new))} tables", file=sys.stderr)
