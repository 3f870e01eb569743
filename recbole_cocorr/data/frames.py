"""Interactions as pandas tables: histories out of one, recommendations as one, and a data set made of one."""

import datetime
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write, make_folder
from recbole_cocorr.data.convert.rows import RowError, check_token, short
from recbole_cocorr.data.convert.times import unit_seconds

# What a table may call its columns.
NAMES = {"user": ("user", "user_id"), "item": ("item", "item_id"), "time": ("timestamp", "time")}


class Answer(Protocol):
    """Some items for one user, best first."""

    items: list[str]
    scores: list[float]
    source: str


@dataclass(frozen=True)
class Histories:
    """The clicks of a table's users, who stand in the order of their first rows.

    Attributes
    ----------
    users : pandas.Series
    histories : list of list of str
        Oldest click first.
    item_name : str
    item_type : numpy.dtype or other of pandas' types
    """

    users: pd.Series
    histories: list[list[str]]
    item_name: str
    item_type: Any


def is_frame(table: Any) -> bool:
    """Whether it is a pandas table."""
    return isinstance(table, pd.DataFrame)


def histories_of(table: pd.DataFrame) -> Histories:
    """The clicks of each user.

    Raises
    ------
    UserError
        For a column that is missing or a value that does not fit; the sentence names the row, counted from 1.
    """
    user, item, time = (_column(table, kind, needed=kind != "time") for kind in NAMES)
    users, items = _tokens(table, user), _tokens(table, item, missing=True)
    codes, first = pd.factorize(users)
    clicked = ~pd.isna(items)
    order = np.arange(len(table))
    if time is not None:
        moments = _moments(table, time, clicked)
        order = np.argsort(moments, kind="stable")
    histories: list[list[str]] = [[] for _ in first]
    for row in order[clicked[order]]:
        histories[codes[row]].append(items[row])
    for row in np.flatnonzero(~clicked):
        if histories[codes[row]]:
            raise UserError(f"row {row + 1} of the table has no {item}, and its user {users[row]!r} has other rows")
    rows = np.unique(codes, return_index=True)[1]
    return Histories(table[user].iloc[rows].reset_index(drop=True), histories, item, table[item].dtype)


def answers_frame(table: Histories, answers: Sequence[Answer]) -> pd.DataFrame:
    """A row for each recommended item: user, item, ``rank`` from 1, ``score`` and ``source``."""
    counts = [len(answer.items) for answer in answers]
    items = pd.Series([item for answer in answers for item in answer.items], dtype=object)
    if pd.api.types.is_numeric_dtype(table.item_type):
        with suppress(ValueError, OverflowError):  # the catalogue has other names than numbers
            items = items.astype("int64")
    columns = {
        table.users.name: table.users.repeat(counts).reset_index(drop=True),
        table.item_name: items,
        "rank": [rank for count in counts for rank in range(1, count + 1)],
        "score": [score for answer in answers for score in answer.scores],
        "source": [answer.source for answer, count in zip(answers, counts, strict=True) for _ in range(count)],
    }
    return pd.DataFrame(columns)


def write_dataset(table: pd.DataFrame, folder: str | Path, name: str) -> Path:
    """Write a table of interactions as ``folder/name/name.inter``, the file that RecBole reads.

    Parameters
    ----------
    table : pandas.DataFrame
        A row for each interaction; columns ``user``, ``item`` and ``timestamp`` (or ``user_id``, ``item_id`` and
        ``time``), further ones are left out. Users and items are text or whole numbers, times numbers or pandas' times
        (UTC where they have no zone), which become seconds.
    folder : str or pathlib.Path
        RecBole's ``data_path``.
    name : str

    Raises
    ------
    UserError
        For a column that is missing, a value that does not fit, or an earlier file with other content.
    """
    if not is_frame(table):
        raise UserError(f"interactions is {short(table)}; it must be a pandas DataFrame")
    if Path(name).name != name or name in ("", ".", ".."):
        raise UserError(f"dataset is {name!r}; it must be a name")
    user, item, time = (_column(table, kind) for kind in NAMES)
    if not len(table):
        raise UserError("interactions has no row")
    users, items = _tokens(table, user), _tokens(table, item)
    times = _times(table, time)
    path = make_folder(Path(folder) / name, "data set") / f"{name}.inter"
    lines = ["user_id:token\titem_id:token\ttimestamp:float", *map("\t".join, zip(users, items, times, strict=True))]
    text = "\n".join(lines) + "\n"
    if path.exists() and (not path.is_file() or path.read_bytes() != text.encode()):
        raise UserError(f"{path} exists already with other rows; remove it, or take another name or folder")
    with atomic_write(path, what="data set") as file:
        file.write(text)
    return path


