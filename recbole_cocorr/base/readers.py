"""One strict way to read a file: bounded, decoded, parsed, and taken apart by name and type.

Every file that this package reads may be damaged, of another program, or made to do harm. A reader here refuses each
of these with one sentence that names the file and, where there is one, the key.
"""

import json
import math
import os
import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recbole_cocorr.base.errors import UserError

# No file that this package writes nests deeper than about six levels.
MOST_DEPTH = 64
MOST_BYTES = 256 << 20
_REQUIRED: Any = object()
# The escape of half a character, which stands for a whole one together with its other half.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_bytes(path: str | os.PathLike, what: str, most_bytes: int = MOST_BYTES) -> bytes:
    """Read a whole regular file.

    Parameters
    ----------
    path : str or os.PathLike
    what : str
        What the file is, for the sentence of an error: "run record", "configuration file".
    most_bytes : int
        A larger file is refused before it is read.

    Raises
    ------
    UserError
        If the file is missing, is no regular file (a pipe would block), is too large or cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder; name the {what} in it")
        # Without O_NONBLOCK the open of a pipe that nobody writes to never returns.
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(f"{path} is no regular file; a {what} is one")
            raw = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise UserError(f"there is no {what} {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UserError(
            f"the {what} {str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    if len(raw) > most_bytes:
        raise UserError(f"{path} has more than {most_bytes} bytes; no {what} is so large")
    return raw


def decode(raw: bytes, source: str) -> str:
    """UTF-8 bytes as text, without a byte order mark; raises UserError with the line that is not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{source}, line {line} is not UTF-8 text") from None


def parse_json(raw: bytes | str, source: str, nan: bool = False, halves: bool = True) -> Any:
    """Parse JSON.

    Parameters
    ----------
    raw : bytes or str
    source : str
        Names the text in errors.
    nan : bool
        Whether ``NaN`` and ``Infinity`` are allowed, which JSON does not have and Python writes.
    halves : bool
        Whether half a character (a lone surrogate) is allowed, as an item's token or a cut text may have; no file or
        page can show it.

    Raises
    ------
    UserError
        If the text is no JSON, holds a key twice, half a character or NaN where that is not allowed, or is nested
        deeper than ``MOST_DEPTH``.
    """
    text = decode(raw, source) if isinstance(raw, bytes) else raw
    try:
        content = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=None if nan else _no_constant)
    except json.JSONDecodeError as error:
        raise UserError(f"{source}, line {error.lineno} is not valid JSON: {error.msg}") from None
    except ValueError as error:
        raise UserError(f"{source} is not valid JSON: {error}") from None
    except RecursionError:
        raise UserError(f"{source} is nested too deeply") from None
    check_depth(content, source)
    if not halves and _HALF.search(text):
        check_characters(content, source)
    return content


def check_characters(content: Any, source: str) -> None:
    """Refuse half a character (a lone surrogate), which JSON and yaml can escape and no file can hold.

    Raises
    ------
    UserError
    """
    left, seen = [content], set()
    while left:
        value = left.pop()
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                half = f"\\u{ord(value[error.start]):04x}"
                raise UserError(f"{source} holds half a character, {half}; write the whole character itself") from None
        elif isinstance(value, (dict, list, tuple, set)) and id(value) not in seen:
            seen.add(id(value))  # a yaml alias may repeat a part
            left += [*value.keys(), *value.values()] if isinstance(value, dict) else value


def read_json(
    path: str | os.PathLike, what: str, most_bytes: int = MOST_BYTES, nan: bool = False, halves: bool = True
) -> Any:
    """Read and parse a JSON file; parameters and errors are those of :func:`read_bytes` and :func:`parse_json`.

    A file whose name ends in ``.gz`` is unpacked first, to no more than ``most_bytes``.
    """
    raw = read_bytes(path, what, most_bytes)
    text = _unpacked(raw, path, what, most_bytes) if str(path).endswith(".gz") else raw
    return parse_json(text, str(path), nan, halves)


