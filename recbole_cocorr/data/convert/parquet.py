"""Yambda's flat parquet files, some rows at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.convert.rows import Row, RowError, WrongFormat, id_value, number_value
from recbole_cocorr.data.convert.source import open_binary

_COLUMNS = ("uid", "item_id", "timestamp")
_ROWS = 1 << 16


def read_yambda(
    path: Path,
    encoding: str,
    progress: Callable[[int], object] | None = None,
    notes: list[str] | None = None,
) -> Iterator[tuple[int, Row | ValueError]]:
    """Rows of a flat file, numbered from 1; ``encoding`` and ``notes`` have no meaning here.

    Raises
    ------
    WrongFormat
        If it is no parquet file, or one with other columns.
    UserError
        If pyarrow is not installed, or the file cannot be read.
    """
    with open_binary(path) as file:
        if file.peek(4)[:4] != b"PAR1":
            raise WrongFormat(f"{path} is no parquet file")
        try:
            import pyarrow
            from pyarrow.parquet import ParquetFile
        except ImportError:
            raise UserError(f"{path}: to read parquet needs pyarrow; pip install pyarrow brings it") from None
        try:
            table = ParquetFile(file)
            names = table.schema_arrow.names
            missing = [name for name in _COLUMNS if name not in names]
            if missing:
                raise WrongFormat(f"{path}: no column {' and no '.join(missing)}; it has {', '.join(names)[:100]}")
            total, reported, number = table.metadata.num_rows, 0, 0
            for batch in table.iter_batches(_ROWS, columns=list(_COLUMNS)):
                for values in zip(*(batch.column(name).to_pylist() for name in _COLUMNS), strict=True):
                    number += 1
                    yield number, _row(*values)
                if progress:
                    upto = path.stat().st_size * number // max(1, total)
                    progress(upto - reported)
                    reported = upto
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{path} is no whole parquet file ({' '.join(str(error).split())[:200]})") from None


def _row(user: object, item: object, time: object) -> Row | RowError:
    try:
        return id_value("uid", user), id_value("item_id", item), "", number_value("timestamp", time)
    except RowError as error:
        return error
