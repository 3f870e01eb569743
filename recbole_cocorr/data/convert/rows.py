"""What makes a token or a number good, and the error for one that is not."""

import math

from recbole_cocorr.base.errors import UserError

# User, item, rating ("" where the format has no ratings) and time in seconds.
Row = tuple[str, str, str, str]

# pandas, with which RecBole reads atomic files, takes these for a missing value: RecBole drops the row.
MISSING_VALUES = frozenset(
    [
        *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    ]
)
_FORBIDDEN = {"\t": "a tab", "\n": "a line break", "\r": "a carriage return", "\0": "a NUL character"}


class RowError(ValueError):
    """What is wrong with one row; the caller adds the file and the line."""


class WrongFormat(UserError):
    """A file that is not of its format as a whole; the caller adds which one it looks like."""


def short(value: object) -> str:
    """``repr`` of a value, cut to a length that fits into a message."""
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def check_token(what: str, token: str) -> None:
    """Refuse an id that an atomic file cannot hold or that RecBole would read as something else.

    Parameters
    ----------
    what
        The name of the field, for the message.
    token
        The id.

    Raises
    ------
    RowError
        If the id is empty, holds a tab, a line break, a NUL or half a character, begins with a
        quotation mark, is RecBole's padding token, or is spelled as pandas spells a missing value.
    """
    if not token or token.isspace():
        raise RowError(f"{what} is empty")
    for character, name in _FORBIDDEN.items():
        if character in token:
            raise RowError(f"{what} {short(token)} contains {name}, which an atomic file cannot hold")
    if token[0] == '"':
        raise RowError(f"{what} {short(token)} begins with a quotation mark, which RecBole would not read back")
    if token == "[PAD]":
        raise RowError(f"{what} '[PAD]' is the name of RecBole's padding")
    if token in MISSING_VALUES:
        raise RowError(f"{what} {short(token)} would be read by RecBole as a missing value")
    try:
        token.encode("utf-8")
    except UnicodeEncodeError:
        raise RowError(f"{what} {short(token)} contains half of a surrogate pair, which is no text") from None


def number_text(what: str, text: str) -> str:
    """The text of a finite decimal number, as it stands in the source, without surrounding blanks.

    Raises
    ------
    RowError
        If it is anything else.
    """
    if len(text) <= 15 and text.isascii() and text.isdigit():
        return text
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or "_" in text or not text.isascii():
        raise RowError(f"{what} is {short(text)}, not a number")
    if not math.isfinite(value):
        raise RowError(f"{what} is {short(text)}, not a finite number")
    return text.strip()


def number_value(what: str, value: object) -> str:
    """The text of a finite number out of JSON.

    Raises
    ------
    RowError
        If it is no number (true and "5" are not), infinite or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RowError(f"{what} is {short(value)}, not a number")
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise RowError(f"{what} is not a finite number")
    return repr(value)


def id_value(what: str, value: object) -> str:
    """The text of an id out of JSON: a string, or a whole number as its digits.

    Raises
    ------
    RowError
        If it is anything else.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # more digits than Python converts
            raise RowError(f"{what} is a number of too many digits") from None
    raise RowError(f"{what} is {short(value)}, not a string")
