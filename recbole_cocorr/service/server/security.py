"""Who may ask the service, and over what."""

import hmac
import ipaddress
import os
from collections.abc import Iterable

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import read_bytes

# A shorter token can be guessed.
LEAST_TOKEN = 16
# A system's bundle of all authorities' certificates has a quarter of this.
_MOST_BYTES = 1 << 20


def read_file(path: str | os.PathLike, what: str) -> bytes:
    """The contents of a file that a setting names.

    Raises
    ------
    UserError
        If it cannot be read, is empty, or is larger than any certificate.
    """
    content = read_bytes(path, what, _MOST_BYTES)
    if not content.strip():
        raise UserError(f"{what} {path} is empty")
    return content


def tokens_of(text: str, source: str) -> tuple[bytes, ...]:
    """Bearer tokens, one a line; empty lines and those that begin with # do not count.

    Raises
    ------
    UserError
        If there is no token, or one is short or holds anything but visible ASCII.
    """
    lines = [line.strip() for line in text.splitlines()]
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise UserError(f"{source} holds no token")
    for token in tokens:
        if len(token) < LEAST_TOKEN or not all("!" <= c <= "~" for c in token):
            raise UserError(f"{source} holds a token that is not {LEAST_TOKEN} or more visible ASCII characters")
    return tuple(token.encode() for token in tokens)


def token_of(metadata: Iterable[tuple[str, str | bytes]] | None, tokens: tuple[bytes, ...]) -> int | None:
    """Which of the tokens a call's metadata holds; None for no or another one. Takes equally long in every case."""
    text = b""
    for key, value in metadata or ():
        if key == "authorization":
            text = value if isinstance(value, bytes) else value.encode()
    scheme, _, token = text.partition(b" ")
    match = None
    for number, known in enumerate(tokens):
        if hmac.compare_digest(token, known):
            match = number
    return match if scheme.lower() == b"bearer" else None


def host_of(address: str) -> str:
    """The host of ``host:port`` or ``[v6]:port``.

    Raises
    ------
    UserError
        If it is no such address.
    """
    host, colon, port = address.rpartition(":")
    right = bool(colon and host and port.isascii() and port.isdigit() and int(port) < 65536)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        right = False
    if not right:
        raise UserError(f"{address!r} is no address; it must be HOST:PORT, or [HOST]:PORT for IPv6")
    return host


def is_loopback(address: str) -> bool:
    """Whether an address ``host:port`` or ``unix:path`` is of this machine alone."""
    if address.startswith("unix:"):
        return True
    host = host_of(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name may resolve to anything
        return False
