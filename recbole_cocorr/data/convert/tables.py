"""Tables as text: fields between separators, quoted or not, found by the header's names or by their places."""

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_cocorr.data.convert.rows import Row, RowError, WrongFormat, number_text, short
from recbole_cocorr.data.convert.source import lines
from recbole_cocorr.data.convert.times import Clock, milliseconds

SEPARATORS = (",", "\t", ";", "|", " ")


@dataclass(frozen=True)
class Table:
    """How to read user, item, rating and time from a table.

    Attributes
    ----------
    user, item : str or int
        Names of columns in the header, or, in a file without a header, places from 1.
    time, rating : str or int, optional
    unit : str, optional
        Unit of the times, see :class:`~recbole_cocorr.data.convert.times.Clock`.
    separators : sequence of str
        Those that the file may have; which one it has is seen from the first line.
    times : callable, optional
        Reads a field as seconds, in place of a ``Clock``.
    notes : dict, optional
        What to tell the user where a file has a column of this name.
    """

    user: str | int
    item: str | int
    time: str | int | None = None
    rating: str | int | None = None
    unit: str | None = None
    separators: Sequence[str] = SEPARATORS
    times: Callable[[str, str], str] | None = None
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def columns(self) -> list[str | int]:
        """The columns that are read."""
        return [c for c in (self.user, self.item, self.rating, self.time) if c is not None]

    def read(
        self,
        path: Path,
        encoding: str,
        progress: Callable[[int], object] | None = None,
        notes: list[str] | None = None,
    ) -> Iterator[tuple[int, Row | ValueError]]:
        """Rows with the number of their first line; what is wrong with one comes in its place.

        Raises
        ------
        WrongFormat
            If the header has not the columns.
        UserError
            If the file cannot be read.
        """
        source = _texts(path, encoding, progress)
        first = next(((number, text) for number, text in source if not _blank(text)), None)
        if first is None:
            return
        number, text = first
        if isinstance(text, ValueError):
            yield number, text
            return
        separator = self._separator(path, number, text)
        rows = records(source, separator, first)
        names: list[str] = []
        if isinstance(self.user, str):
            header = next(rows)[1]  # it was split once, to find the separator
            names = [name.strip() for name in header]
            places = [None if c is None else names.index(c) for c in (self.user, self.item, self.rating, self.time)]
            if notes is not None:
                notes += [note for name, note in self.notes if name in names]
        else:
            names = [""] * len(_split(text, separator))
            places = [None if c is None else c - 1 for c in (self.user, self.item, self.rating, self.time)]
        user, item, rating, time = places
        seconds = self.times or Clock(self.unit).seconds
        what = f"column {self.time}" if isinstance(self.time, int) else self.time
        for number, fields in rows:
            if isinstance(fields, ValueError):
                yield number, fields
                continue
            try:
                if len(fields) != len(names):
                    raise RowError(f"{len(fields)} field{'s' * (len(fields) != 1)} instead of {len(names)}")
                row = (
                    fields[user],
                    fields[item],
                    "" if rating is None else number_text("rating", fields[rating]),
                    # A row without an item is no click, and needs no time.
                    ""
                    if time is None or not (fields[item].strip() or fields[time].strip())
                    else seconds(what, fields[time]),
                )
            except RowError as error:
                yield number, error
            else:
                yield number, row

    def _separator(self, path: Path, number: int, text: str) -> str:
        """The separator that gives the first line all columns."""
        best: list[str] = []
        for separator in self.separators:
            try:
                fields = [name.strip() for name in _split(text, separator)]
            except RowError:
                continue
            if all((isinstance(c, int) and c <= len(fields)) or fields.count(c) == 1 for c in self.columns):
                return separator
            best = max(best, fields, key=len)
        if isinstance(self.user, int):
            raise WrongFormat(
                f"{path}, line {number}: {len(best)} field{'s' * (len(best) != 1)}, and the columns "
                f"{', '.join(map(str, self.columns))} are asked for"
            )
        missing = next((c for c in self.columns if best.count(c) != 1), self.user)
        trouble = f"two columns {missing!r}" if missing in best else f"no column {missing!r}"
        raise WrongFormat(f"{path}, line {number}: the header has {trouble}; it has {short(', '.join(best))}")