def _unpacked(raw: bytes, path: str | os.PathLike, what: str, most_bytes: int) -> bytes:
    unpack = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        text = unpack.decompress(raw, most_bytes + 1)
    except zlib.error:
        raise UserError(f"{path} is no gzip file; a {what} whose name ends in .gz is one") from None
    if len(text) > most_bytes:
        raise UserError(f"{path} unpacks to more than {most_bytes} bytes; no {what} is so large")
    if not unpack.eof or unpack.unused_data:
        raise UserError(f"{path} is cut off, or something stands behind its end; copy it again")
    return text


def check_depth(content: Any, source: str, most_values: int | None = None) -> None:
    """Refuse lists and dicts within each other deeper than ``MOST_DEPTH``, without recursion of its own.

    Parameters
    ----------
    content : object
    source : str
    most_values : int, optional
        Also refuse more containers than this. A yaml alias may repeat a container any number of times at no cost
        in the file; a walk through all repeats would never end.

    Raises
    ------
    UserError
    """
    level, count = [content], 0
    for _ in range(MOST_DEPTH + 1):
        inner = []
        for value in (v for node in level for v in _children(node) if isinstance(v, (dict, list))):
            count += 1
            if most_values is not None and count > most_values:
                raise UserError(f"{source} holds more than {most_values} lists and objects")
            inner.append(value)
        if not inner:
            return
        level = inner
    raise UserError(f"{source} is nested too deeply")


def _children(node: Any) -> Any:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {_shown(twice)} stands twice in one object")
    return content


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _shown(value: Any) -> str:
    """A value as an error shows it: short, whatever it is."""
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_number(value: Any) -> bool:
    """Whether a value of a file is a number that a float can be made of; true and false are not."""
    return type(value) is float or (type(value) is int and value.bit_length() < 1000)


