"""Fetch the newest delta over HTTP: two plain files, which any server may hold."""

import os
import threading
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from queue import Empty, SimpleQueue
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from recbole_cocorr.artifact.arrays import digest_of
from recbole_cocorr.artifact.delta import MOST_BYTES
from recbole_cocorr.artifact.latest import LATEST, MOST_TEXT, parse_latest
from recbole_cocorr.artifact.manifest import read_manifest
from recbole_cocorr.base.checks import checked_number, checked_path, checked_whole, shown
from recbole_cocorr.base.errors import UserError

_BLOCK = 1 << 16


def fetch_delta(
    url: str, directory: str | os.PathLike, timeout: float = 10.0, most_bytes: int = 64 << 20
) -> bytes | None:
    """The newest delta of an artifact, for :func:`~recbole_cocorr.device.apply_delta`.

    The request says nothing of the user, nor of the artifact.

    Parameters
    ----------
    url : str
        Of the folder that ``make-delta`` writes; http or https.
    directory : str or os.PathLike
        The artifact.
    timeout : float
        Seconds for both files together.
    most_bytes : int
        A larger delta is not read.

    Returns
    -------
    bytes or None
        None where the artifact has this version, or a newer one of its series.

    Raises
    ------
    UserError
        If the server does not answer in time, or with something else than a delta of this artifact.
    """
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"url is {shown(url)}; it must begin with http:// or https://")
    timeout = checked_number(timeout, "timeout", "a number of seconds above 0", 1e-3, 3600)
    most_bytes = checked_whole(most_bytes, "most_bytes", 1, MOST_BYTES)
    manifest = read_manifest(checked_path(directory, "directory"))
    end, folder = time.monotonic() + timeout, url.rstrip("/")
    address = f"{folder}/{LATEST}"
    latest = parse_latest(_get(address, MOST_TEXT, end), address)
    if latest.base != manifest.base()[0]:
        raise UserError(f"{address} is of deltas of another artifact than {directory}")
    applied = manifest.delta
    if applied is not None and applied["series"] == latest.series and applied["version"] >= latest.version:
        return None
    if latest.bytes > most_bytes:
        raise UserError(f"{folder}/{latest.file} has {latest.bytes} bytes; at most {most_bytes} are read")
    raw = _get(f"{folder}/{latest.file}", latest.bytes, end)
    if len(raw) != latest.bytes or digest_of(raw) != latest.blake2b:
        raise UserError(f"{folder}/{latest.file} is cut off or damaged; fetch it again")
    return raw


def _get(address: str, most: int, end: float) -> bytes:
    """The bytes at an address, whatever the server does by ``end`` at the latest.

    A socket's timeout is of one read, and a name is looked up without any; so a thread of its own waits for both.
    """
    answers: SimpleQueue[bytes | UserError] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_ask(address, most, end))
        except UserError as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, end - time.monotonic()))
    except Empty:
        raise UserError(f"{address} was not there in time") from None
    if isinstance(answer, UserError):
        raise answer
    return answer


def _ask(address: str, most: int, end: float) -> bytes:
    def seconds_left() -> float:
        left = end - time.monotonic()
        if left <= 0:
            raise UserError(f"{address} was not there in time")
        return left

    try:
        with _opener().open(address, timeout=seconds_left()) as answer:
            raw = _read(answer.read1, most, seconds_left)
    except HTTPError as error:
        raise UserError(f"{address} cannot be had: the server says {error.code}") from None
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        raise UserError(f"{address} cannot be had: {reason[:200]}") from None
    if len(raw) > most:
        raise UserError(f"{address} has more than {most} bytes")
    return raw


def _read(read: Callable[[int], bytes], most: int, seconds_left: Callable[[], float]) -> bytes:
    """All bytes, or one more than ``most``; a server that drips is given up too."""
    blocks, size = [], 0
    while size <= most and (block := read(min(_BLOCK, most + 1 - size))):
        seconds_left()
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)


def _opener() -> urllib.request.OpenerDirector:
    """HTTP alone: a server that answers with the address of a file is not followed."""
    opener = urllib.request.OpenerDirector()
    kinds = ["Proxy", "HTTP", "HTTPS", "HTTPDefaultError", "HTTPRedirect", "Unknown"]
    for kind in kinds:
        opener.add_handler(getattr(urllib.request, f"{kind}Handler")())
    opener.add_handler(urllib.request.HTTPErrorProcessor())
    return opener
