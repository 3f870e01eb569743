"""Lines of a raw file, gzipped or not, with errors that name the file and the line."""

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from recbole_cocorr.base.errors import UserError

# No line of a known source comes near this; without a limit a file of one line would fill the memory.
LINE_LIMIT = 16 * 2**20
ENCODINGS = ("utf-8", "latin-1")
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_OTHER_KINDS = {
    b"PAR1": "a parquet file; of these --format yambda is read",
    b"PK\x03\x04": "a zip archive; unpack it and name the file inside",
    b"BZh": "compressed with bzip2; unpack it with bunzip2",
    b"\xfd7zXZ\x00": "compressed with xz; unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it with unzstd",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it and name the file inside",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}


def lines(
    path: Path, progress: Callable[[int], object] | None = None, whole: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Read the lines of a file one by one; whether it is gzipped is seen from its first bytes.

    A byte order mark is left out.

    Parameters
    ----------
    path
        A regular file.
    progress
        Called now and then with the number of further bytes of the file, as it lies on the disk, that
        have been read.
    whole
        Whether blank lines and line ends come too; else they are left out, LF as well as CRLF.

    Yields
    ------
    tuple of int and bytes
        The line's number, from 1 and counting blank lines, and its content.

    Raises
    ------
    UserError
        If the file is missing, a folder, of another kind, truncated, damaged or unreadable.
    """
    number = 0
    try:
        with open_binary(path) as raw:
            stream = raw
            if raw.peek(2)[:2] == _GZIP:
                stream = io.BufferedReader(gzip.GzipFile(fileobj=raw, mode="rb"), 2**20)
            _refuse_other_kinds(path, stream.peek(512))
            reported = 0
            while line := stream.readline(LINE_LIMIT + 1):
                number += 1
                if number == 1:
                    line = line.removeprefix(_BOM)
                if len(line) > LINE_LIMIT:
                    raise UserError(
                        f"{path}, line {number}: the line is longer than {LINE_LIMIT >> 20} MiB; "
                        "expected text with one interaction per line"
                    )
                if progress and number % 4096 == 0:
                    progress(raw.tell() - reported)
                    reported = raw.tell()
                if whole:
                    yield number, line
                elif not line.isspace() and line:
                    yield number, line.rstrip(b"\r\n")
            if progress:
                progress(raw.tell() - reported)
    except EOFError:
        raise UserError(
            f"{path}, somewhere after line {number}: the gzip file ends early (truncated); download it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path}, somewhere after line {number}: the gzip file is damaged ({error}); download it again"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror or error})") from None


def open_binary(path: Path) -> BinaryIO:
    """A regular file opened for reading; raises UserError for anything else."""
    if os.path.isdir(path):
        raise UserError(f"{path} is a folder; name the file in it that holds the interactions")
    if not os.path.exists(path):
        raise UserError(f"there is no file {path}; name an existing file")
    if not os.path.isfile(path):
        raise UserError(f"{path} is not a regular file; write the data to a file and name that")
    return open(path, "rb")


def _refuse_other_kinds(path: Path, start: bytes) -> None:
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            raise UserError(f"{path} is {kind} (plain text or gzip is read)")
    if start[257:262] == b"ustar":
        raise UserError(f"{path} is a tar archive; unpack it and name the file inside")