class Record:
    """An object read from a file, whose values are taken by name and type.

    Each method returns the value of a key, or raises a UserError that names the file, the key, the value and what
    would be right. A method that is given ``default`` returns it where the key is missing.

    Parameters
    ----------
    content : object
        What the file holds; refused unless it is a dict with texts as keys.
    source : str
        Names the file in errors.
    where : str
        Path of this object inside the file, for example ``config.``.
    """

    def __init__(self, content: Any, source: str, where: str = ""):
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            part = f"{where.rstrip('.')} is" if where else "it holds"
            raise UserError(f"{source}: {part} {_shown(content)}; it must be an object of named values")
        self.content, self.source, self.where = content, source, where

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def absent(self, key: str) -> bool:
        """Whether a key is missing or null."""
        return self.content.get(key) is None

    def refuse(self, key: str, right: str) -> UserError:
        """The error for a key whose value is not ``right``."""
        if key not in self.content:
            return UserError(f"{self.source}: {self.where}{key} is missing; it must be {right}")
        return UserError(f"{self.source}: {self.where}{key} is {_shown(self.content[key])}; it must be {right}")

    def whole(self, key: str, least: int = 0, most: int = 1 << 53, default: Any = _REQUIRED) -> int:
        """A whole number from ``least`` to ``most``."""
        value = self._value(key, default)
        if value is default:
            return value
        if type(value) is not int or not least <= value <= most:
            raise self.refuse(key, f"a whole number from {least} to {most}")
        return value

    def number(self, key: str, least: float = -math.inf, most: float = math.inf, default: Any = _REQUIRED) -> float:
        """A finite number from ``least`` to ``most``, as a float."""
        value = self._value(key, default)
        if value is default:
            return value
        if not is_number(value) or not math.isfinite(value) or not least <= value <= most:
            bounds = "" if (least, most) == (-math.inf, math.inf) else f" from {least:g} to {most:g}"
            raise self.refuse(key, f"a finite number{bounds}")
        return float(value)

    def numbers(self, key: str, default: Any = _REQUIRED) -> dict[str, float]:
        """An object of numbers, which may be infinite or no number: the metrics of a run."""
        value = self._value(key, default)
        if value is default:
            return value
        for name in (inner := self.record(key)):
            if not is_number(inner.content[name]):
                raise inner.refuse(name, "a number")
        return value

    def text(self, key: str, choices: Sequence[str] = (), default: Any = _REQUIRED) -> str:
        """A text, one of ``choices`` if there are any."""
        value = self._value(key, default)
        if value is default:
            return value
        if not isinstance(value, str) or (choices and value not in choices):
            raise self.refuse(key, f"one of {', '.join(choices)}" if choices else "a text")
        return value

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        """True or false."""
        value = self._value(key, default)
        if value is not default and type(value) is not bool:
            raise self.refuse(key, "true or false")
        return value

    def array(self, key: str, kind: type | tuple[type, ...] = object, default: Any = _REQUIRED) -> list:
        """A list whose values are all of ``kind``; bool is no int here."""
        value = self._value(key, default)
        if value is default:
            return value
        kinds = kind if isinstance(kind, tuple) else (kind,)
        right = isinstance(value, list) and (kinds == (object,) or all(type(v) in kinds for v in value))
        if not right:
            names = " or ".join(
                {str: "texts", int: "whole numbers", float: "numbers"}.get(k, k.__name__) for k in kinds
            )
            raise self.refuse(key, "a list" if kinds == (object,) else f"a list of {names}")
        return value

    def wholes(self, key: str, least: int = 0, most: int = 1 << 53) -> list[int]:
        """A list of whole numbers from ``least`` to ``most``."""
        values = self.array(key, int)
        wrong = next((v for v in values if not least <= v <= most), None)
        if wrong is not None:
            raise UserError(
                f"{self.source}: {self.where}{key} holds {_shown(wrong)}; it must hold whole numbers from "
                f"{least} to {most}"
            )
        return values

    def record(self, key: str, default: Any = _REQUIRED) -> "Record":
        """An object inside this one."""
        value = self._value(key, default)
        if value is default:
            return value
        return Record(value, self.source, f"{self.where}{key}.")

    def records(self, key: str) -> list["Record"]:
        """A list of objects inside this one."""
        return [Record(v, self.source, f"{self.where}{key}[{i}].") for i, v in enumerate(self.array(key))]

    def _value(self, key: str, default: Any) -> Any:
        if key in self.content:
            return self.content[key]
        if default is _REQUIRED:
            raise UserError(f"{self.source}: {self.where}{key} is missing")
        return default


def versioned(
    content: Any, source: str, kind: str, name: str, version: int | str | tuple[int, ...], mend: str = ""
) -> Record:
    """The Record of a file of this package, after its ``format`` and ``format_version`` were checked.

    Parameters
    ----------
    content : object
        What :func:`parse_json` returned.
    source : str
    kind : str
        The value that ``format`` must have.
    name : str
        What the file is, in words: "run record".
    version : int, str or tuple of int
        The version, or versions, that are read; a text where the file's format has only those.
    mend : str
        What to do about a file of another version, for example "run fit-corrector again".

    Raises
    ------
    UserError
    """
    if not isinstance(content, dict) or content.get("format") != kind:
        raise UserError(f"{source} is no {name} of recbole_cocorr")
    file_version = content.get("format_version")
    versions = version if isinstance(version, tuple) else (version,)
    if type(file_version) is not type(versions[0]) or file_version not in versions:
        writer = content.get("package_version")
        by = f", written by recbole_cocorr {writer[:20]}" if isinstance(writer, str) else ""
        read = " or ".join(map(str, versions))
        raise UserError(
            f"{source} has {name} format {_shown(file_version)}{by}; this version reads format {read}"
            + (f"; {mend}" if mend else "")
        )
    return Record(content, source)
