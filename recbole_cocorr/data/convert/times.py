"""Times of raw files as seconds since 1970: dates, and numbers of seconds or of a part of one."""

import re
from datetime import datetime
from decimal import Decimal

from recbole_cocorr.data.convert.rows import RowError, number_text, short

# Decimal places by which a unit is smaller than a second.
UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
# Seconds reach this in the year 5138; a time in milliseconds was this large in March 1973.
_SECONDS_END = 1e11

_EPOCH = datetime(1970, 1, 1)
_DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,18}))?)?(?: ?(Z|UTC|[+-]\d\d(?::?\d\d)?))?)?",
    re.ASCII,
)


def iso_seconds(what: str, value: object) -> str:
    """Seconds since 1970 of a date, with or without a time of day; UTC where it names no other zone.

    Parameters
    ----------
    what : str
        The name of the field, for the message.
    value : object
        Such as ``2018-07-07``, ``2018-07-07 22:09:11``, ``2010-10-19T23:55:27Z`` or ``2018-07-07T22:09:11.5+02:00``.

    Raises
    ------
    RowError
        If it is anything else, or no such day or time exists.
    """
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    try:
        if match is None:
            raise ValueError
        *numbers, fraction, zone = match.groups()
        elapsed = datetime(*(int(part or 0) for part in numbers)) - _EPOCH
        seconds = elapsed.days * 86400 + elapsed.seconds - _offset(zone)
    except ValueError:
        raise RowError(f"{what} is {short(value)}, not YYYY-MM-DD or YYYY-MM-DD HH:MM:SS") from None
    return str(seconds) if fraction is None else _plain(seconds + Decimal(f"0.{fraction}"))


def _offset(zone: str | None) -> int:
    """Seconds by which a zone's clocks are ahead of UTC."""
    if zone in (None, "Z", "UTC"):
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        raise ValueError
    return (-1 if zone[0] == "-" else 1) * (hours * 3600 + minutes * 60)


def unit_seconds(number: str, unit: str) -> str:
    """A finite number of units, as text, in seconds: exact."""
    return number if unit == "s" else _plain(Decimal(number).scaleb(-UNITS[unit]))


def milliseconds(what: str, text: str) -> str:
    """Seconds of a time in milliseconds; one before March 1973 is refused, since it is rather in seconds.

    Raises
    ------
    RowError
    """
    number = number_text(what, text)
    if abs(float(number)) < _SECONDS_END:
        raise RowError(f"{what} is {number}, which is too small for milliseconds since 1970")
    return unit_seconds(number, "ms")


def _plain(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def unit_of(number: str) -> str:
    """The unit in which a time of our days has this size."""
    size = abs(float(number))
    return next((unit for unit, places in UNITS.items() if size < _SECONDS_END * 10**places), "ns")


class Clock:
    """Times of one file, whose first one says what all are: dates, or numbers in a unit that their size shows.

    Parameters
    ----------
    unit : str, optional
        One of ``UNITS``: what numbers are, whatever their size.
    """

    def __init__(self, unit: str | None = None):
        self.unit = unit
        self._kind: str | None = None

    def seconds(self, what: str, text: str) -> str:
        """Seconds since 1970 of a date or a number.

        Raises
        ------
        RowError
            If it is neither, or something else than the first one was.
        """
        if text[4:5] == "-" and text[:4].isdigit():
            kind, seconds = "dates", iso_seconds(what, text)
        else:
            try:
                number = number_text(what, text)
            except RowError:
                raise RowError(
                    f"{what} is {short(text)}, neither a number nor a date such as 2018-07-07 22:09:11"
                ) from None
            kind = self.unit or unit_of(number)
            seconds = unit_seconds(number, kind)
        self._kind = self._kind or kind
        if kind != self._kind:
            here, first = (k if k == "dates" else f"numbers in {k}" for k in (kind, self._kind))
            raise RowError(f"{what} is {short(text)}, which looks like {here}, and the first row has {first}")
        return seconds
