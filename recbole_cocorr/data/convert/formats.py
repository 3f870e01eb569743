"""The raw formats: how one record becomes user, item, rating and time."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import parse_json
from recbole_cocorr.data.convert.parquet import read_yambda
from recbole_cocorr.data.convert.rows import Row, RowError, id_value, number_text, number_value, short
from recbole_cocorr.data.convert.source import lines
from recbole_cocorr.data.convert.tables import AMAZON_2023, Table, any_table, csv_fields
from recbole_cocorr.data.convert.times import iso_seconds, milliseconds

# Python's parser needs many times the length of a literal.
_LITERAL_LIMIT = 2**20
# An id of the format sequences. Other signs stand for another format.
_PLAIN_ID = re.compile(r"[\w.-]+")
# Rows by which a file is recognised.
_SAMPLE = 20

# Path, encoding, progress, notes -> number and row, or number and what is wrong.
Reader = Callable[..., Iterator[tuple[int, Row | ValueError]]]


@dataclass(frozen=True)
class Format:
    """One raw format.

    Attributes
    ----------
    name : str
        Value of ``--format``.
    source : str
        Where such files come from, for the help text.
    read : callable
        Takes a path, an encoding, a function for progress and a list for notes. Yields the number of a record's
        first line with its user, item, rating ("" without one) and time, or with a RowError or UnicodeDecodeError.
    shape : str
        What a record should be, for error messages.
    rated : bool
        Whether there are ratings.
    counted : str
        What a record's number counts.
    side_files : tuple of str
        Names of the files that may lie beside it, see :mod:`recbole_cocorr.data.convert.side`.
    """

    name: str
    source: str
    read: Reader
    shape: str
    rated: bool = True
    counted: str = "line"
    side_files: tuple[str, ...] = ()


def by_line(parse: Callable[[str], Row]) -> Reader:
    """A reader of files with a record in each line, which ``parse`` takes apart or refuses with a RowError."""

    def read(
        path: Path, encoding: str, progress: Callable[[int], object] | None = None, notes: list[str] | None = None
    ) -> Iterator[tuple[int, Row | ValueError]]:
        for number, line in lines(path, progress):
            try:
                row = parse(line.decode(encoding))
            except (RowError, UnicodeDecodeError) as error:
                yield number, error
            else:
                yield number, row

    return read


def looks_like(path: Path, encoding: str, but: str) -> str:
    """The formats, other than ``but``, that read a file's first rows: "--format a or --format b", or ""."""
    options = []
    for format in FORMATS.values():
        if format.name in (but, "csv"):
            continue
        try:
            rows = [row for _, row in islice(format.read(path, encoding), _SAMPLE)]
        except UserError:
            continue
        if rows and not any(isinstance(row, ValueError) for row in rows):
            options.append(f"--format {format.name}")
    return " or ".join(options)


def _four(fields: list[str], names: str) -> list[str]:
    if len(fields) != 4:
        raise RowError(f"{len(fields)} field{'s' * (len(fields) != 1)} instead of 4 ({names})")
    return fields


def parse_amazon_ratings(line: str) -> Row:
    """``user,item,rating,timestamp`` (Amazon 2014, ratings only)."""
    user, item, rating, time = _four(csv_fields(line), "user,item,rating,timestamp")
    return user, item, number_text("rating", rating), number_text("timestamp", time)


def parse_amazon_ratings_2018(line: str) -> Row:
    """``item,user,rating,timestamp`` (Amazon 2018, ratings only)."""
    item, user, rating, time = _four(csv_fields(line), "item,user,rating,timestamp")
    return user, item, number_text("rating", rating), number_text("timestamp", time)


def parse_movielens(line: str) -> Row:
    """``user::item::rating::timestamp`` (MovieLens ``ratings.dat``)."""
    user, item, rating, time = _four(line.split("::"), "user::item::rating::timestamp")
    return user, item, number_text("rating", rating), number_text("timestamp", time)


