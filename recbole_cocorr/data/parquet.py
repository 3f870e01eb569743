"""Interactions from Parquet files as numbers: read some rows at a time, so that no text of a row is ever held.

pyarrow reads, and numbers the tokens of each part; parts are joined by their short lists of tokens alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr.base.errors import UserError

# Rows that are read at once.
_ROWS = 1 << 20
# Positions that are looked at once where each row needs eight bytes meanwhile.
_AT_ONCE = 1 << 24
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass
class Table:
    """Interactions in the order of the files.

    Attributes
    ----------
    users, items : numpy.ndarray of int32, shape [N]
        Places in the lists of tokens.
    times : numpy.ndarray of int64 or float64, shape [N]
        As the files have them.
    user_tokens, item_tokens : pyarrow.Array
        In any order; some may stand in no row.
    per_second : int
        Units of ``times`` in a second where the column has a type of time; 1 of plain numbers.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    user_tokens: Any
    item_tokens: Any
    per_second: int

    def __len__(self) -> int:
        return len(self.times)

    def keep(self, rows: np.ndarray) -> None:
        """Go on with some rows, named by a mask or by their numbers."""
        self.users, self.items, self.times = self.users[rows], self.items[rows], self.times[rows]


def parquet_files(folder: Path, name: str) -> list[Path]:
    """``NAME.parquet`` of a data set, or the files ``NAME.parquet/*.parquet`` in the order of their names."""
    path = folder / f"{name}.parquet"
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path] if path.exists() else []


def read_table(files: Sequence[Path], user: str, item: str, time: str) -> Table:
    """Read three columns.

    Parameters
    ----------
    files : sequence of pathlib.Path
        One after another; all have the same types.
    user, item : str
        Names of the columns of tokens: whole numbers or text.
    time : str
        Name of the column of times: whole numbers, floats, or a type of time.

    Raises
    ------
    UserError
        If pyarrow is not installed, a file cannot be read, a column is missing, doubled or of another type, or a row
        lacks a value; the sentence names the file and the row, counted from 1.
    """
    try:
        import pyarrow
    except ImportError:
        raise UserError(
            f"{files[0]}: pyarrow is not installed, and it reads Parquet; type: pip install 'recbole_cocorr[parquet]'"
        ) from None
    names = (user, item, time)
    kinds, total = _kinds(files, names)
    times, parts = np.empty(total, dtype=np.int64 if kinds[2] != "float" else np.float64), ([], [])
    begin = 0
    for batch in _batches(files, names):
        for part, column, kind in zip(parts, batch[:2], kinds[:2], strict=True):
            wanted = pyarrow.int64() if kind == "whole number" else pyarrow.large_string()
            part.append(column.cast(wanted).dictionary_encode())
        end = begin + len(batch[2])
        times[begin:end] = batch[2].cast(pyarrow.from_numpy_dtype(times.dtype)).to_numpy(zero_copy_only=False)
        begin = end
    if total == 0:
        raise UserError(f"{files[0]}: there is no interaction; write one row for each")
    (users, user_tokens), (items, item_tokens) = (_joined(part, total) for part in parts)
    pyarrow.default_memory_pool().release_unused()
    return Table(users, items, times, user_tokens, item_tokens, _PER_SECOND.get(kinds[2], 1))


def _joined(parts: list, total: int) -> tuple[np.ndarray, Any]:
    """Places in the joint list of tokens, int32 [total], and that list; ``parts`` is emptied."""
    import pyarrow

    joint = pyarrow.chunked_array(parts).unify_dictionaries()
    parts.clear()
    codes, begin = np.empty(total, dtype=np.int32), 0
    for chunk in joint.chunks:
        codes[begin : begin + len(chunk)] = chunk.indices.to_numpy(zero_copy_only=False)
        begin += len(chunk)
    return codes, joint.chunk(0).dictionary


