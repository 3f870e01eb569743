"""A look at an atomic file before RecBole reads it, for errors that name the line and the column."""

import codecs
import csv
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.convert.rows import MISSING_VALUES, short

TYPES = ("token", "float", "token_seq", "float_seq")
_CHUNK = 2**24
_ASCII_BASED = ("utf-8", "ascii", "iso8859-1", "cp1252")


def check_inter_file(path: Path, required: Sequence[str], separator: str = "\t", encoding: str | None = None) -> None:
    """Refuse an atomic file that RecBole could not read, or would read as something else.

    A well-formed file is seen as such by counting separators and by one read of its float columns;
    only otherwise is it gone through line by line. Nothing is returned; the file is not kept.

    Parameters
    ----------
    path
        The ``.inter`` file.
    required
        Names of columns that must be there; "name:type" asks for the type as well. In a required float
        column every value must be a finite number; in others a missing value is left to RecBole.
    separator
        RecBole's ``field_separator``.
    encoding
        RecBole's ``encoding``; None is UTF-8.

    Raises
    ------
    UserError
        One sentence with the file, the line and the column: no file, empty, header only, a header that is
        no list of name:type with RecBole's types, a missing or doubled column, a row with too few or
        too many fields, a float that is no number, text in another encoding, an unclosed quotation mark.
    """
    path = Path(path)
    try:
        codec = codecs.lookup(encoding or "utf-8").name
    except LookupError:
        raise UserError(f"encoding is {encoding!r}, which Python does not know; for UTF-8 say utf-8") from None
    try:
        if path.is_dir() or not path.exists():
            raise UserError(f"there is no file {path}; put the interactions there, in RecBole's atomic format")
        columns = _header(path, separator, codec)
        _require(path, columns, required)
        needed = [name.partition(":")[0] for name in required]
        quick = len(separator) == 1 and separator.isascii() and separator not in '\r\n"' and codec in _ASCII_BASED
        if not (quick and _well_formed(path, columns, needed, separator, codec)):
            _scan(path, columns, needed, separator, codec)
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror or error})") from None


def _header(path: Path, separator: str, codec: str) -> list[tuple[str, str]]:
    example = separator.join(("user_id:token", "item_id:token", "timestamp:float"))
    with open(path, encoding=codec, errors="replace") as file:
        line = file.readline(2**20)
        rows = any(not text.isspace() for text in iter(lambda: file.readline(2**20), ""))
    if "\ufffd" in line:
        raise UserError(f"{path}, line 1: the header is not {codec}; save the file so, or set encoding")
    if not line.strip():
        what = "the header is missing" if rows else "the file is empty"
        raise UserError(f"{path}, line 1: {what}; the first line is a header such as {example!r}")
    if line.startswith("\ufeff"):
        raise UserError(f"{path}, line 1: a byte order mark stands before the header; save the file without it")
    columns = []
    for column, cell in enumerate(line.rstrip("\n").split(separator), start=1):
        name, _, kind = cell.partition(":")
        if not name or not kind or ":" in kind:
            raise UserError(
                f"{path}, line 1, column {column}: {short(cell)} is not name:type; a header is such as {example!r}"
            )
        if kind not in TYPES:
            raise UserError(
                f"{path}, line 1, column {column}: the type of {short(name)} is {short(kind)}; "
                f"it is one of {', '.join(TYPES)}"
            )
        if name in (known for known, _ in columns):
            raise UserError(f"{path}, line 1, column {column}: there are two columns {short(name)}; rename one")
        columns.append((name, kind))
    if not rows:
        raise UserError(f"{path}: there is a header but no interaction; add one line for each")
    return columns


def _require(path: Path, columns: list[tuple[str, str]], required: Sequence[str]) -> None:
    kinds = dict(columns)
    for entry in required:
        name, _, kind = entry.partition(":")
        if name not in kinds:
            raise UserError(
                f"{path}, line 1: no column {name!r} among {', '.join(kinds)}; "
                "add it, or name another with USER_ID_FIELD, ITEM_ID_FIELD or TIME_FIELD"
            )
        if kind and kinds[name] != kind:
            raise UserError(f"{path}, line 1: the column {name!r} has the type {kinds[name]}; it must be {kind}")