def _column(table: pd.DataFrame, kind: str, needed: bool = True) -> Any:
    """The name of the column of users, items or times."""
    present = [name for name in NAMES[kind] if name in table.columns]
    if len(present) == 1 and list(table.columns).count(present[0]) == 1:
        return present[0]
    if present:
        raise UserError(f"the table has more than one column for the {kind}: {', '.join(present)}")
    if needed:
        have = ", ".join(map(str, table.columns)) or "none"
        raise UserError(f"the table has no column {' or '.join(map(repr, NAMES[kind]))}; it has {have}")
    return None


def _refuse(name: str, row: int, problem: str) -> UserError:
    return UserError(f"row {row + 1} of the table: {name} {problem}")


def _tokens(table: pd.DataFrame, name: str, missing: bool = False) -> np.ndarray:
    """A column of ids as text; None where an id is missing, if that is allowed."""
    column = table[name]
    values = column.to_numpy(dtype=object, na_value=None) if len(column) else np.empty(0, dtype=object)
    try:
        codes, distinct = pd.factorize(values)  # -1: missing
    except TypeError:  # a list, for example
        row = next((i for i, value in enumerate(values) if not isinstance(value, Hashable)), 0)
        raise _refuse(name, row, f"is {short(values[row])}, neither text nor a whole number") from None
    if not missing and (codes < 0).any():
        raise _refuse(name, int(np.argmax(codes < 0)), "is missing")
    tokens = np.empty(len(distinct) + 1, dtype=object)
    tokens[-1] = None
    for number, value in enumerate(distinct):
        # Whole numbers become floats where pandas has met a missing one.
        if isinstance(value, (float, np.floating)) and float(value).is_integer():
            value = int(value)
        try:
            if isinstance(value, (bool, np.bool_)) or not isinstance(value, (str, int, np.integer)):
                raise RowError(f"{name} is {short(value)}, neither text nor a whole number")
            check_token(name, str(value))
        except RowError as error:
            raise UserError(f"row {int(np.argmax(codes == number)) + 1} of the table: {error}") from None
        tokens[number] = str(value)
    return tokens[codes]


def _clock(table: pd.DataFrame, name: str) -> pd.Series:
    """The column of times: real numbers, or pandas' times with the zone UTC."""
    column = table[name]
    kinds = pd.api.types
    try:
        # pandas would take a number among objects for nanoseconds.
        if kinds.is_object_dtype(column) and any(isinstance(value, Number) for value in column.dropna()):
            column = pd.to_numeric(column)
        if kinds.is_numeric_dtype(column) and not (kinds.is_bool_dtype(column) or kinds.is_complex_dtype(column)):
            return column
        return pd.to_datetime(column, utc=True)
    except pd.errors.OutOfBoundsDatetime:  # pandas before 3 counts in nanoseconds from here on
        raise _too_far(name) from None
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{name} of the table holds neither numbers nor times: {error}") from None


def _too_far(name: str) -> UserError:
    return UserError(f"{name} of the table holds a time before 1678 or after 2261")


def _moments(table: pd.DataFrame, name: str, needed: np.ndarray) -> np.ndarray:
    """Times that can be ordered: numbers or pandas' times; only those of the rows in ``needed`` must be there."""
    column = _clock(table, name)
    lacking = needed & column.isna().to_numpy()
    if lacking.any():
        raise _refuse(name, int(np.argmax(lacking)), "is missing")
    if pd.api.types.is_numeric_dtype(column):
        # No row without a time is looked at.
        return column.fillna(0).to_numpy(dtype="int64" if pd.api.types.is_integer_dtype(column) else "float64")
    return column.dt.tz_localize(None).to_numpy()


def _times(table: pd.DataFrame, name: str) -> list[str]:
    """Times as an atomic file writes them."""
    _moments(table, name, np.ones(len(table), dtype=bool))
    column = _clock(table, name)
    if pd.api.types.is_integer_dtype(column):
        return [str(value) for value in column]
    if pd.api.types.is_numeric_dtype(column):
        finite = np.isfinite(column.to_numpy(dtype=float))
        if not finite.all():
            raise _refuse(name, int(np.argmin(finite)), "is no finite number")
        return [repr(float(value)) for value in column]
    epoch = pd.Timestamp(0, tz=datetime.timezone.utc)
    try:
        nanoseconds = ((column.dt.as_unit("ns") - epoch) // pd.Timedelta(1, "ns")).tolist()
    except pd.errors.OutOfBoundsDatetime:
        raise _too_far(name) from None
    return [unit_seconds(str(value), "ns") for value in nanoseconds]