def _kinds(files: Sequence[Path], names: tuple[str, str, str]) -> tuple[list[str], int]:
    """What each column holds, the same in all files, and how many rows there are."""
    from pyarrow.parquet import ParquetFile

    of_all, total = None, 0
    for path in files:
        with _readable(path), ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
        for name in names:
            if schema.names.count(name) != 1:
                what = "two columns" if name in schema.names else "no column"
                raise UserError(
                    f"{path}: {what} {name!r} among {', '.join(schema.names)[:200]}; have one, or name another with "
                    "USER_ID_FIELD, ITEM_ID_FIELD or TIME_FIELD"
                )
        types = [schema.field(name).type for name in names]
        kinds = [_kind(kind) for kind in types]
        for name, kind, type_, of_time in zip(names, kinds, types, (False, False, True), strict=True):
            allowed = ("whole number", "float", *_PER_SECOND) if of_time else ("whole number", "text")
            if kind not in allowed:
                wanted = "whole numbers, floats or timestamps" if of_time else "whole numbers or text"
                raise UserError(f"{path}: the column {name!r} has the type {type_}; it must hold {wanted}")
        if kinds != (of_all or kinds):
            raise UserError(
                f"{path}: its columns are {', '.join(kinds)}, those of {files[0]} {', '.join(of_all)}; write all files "
                "with the same types"
            )
        of_all, total = kinds, total + rows
    return of_all, total


def _kind(type_: Any) -> str:
    from pyarrow import types

    if types.is_dictionary(type_):
        type_ = type_.value_type
    if types.is_integer(type_):
        return "whole number"
    if types.is_floating(type_):
        return "float"
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return "text"
    return type_.unit if types.is_timestamp(type_) else str(type_)


def _batches(files: Sequence[Path], names: tuple[str, str, str]) -> Iterator[list]:
    """The three columns, some rows at a time, without gaps."""
    import pyarrow
    from pyarrow import compute
    from pyarrow.parquet import ParquetFile

    for path in files:
        first = 1
        with _readable(path), ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS, columns=list(names)):
                columns = [batch.column(name) for name in names]
                for name, column in zip(names, columns, strict=True):
                    # Types of time are never infinite, and cannot be asked.
                    floats = pyarrow.types.is_floating(column.type)
                    good = compute.is_finite(column) if floats else column.is_valid()
                    bad = compute.index(good.fill_null(False), False).as_py()
                    if bad >= 0:
                        value = column[bad].as_py()
                        what = "has no value" if value is None else f"is {value}, no finite number"
                        raise UserError(f"{path}, row {first + bad}: {name} {what}; leave the row out, or correct it")
                yield columns
                first += len(batch)


class _readable:
    """Inside, what pyarrow says of a file becomes a sentence that names the file."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        import pyarrow

        if isinstance(error, (pyarrow.ArrowException, OSError)):
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{self.path} is no whole Parquet file, or cannot be read ({reason})") from None


def first_places(values: np.ndarray, size: int) -> np.ndarray:
    """Where each whole number below ``size`` stands first in ``values``; ``len(values)`` for one that does not."""
    first = np.full(size, len(values), dtype=np.int64)
    for end in range(len(values), 0, -_AT_ONCE):
        begin = max(0, end - _AT_ONCE)
        first[values[begin:end][::-1]] = np.arange(end - 1, begin - 1, -1)  # of repeats the last one stays
    return first


def numbered(codes: np.ndarray, tokens: Any) -> tuple[np.ndarray, Any]:
    """Number tokens from 1 in the order in which they come, as RecBole does.

    Parameters
    ----------
    codes : numpy.ndarray of int32, shape [N]
        Places in ``tokens``.
    tokens : pyarrow.Array

    Returns
    -------
    tuple
        Numbers, int32 [N], and the tokens by number, as text; number 0 is not among them.
    """
    import pyarrow

    first = first_places(codes, len(tokens))
    order = np.argsort(first, kind="stable")[: int((first < len(codes)).sum())]
    number = np.zeros(len(tokens), dtype=np.int32)
    number[order] = np.arange(1, len(order) + 1, dtype=np.int32)
    return number[codes], tokens.take(pyarrow.array(order)).cast(pyarrow.large_string())
