"""Histories of users from a table of clicks, such as the file that a data set was converted from."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.convert.rows import Row, RowError, WrongFormat, check_token, short
from recbole_cocorr.data.convert.tables import Table, any_table
from recbole_cocorr.data.frames import NAMES


@dataclass(frozen=True)
class ClickFile:
    """The clicks of a file's users, who stand in the order of their first rows.

    Attributes
    ----------
    users : list of str
    histories : list of list of str
        Oldest click first; empty for a user whose only row has no item.
    """

    users: list[str]
    histories: list[list[str]]


def read_clicks(path: str | Path, columns: str | None = None, unit: str | None = None) -> ClickFile:
    """Read a table with a row for each click: a user, an item and perhaps a time.

    Parameters
    ----------
    path : str or pathlib.Path
        Text with separators, gzipped or not.
    columns : str, optional
        ``user=NAME,item=NAME`` and perhaps ``time=NAME``, as for ``convert``; otherwise the header has ``user`` or
        ``user_id``, ``item`` or ``item_id``, and perhaps ``timestamp`` or ``time``.
    unit : str, optional
        Of the times.

    Returns
    -------
    ClickFile
        In the order of the times, equal ones in the order of the rows; without times in the order of the rows.

    Raises
    ------
    UserError
        If the file cannot be read, or a row does not fit; the sentence names its line.
    """
    path = Path(path)
    clicks: dict[str, list[tuple[str, str, int]]] = {}
    for number, row in _rows(path, columns, unit):
        try:
            if isinstance(row, ValueError):
                raise row
            user, item, _, time = row
            check_token("user", user)
            if item and not item.isspace():
                check_token("item", item)
            else:
                item = ""
            own = clicks.setdefault(user, [])
            if own and not (item and own[0][1]):
                raise RowError(f"the user {short(user)} has a row without an item, and other rows")
        except UnicodeDecodeError:
            raise UserError(f"{path}, line {number}: it is no UTF-8 text") from None
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}") from None
        own.append((time, item, number))
    if not clicks:
        raise UserError(f"{path} holds no row")
    histories = []
    for own in clicks.values():
        own.sort(key=lambda click: (Decimal(click[0] or 0), click[2]))
        histories.append([item for _, item, _ in own if item])
    return ClickFile(list(clicks), histories)


def _rows(path: Path, columns: str | None, unit: str | None) -> Iterator[tuple[int, Row | ValueError]]:
    if columns is not None:
        try:
            table = any_table(columns, unit, needed=("user", "item"))
        except RowError as error:
            raise UserError(f"--columns {columns}: {error}; it is for example user=who,item=what,time=when") from None
        _check_unit(path, table, unit)
        yield from table.read(path, "utf-8")
        return
    fitting: list[tuple[Table, tuple[int, Row | ValueError] | None, Iterator[tuple[int, Row | ValueError]]]] = []
    for user, item, time in product(NAMES["user"], NAMES["item"], (*NAMES["time"], None)):
        if time is None and any(table.time for table, *_ in fitting):
            continue
        table = Table(user, item, time, unit=unit)
        rows = table.read(path, "utf-8")
        try:
            fitting.append((table, next(rows, None), rows))
        except WrongFormat:
            continue
    if len(fitting) > 1 and fitting[0][1] is not None:
        names = dict.fromkeys(str(name) for table, *_ in fitting for name in table.columns)
        raise UserError(
            f"{path}: more than one column could be meant ({', '.join(names)}); say which: --columns "
            "user=NAME,item=NAME,time=NAME"
        )
    for table, first, rows in fitting[:1]:
        if first is not None:
            _check_unit(path, table, unit)
            yield first
        yield from rows
        return
    names = (" or ".join(NAMES[kind]) for kind in ("user", "item"))
    raise UserError(
        f"{path}: the header names no columns {', '.join(names)}; say which they are: --columns "
        "user=NAME,item=NAME,time=NAME"
    )


def _check_unit(path: Path, table: Table, unit: str | None) -> None:
    if unit is not None and table.time is None:
        raise UserError(f"{path}: --time_unit is {unit}, and no column of times is read; name it with --columns")