def parse_amazon_5core(line: str) -> Row:
    """A JSON object, or a Python dict as in the oldest files, with Amazon's field names."""
    record = _record(line, ("reviewerID", "asin", "overall", "unixReviewTime"), literal=True)
    return (
        id_value("reviewerID", record["reviewerID"]),
        id_value("asin", record["asin"]),
        number_value("overall", record["overall"]),
        number_value("unixReviewTime", record["unixReviewTime"]),
    )


def parse_yelp(line: str) -> Row:
    """A JSON object with Yelp's field names; the date is taken as UTC."""
    record = _record(line, ("user_id", "business_id", "stars", "date"), literal=False)
    return (
        id_value("user_id", record["user_id"]),
        id_value("business_id", record["business_id"]),
        number_value("stars", record["stars"]),
        iso_seconds("date", record["date"]),
    )


def parse_amazon_2023(line: str) -> Row:
    """A JSON object with the field names of Amazon Reviews 2023; the item is the product that variants share."""
    record = _record(line, ("user_id", "parent_asin", "rating", "timestamp"), literal=False)
    return (
        id_value("user_id", record["user_id"]),
        id_value("parent_asin", record["parent_asin"]),
        number_value("rating", record["rating"]),
        milliseconds("timestamp", number_value("timestamp", record["timestamp"])),
    )


def parse_steam(line: str) -> Row:
    """A Python dict with Steam's field names (some copies: a JSON object); the day is all there is of the time."""
    record = _record(line, ("username", "product_id", "date"), literal=True)
    return (
        id_value("username", record["username"]),
        id_value("product_id", record["product_id"]),
        "",
        iso_seconds("date", record["date"]),
    )


def parse_gowalla(line: str) -> Row:
    """``user, time, latitude, longitude, place`` between tabs; the place is the item."""
    fields = line.split("\t")
    if len(fields) != 5:
        raise RowError(f"{len(fields)} field{'s' * (len(fields) != 1)} instead of 5 between tabs")
    return fields[0], fields[4], "", iso_seconds("the time", fields[1])


def parse_movielens_100k(line: str) -> Row:
    """``user, item, rating, timestamp`` between tabs (MovieLens 100K, ``u.data``)."""
    user, item, rating, time = _four(line.split("\t"), "user, item, rating, timestamp between tabs")
    return user, item, number_text("rating", rating), number_text("timestamp", time)


def read_sequences(
    path: Path, encoding: str, progress: Callable[[int], object] | None = None, notes: list[str] | None = None
) -> Iterator[tuple[int, Row | ValueError]]:
    """``user item item ...`` between blanks, oldest item first; the time of an item is its place in the user's history.

    A further line of a user goes on where the one before ended: SASRec's files have a line for each item.
    """
    lengths: dict[str, int] = {}
    for number, line in lines(path, progress):
        try:
            user, *items = line.decode(encoding).strip().split(" ")
            _check_sequence(user, items)
        except (RowError, UnicodeDecodeError) as error:
            yield number, error
            continue
        before = lengths.get(user, 0)
        lengths[user] = before + len(items)
        for place, item in enumerate(items, before + 1):
            yield number, (user, item, "", str(place))


def _check_sequence(user: str, items: list[str]) -> None:
    for one in (user, *items):
        if not _PLAIN_ID.fullmatch(one):
            raise RowError(f"{short(one)} is no id of letters, digits, '-', '_' and '.' between single blanks")
    if not items:
        raise RowError(f"the user {short(user)} has no item")


def _record(line: str, names: tuple[str, ...], literal: bool) -> dict:
    try:
        record = parse_json(line, "it", nan=True)
    except UserError as error:
        record = _literal(line) if literal else None
        if record is None:
            problem = str(error).partition(": ")[2] or str(error)
            raise RowError(f"not a JSON object ({problem})") from None
    if not isinstance(record, dict):
        raise RowError(f"{_KINDS.get(type(record), 'a number')} instead of a JSON object")
    missing = [name for name in names if name not in record]
    if missing:
        raise RowError(f"no {' and no '.join(missing)}")
    return record


_KINDS = {list: "a list", str: "a string", type(None): "null", bool: "true or false"}


