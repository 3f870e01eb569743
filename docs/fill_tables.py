"""Fill the tables of docs/results.md from the records in results/records: ``make results``.

A table stands between two lines:

    <!-- table NAME of FOLDER -->
    <!-- end of table -->

NAME is a table's of the report on that folder (`python -m recbole_cocorr report results/records/FOLDER`).
"""

import re
import sys
from functools import cache
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write
from recbole_cocorr.base.readers import decode, read_bytes
from recbole_cocorr.report.report import Report, build
from recbole_cocorr.report.table_formats import markdown

ROOT = Path(__file__).resolve().parents[1]
PAGE, RECORDS = ROOT / "docs" / "results.md", ROOT / "results" / "records"
_TABLE = re.compile(r"(<!-- table (\S+) of (\S+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)


def filled(text: str, records: Path) -> str:
    """The page's text with every table made anew.

    Raises
    ------
    UserError
        If a folder is no results folder, or its report has no table of the name.
    """

    @cache
    def report(folder: str) -> Report:
        return build(records / folder)

    def table(match: re.Match) -> str:
        begin, name, folder, _, end = match.groups()
        tables = {table.name: table for table in report(folder).tables}
        if name not in tables:
            raise UserError(f"the report on {records / folder} has no table {name!r}; it has {', '.join(tables)}")
        return f"{begin}{markdown(tables[name]).strip()}\n{end}"

    return _TABLE.sub(table, text)


def page() -> str:
    """The page as it is."""
    return decode(read_bytes(PAGE, "page of results"), str(PAGE))


if __name__ == "__main__":
    new = filled(page(), RECORDS)
    with atomic_write(PAGE, what="page of results") as file:
        file.write(new)
    print(f"{PAGE}: {len(_TABLE.findall(new))} tables", file=sys.stderr)