def csv_fields(line: str) -> list[str]:
    """The fields of one line between commas; raises RowError where quotation marks do not match on it."""
    if '"' not in line:
        return line.split(",")
    if line.count('"') % 2:  # also both halves of a field that was quoted for a line break in it
        raise RowError("a quotation mark is not closed on its line")
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise RowError(f"the quotation marks do not match ({error})") from None


def any_table(columns: str, unit: str | None = None, needed: Sequence[str] = ("user", "item", "time")) -> Table:
    """The table that ``--columns`` describes.

    Parameters
    ----------
    columns : str
        ``user=NAME,item=NAME,time=NAME`` and, if wanted, ``rating=NAME``; all names are the header's, or, for a file
        without a header, all are numbers from 1.
    unit : str, optional
    needed : sequence of str
        What must be named.

    Raises
    ------
    RowError
        If it says something else.
    """
    given: dict[str, str | int] = {}
    for part in columns.split(","):
        key, mark, name = (text.strip() for text in part.partition("="))
        if key not in ("user", "item", "time", "rating") or not mark or not name:
            raise RowError(f"{short(part)} is not user=NAME, item=NAME, time=NAME or rating=NAME")
        if key in given:
            raise RowError(f"{key} is given twice")
        given[key] = name
    missing = [key for key in needed if key not in given]
    if missing:
        raise RowError(f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing")
    if len(set(given.values())) < len(given):
        raise RowError("a column is named twice")
    numbers = [name.isascii() and name.isdigit() and int(name[:6]) > 0 for name in given.values()]
    if all(numbers):
        given = {key: int(name[:6]) for key, name in given.items()}
    elif any(numbers):
        raise RowError("give either names of the header or, for a file without one, numbers from 1")
    return Table(**given, unit=unit)


def records(
    source: Iterator[tuple[int, str | ValueError]], separator: str, first: tuple[int, str | ValueError] | None = None
) -> Iterator[tuple[int, list[str] | ValueError]]:
    """Cut lines into fields; a quoted field may go over several lines.

    Parameters
    ----------
    source : iterator
        Numbers and lines with their ends, or what is wrong with a line.
    separator : str
    first : tuple, optional
        A line that was taken from ``source`` before.

    Yields
    ------
    tuple of int and list of str, or of int and ValueError
        The number of a record's first line, and its fields. Where quotation marks do not match the first line is
        given up alone: those after it are read anew, as records of their own.
    """
    waiting = deque([first] if first else [])

    def take() -> tuple[int, str | ValueError] | None:
        return waiting.popleft() if waiting else next(source, None)

    while (entry := take()) is not None:
        number, text = entry
        if isinstance(text, ValueError):
            yield number, text
            continue
        if _blank(text):
            continue
        if '"' not in text:
            yield number, text.rstrip("\r\n").split(separator)
            continue
        extra_lines: list[tuple[int, str | ValueError]] = []

        def lines(text: str = text, extra_lines: list = extra_lines) -> Iterator[str]:
            yield text
            while (entry := take()) is not None:
                extra_lines.append(entry)
                if isinstance(entry[1], ValueError):
                    raise entry[1]
                yield entry[1]

        try:
            # csv's limit of 128 KiB for one field ends the search for a quotation mark that is never closed.
            fields: list[str] | ValueError = next(csv.reader(lines(), delimiter=separator, strict=True))
        except (csv.Error, ValueError) as error:
            waiting.extendleft(reversed(extra_lines))
            fields = RowError(f"the quotation marks do not match ({error})")
        yield number, fields


def _split(text: str, separator: str) -> list[str]:
    entry = next(records(iter([]), separator, (1, text)))[1]
    if isinstance(entry, ValueError):
        raise entry
    return entry


def _blank(text: str | ValueError) -> bool:
    return isinstance(text, str) and (not text or text.isspace())


def _texts(
    path: Path, encoding: str, progress: Callable[[int], object] | None
) -> Iterator[tuple[int, str | ValueError]]:
    for number, line in lines(path, progress, whole=True):
        try:
            yield number, line.decode(encoding)
        except UnicodeDecodeError as error:
            yield number, error


AMAZON_2023 = Table(
    "user_id",
    "parent_asin",
    "timestamp",
    "rating",
    separators=",",
    times=milliseconds,
    notes=(
        (
            "history",
            "the column history is not read: a click is a row of its own; a part such as valid or test has one row a "
            "user, so take the file of all ratings where there is one",
        ),
    ),
)