def _well_formed(path: Path, columns: list[tuple[str, str]], needed: list[str], separator: str, codec: str) -> bool:
    """Whether all rows have the right number of fields and their floats are numbers: no false yes."""
    size, rest = len(columns), b""
    with open(path, "rb") as file:
        while True:
            block = file.read(_CHUNK)
            chunk = rest + block
            if block:
                end = chunk.rfind(b"\n") + 1
                chunk, rest = chunk[:end], chunk[end:]
                if not end:
                    return False
            elif chunk and not chunk.endswith(b"\n"):
                chunk += b"\n"
            if not _regular(chunk, size, separator, codec):
                return False
            if not block:
                break
    floats = {f"{name}:{kind}": name for name, kind in columns if kind == "float"}
    if not floats:
        return True
    try:
        table = pd.read_csv(
            path,
            sep=separator,
            usecols=list(floats),
            dtype=dict.fromkeys(floats, np.float64),
            encoding=codec,
            engine="c",
        )
    except (ValueError, OverflowError):
        return False
    return all(np.isfinite(table[column]).all() for column, name in floats.items() if name in needed)


def _regular(chunk: bytes, size: int, separator: str, codec: str) -> bool:
    """Whether every line of a chunk has ``size`` fields, and no field is quoted."""
    try:
        chunk.decode(codec)
    except UnicodeDecodeError:
        return False
    mark = separator.encode()
    if b'"' in chunk and (chunk.startswith(b'"') or b'\n"' in chunk or mark + b'"' in chunk):
        return False
    if chunk.count(b"\r") != chunk.count(b"\r\n") or b"\0" in chunk:
        return False
    text = np.frombuffer(chunk, dtype=np.uint8)
    ends = text == ord("\n")
    places = np.flatnonzero(ends | (text == ord(separator)))
    if len(places) % size:
        return False
    is_end = ends[places].reshape(-1, size)
    return bool(is_end[:, -1].all()) and not is_end[:, :-1].any()


def _scan(path: Path, columns: list[tuple[str, str]], needed: list[str], separator: str, codec: str) -> None:
    """Go through the rows one by one and raise at the first bad one."""
    floats = [(column, name) for column, (name, kind) in enumerate(columns) if kind == "float"]
    with open(path, encoding=codec, newline="") as file:
        for number, fields in _rows(path, file, separator):
            if len(fields) != len(columns):
                raise UserError(
                    f"{path}, line {number}: {len(fields)} field{'s' * (len(fields) != 1)} where the header "
                    f"has {len(columns)}; write one for each of {', '.join(name for name, _ in columns)}"
                )
            for column, name in floats:
                _check_float(f"{path}, line {number}, column {column + 1} ({name})", fields[column], name in needed)


def _check_float(where: str, text: str, needed: bool) -> None:
    missing = not text or text in MISSING_VALUES
    if missing and not needed:
        return
    try:
        finite = not missing and math.isfinite(float(text))
    except ValueError:
        raise UserError(f"{where}: {short(text)} is not a number; write one such as 4.5 or 1369699200") from None
    if needed and not finite:
        raise UserError(f"{where}: {short(text)} is no finite number; write one such as 4.5 or 1369699200")


def _rows(path: Path, file: TextIO, separator: str) -> Iterator[tuple[int, list[str]]]:
    number = 0
    try:
        for line in file:
            number += 1
            text = line.rstrip("\r\n")
            if number == 1 or not text.strip(" "):
                continue
            if len(separator) != 1:
                yield number, re.split(separator, text)
            elif '"' not in text:
                yield number, text.split(separator)
            else:
                yield number, next(csv.reader([text], delimiter=separator, strict=True))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, after line {number}: bytes that are not {error.encoding} ({error.reason}); "
            "save the file so, or set encoding to what it is"
        ) from None
    except csv.Error as error:
        raise UserError(
            f"{path}, line {number}: a field begins with a quotation mark that does not match ({error}); "
            "close it in the same field, or leave it out"
        ) from None
