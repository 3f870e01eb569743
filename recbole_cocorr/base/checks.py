"""Arguments of the library's functions: each check returns its value, or raises a UserError."""

import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_cocorr.base.errors import UserError

MOST_THREADS = 256


def shown(value: Any) -> str:
    """A value as an error shows it: short, whatever it is."""
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    try:
        text = repr(value)
    except Exception:  # the caller's own class may raise anything
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def checked_path(value: Any, name: str) -> Path:
    """The path of a file or a folder, which need not be there.

    Raises
    ------
    UserError
        If it is no path: of another type, empty, with a NUL or a line break, or one that the system refuses to look at.
    """
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise UserError(f"{name} is {shown(value)}; it must be a path")
    text = os.fspath(value)
    if not text:
        raise UserError(f"{name} is empty; it must be a path")
    if text.splitlines() != [text]:  # the sentences that name it are one line each
        raise UserError(f"{name} is {shown(text)}; a path here has no line break")
    try:
        os.stat(text)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # ValueError: a NUL, or what the system's encoding lacks
        reason = getattr(error, "strerror", None) or "it holds a character that no path has"
        raise UserError(f"{name} is {shown(text)}, which cannot be used: {reason}") from None
    return Path(text)


def checked_whole(value: Any, name: str, least: int, most: int | None = None) -> int:
    """A whole number from ``least`` to ``most``; numpy's count too, booleans do not."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or (most is not None and number > most):
        right = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{name} is {shown(value)}; it must be a whole number {right}")
    return number


def checked_number(value: Any, name: str, right: str, least: float, most: float) -> float:
    """A number from ``least`` to ``most``; ``right`` says in words what it must be."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= most:
        raise UserError(f"{name} is {shown(value)}; it must be {right}")
    return float(value)


def checked_choice(value: Any, name: str, choices: Sequence[str]) -> str:
    """One of some names."""
    if not isinstance(value, str) or value not in choices:
        raise UserError(f"{name} is {shown(value)}; it must be one of {', '.join(choices)}")
    return value


def checked_flag(value: Any, name: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise UserError(f"{name} is {shown(value)}; it must be True or False")
    return value


def checked_mapping(value: Any, name: str, known: Iterable[str]) -> dict[str, Any]:
    """Settings by name, all of them known."""
    if not isinstance(value, Mapping):
        raise UserError(f"{name} is {shown(value)}; it must be a dict of settings")
    known = set(known)
    for key in value:
        if not isinstance(key, str) or key not in known:
            raise UserError(f"{name} has no setting {shown(key)}; it has {', '.join(sorted(known))}")
    return dict(value)


def token_of(item: Any, name: str = "an item") -> str:
    """An item's token."""
    if type(item) is str:
        return item
    try:
        return str(item)
    except Exception:  # a number of too many digits, or whatever the caller's own class raises
        raise UserError(f"{name} is {shown(item)}, which is no token") from None


def tokens_of(items: Any, name: str = "items") -> list[str]:
    """A list of tokens."""
    if isinstance(items, (str, bytes)):
        raise UserError(f"{name} is a list of tokens, not one string")
    try:
        tokens = list(items)
    except TypeError:
        raise UserError(f"{name} is a list of tokens, not {type(items).__name__}") from None
    if set(map(type, tokens)) <= {str}:
        return tokens
    return [token_of(item, f"one of {name}") for item in tokens]
