"""The raw formats: how one line becomes user, item, rating and timestamp."""

import ast
import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from recbole_cocorr.data.convert.rows import RowError, id_value, number_text, number_value, short

Row = tuple[str, str, str, str]

_EPOCH = datetime(1970, 1, 1)
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d))?", re.ASCII)
# Python's parser needs many times the length of a literal.
_LITERAL_LIMIT = 2**20


@dataclass(frozen=True)
class Format:
    """One raw format.

    Attributes
    ----------
    name : str
        Value of ``--format``.
    source : str
        Where such files come from, for the help text.
    parse : callable
        Takes a line, returns user, item, rating and timestamp as texts or raises RowError.
    shape : str
        What a line should be, for error messages.
    side_files : bool
        Whether ``movies.dat`` and ``users.dat`` may lie beside the file.
    """

    name: str
    source: str
    parse: Callable[[str], Row]
    shape: str
    side_files: bool = False


def _four(fields: list[str], names: str) -> list[str]:
    if len(fields) != 4:
        raise RowError(f"{len(fields)} field{'s' * (len(fields) != 1)} instead of 4 ({names})")
    return fields


def _csv_fields(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    if line.count('"') % 2:  # also both halves of a field that was quoted for a line break in it
        raise RowError("a quotation mark is not closed on its line")
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise RowError(f"the quotation marks do not match ({error})") from None


def parse_amazon_ratings(line: str) -> Row:
    """``user,item,rating,timestamp`` (Amazon 2014, ratings only)."""
    user, item, rating, time = _four(_csv_fields(line), "user,item,rating,timestamp")
    return user, item, number_text("rating", rating), number_text("timestamp", time)


def parse_amazon_ratings_2018(line: str) -> Row:
    """``item,user,rating,timestamp`` (Amazon 2018, ratings only)."""
    item, user, rating, time = _four(_csv_fields(line), "item,user,rating,timestamp")
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
        str(epoch_seconds("date", record["date"])),
    )


def epoch_seconds(what: str, value: object) -> int:
    """Seconds since 1970 of ``YYYY-MM-DD`` or ``YYYY-MM-DD HH:MM:SS`` in UTC.

    Raises
    ------
    RowError
        If it is anything else, or no such day or time exists.
    """
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    try:
        if match is None:
            raise ValueError
        moment = datetime(*(int(part) for part in match.groups("0")))
    except ValueError:
        raise RowError(f"{what} is {short(value)}, not YYYY-MM-DD or YYYY-MM-DD HH:MM:SS") from None
    difference = moment - _EPOCH
    return difference.days * 86400 + difference.seconds


def _record(line: str, names: tuple[str, ...], literal: bool) -> dict:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        record = _literal(line) if literal else None
        if record is None:
            problem = error.msg if isinstance(error, json.JSONDecodeError) else "numbers or nesting too long"
            place = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise RowError(f"not a JSON object ({problem}{place})") from None
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


FORMATS = {
    format.name: format
    for format in (
        Format(
            "amazon-ratings",
            "Amazon 2014, ratings_<Category>.csv",
            parse_amazon_ratings,
            "user,item,rating,timestamp, without a header line",
        ),
        Format(
            "amazon-ratings-2018",
            "Amazon 2018, <Category>.csv",
            parse_amazon_ratings_2018,
            "item,user,rating,timestamp, without a header line",
        ),
        Format(
            "amazon-5core",
            "Amazon reviews, reviews_<Category>_5.json.gz",
            parse_amazon_5core,
            "one JSON object with reviewerID, asin, overall and unixReviewTime",
        ),
        Format(
            "yelp",
            "Yelp, yelp_academic_dataset_review.json",
            parse_yelp,
            "one JSON object with user_id, business_id, stars and date",
        ),
        Format(
            "movielens-dat",
            "MovieLens 1M and 10M, ratings.dat",
            parse_movielens,
            "user::item::rating::timestamp",
            side_files=True,
        ),
    )
}
