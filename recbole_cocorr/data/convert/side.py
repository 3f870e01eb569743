"""MovieLens' ``movies.dat`` or ``movies.csv``, and ``users.dat``, as ``.item`` and ``.user``."""

import csv
import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.convert.rows import RowError
from recbole_cocorr.data.convert.source import lines
from recbole_cocorr.data.convert.tables import csv_fields

_TITLE_AND_YEAR = re.compile(r"(.*?)\s*\((\d{4})\)", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class SideFile:
    """One file beside the interactions.

    Attributes
    ----------
    source : str
        Its name.
    suffix : str
        What it becomes: "item" or "user".
    header : list of str
        RecBole's typed column names, the id first.
    parse : callable
        Takes a line, returns one text per column or raises RowError.
    shape : str
        What a line should be, for error messages.
    header_line : str
        A first line that is left out.
    """

    source: str
    suffix: str
    header: list[str]
    parse: Callable[[str], list[str]]
    shape: str
    header_line: str = ""


def _parse_movie(line: str) -> list[str]:
    fields = line.split("::")
    if len(fields) < 3:
        raise RowError(f"{len(fields)} field{'s' * (len(fields) != 1)} instead of 3")
    return _movie(fields[0], "::".join(fields[1:-1]), fields[-1])


def _parse_movie_csv(line: str) -> list[str]:
    fields = csv_fields(line)
    if len(fields) != 3:
        raise RowError(f"{len(fields)} field{'s' * (len(fields) != 1)} instead of 3")
    return _movie(*fields)


def _movie(item: str, title: str, genres: str) -> list[str]:
    year = ""
    if match := _TITLE_AND_YEAR.fullmatch(title.strip()):
        title, year = match.groups()
    return [item, title, year, "" if genres == "(no genres listed)" else genres.replace("|", " ")]


def _parse_user(line: str) -> list[str]:
    fields = line.split("::")
    if len(fields) != 5:
        raise RowError(f"{len(fields)} field{'s' * (len(fields) != 1)} instead of 5")
    user, gender, age, occupation, zip_code = fields
    return [user, age, gender, occupation, zip_code]


_MOVIE_COLUMNS = ["item_id:token", "movie_title:token_seq", "release_year:token", "genre:token_seq"]
SIDE_FILES = (
    SideFile(
        "movies.csv",
        "item",
        _MOVIE_COLUMNS,
        _parse_movie_csv,
        "movieId,title,genres",
        header_line="movieId,title,genres",
    ),
    SideFile(
        "movies.dat",
        "item",
        _MOVIE_COLUMNS,
        _parse_movie,
        "item::title (year)::genre|genre",
    ),
    SideFile(
        "users.dat",
        "user",
        ["user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"],
        _parse_user,
        "user::gender::age::occupation::zip code",
    ),
)


def write_side_file(
    side: SideFile, source: Path, target: TextIO, known: Container[str], encoding: str | None, skip: bool
) -> tuple[int, int]:
    """Write the rows of those users or items that occur in the interactions.

    Others would become items of RecBole's that nobody ever chose. Of several rows with one id the
    first stays.

    Parameters
    ----------
    side
        Which file.
    source
        Its path.
    target
        A text file opened with ``newline=""``.
    known
        The ids that occur.
    encoding
        None: UTF-8 if the whole file is valid UTF-8 (MovieLens 10M), else Latin-1 (1M).
    skip
        Whether a bad row is counted rather than refused.

    Returns
    -------
    tuple of int
        Rows written and rows skipped as bad.

    Raises
    ------
    UserError
        If the file cannot be read, or a row is bad and ``skip`` is not set.
    """
    encoding = encoding or ("utf-8" if _is_utf8(source) else "latin-1")
    # Quotation marks are doubled and quoted, as pandas undoes it; some titles begin with one.
    writer = csv.writer(target, delimiter="\t", lineterminator="\n")
    writer.writerow(side.header)
    written = skipped = 0
    seen: set[str] = set()
    for number, fields in _rows(side, source, encoding):
        if isinstance(fields, RowError):
            if not skip:
                raise UserError(f"{source}, line {number}: {fields}; expected {side.shape}") from None
            skipped += 1
        elif fields[0] in known and fields[0] not in seen:
            seen.add(fields[0])
            writer.writerow([fields[0], *(" ".join(field.replace("\0", "").split()) for field in fields[1:])])
            written += 1
    return written, skipped


def _rows(side: SideFile, source: Path, encoding: str) -> Iterator[tuple[int, list[str] | RowError]]:
    for number, line in lines(source):
        if number == 1 and line == side.header_line.encode():
            continue
        try:
            yield number, side.parse(line.decode(encoding))
        except UnicodeDecodeError as error:
            yield number, RowError(f"byte {error.start + 1} is not {encoding}")
        except RowError as error:
            yield number, error


def _is_utf8(path: Path) -> bool:
    try:
        for _, line in lines(path):
            line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