def _literal(line: str) -> dict | None:
    """The dict that a line spells as a Python literal, or None. Nothing in the line is executed."""
    if not line.lstrip().startswith("{") or len(line) > _LITERAL_LIMIT:
        return None
    try:
        value = ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def any_csv(columns: str | None, unit: str | None) -> Format:
    """The format ``csv`` with the columns that ``--columns`` names.

    Raises
    ------
    UserError
        If they are missing or make no sense.
    """
    example = "user=user_id,item=item_id,time=timestamp"
    if not columns:
        raise UserError(f"the format csv needs the columns; say for example --columns {example}")
    try:
        table = any_table(columns, unit)
    except RowError as error:
        raise UserError(f"--columns {columns}: {error}; it is for example {example}") from None
    shape = f"a table with the columns {', '.join(map(str, table.columns))}"
    return Format("csv", FORMATS["csv"].source, table.read, shape, rated=table.rating is not None)


_HEADER_AND = "a header line and rows of "
FORMATS = {
    format.name: format
    for format in (
        Format(
            "amazon-ratings",
            "Amazon 2014, ratings_<Category>.csv",
            by_line(parse_amazon_ratings),
            "user,item,rating,timestamp, without a header line",
        ),
        Format(
            "amazon-ratings-2018",
            "Amazon 2018, <Category>.csv",
            by_line(parse_amazon_ratings_2018),
            "item,user,rating,timestamp, without a header line",
        ),
        Format(
            "amazon-5core",
            "Amazon reviews, reviews_<Category>_5.json.gz",
            by_line(parse_amazon_5core),
            "one JSON object with reviewerID, asin, overall and unixReviewTime",
        ),
        Format(
            "amazon-2023",
            "Amazon Reviews 2023, <Category>.jsonl.gz",
            by_line(parse_amazon_2023),
            "one JSON object with user_id, parent_asin, rating and timestamp",
        ),
        Format(
            "amazon-2023-csv",
            "Amazon Reviews 2023, <Category>.csv.gz, with or without history",
            AMAZON_2023.read,
            _HEADER_AND + "user_id,parent_asin,rating,timestamp",
        ),
        Format(
            "yelp",
            "Yelp, yelp_academic_dataset_review.json",
            by_line(parse_yelp),
            "one JSON object with user_id, business_id, stars and date",
        ),
        Format(
            "movielens-dat",
            "MovieLens 1M and 10M, ratings.dat",
            by_line(parse_movielens),
            "user::item::rating::timestamp",
            side_files=("movies.dat", "users.dat"),
        ),
        Format(
            "movielens-csv",
            "MovieLens 20M to 32M and latest, ratings.csv",
            Table("userId", "movieId", "timestamp", "rating", unit="s", separators=",").read,
            _HEADER_AND + "userId,movieId,rating,timestamp",
            side_files=("movies.csv",),
        ),
        Format(
            "movielens-100k",
            "MovieLens 100K, u.data",
            by_line(parse_movielens_100k),
            "user, item, rating and timestamp between tabs",
        ),
        Format(
            "steam",
            "Steam, steam_reviews.json.gz",
            by_line(parse_steam),
            "one Python dict or JSON object with username, product_id and date",
            rated=False,
        ),
        Format(
            "gowalla",
            "Gowalla, loc-gowalla_totalCheckins.txt.gz (Brightkite too)",
            by_line(parse_gowalla),
            "user, time, latitude, longitude and place between tabs",
            rated=False,
        ),
        Format(
            "yambda",
            "Yambda, flat/*/likes.parquet (needs pyarrow)",
            read_yambda,
            "a flat parquet file with uid, item_id and timestamp",
            rated=False,
            counted="row",
        ),
        Format(
            "sequences",
            "preprocessed histories of S3-Rec, BSARec or SASRec, Beauty.txt",
            read_sequences,
            "a user and its items, oldest first, between blanks",
            rated=False,
        ),
        Format("csv", "any table with separators; --columns names its columns", Table(1, 2, 3).read, "a table", False),
    )
}
