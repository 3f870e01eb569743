"""The connection to a service: how it is kept, and how it is protected."""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from recbole_cocorr.base.checks import checked_flag, checked_path, shown
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import read_bytes

# Most bytes of an answer that are read.
MOST_ANSWER = 1 << 20
# All certificates that a system trusts have a quarter of this.
_MOST_PEM = 1 << 20


def channel_opener(
    target: str,
    token: str | None,
    tls: bool,
    ca: str | Path | None,
    certificate: str | Path | None,
    key: str | Path | None,
    server_name: str | None,
    token_in_the_clear: bool,
) -> tuple[Callable[[], grpc.Channel], tuple[tuple[str, str], ...]]:
    """What opens a channel, and the metadata of its calls.

    The settings are those of :class:`~recbole_cocorr.service.Client`.

    Raises
    ------
    UserError
        For a setting that does not fit.
    """
    tls = checked_flag(tls, "tls") or any(value is not None for value in (ca, certificate, key))
    token_in_the_clear = checked_flag(token_in_the_clear, "token_in_the_clear")
    metadata = () if token is None else (("authorization", f"Bearer {_checked_token(token)}"),)
    if token and not tls and not token_in_the_clear and not _is_here(target):
        raise UserError(f"the token would go to {target} unencrypted; turn TLS on, or say token_in_the_clear=True")
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", MOST_ANSWER),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1000),
        # Short: how often a lost service is tried is the breaker's to say.
        ("grpc.max_reconnect_backoff_ms", 1000),
        # A connection that dies during a request is noticed; a device without requests sends nothing.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 3000),
        ("grpc.enable_retries", 0),
        # A connection of its own: a forked child that opens one must not write into its parent's.
        ("grpc.use_local_subchannel_pool", 1),
        # A proxy that the environment names would read what is not encrypted, and cannot reach this machine.
        ("grpc.enable_http_proxy", int(tls and not _is_here(target))),
    ]
    if server_name is not None:
        if not isinstance(server_name, str) or not server_name.isascii() or not server_name.isprintable():
            raise UserError(f"server_name is {shown(server_name)}; it must be the name in the service's certificate")
        options.append(("grpc.ssl_target_name_override", server_name))
    if not tls:
        return lambda: grpc.insecure_channel(target, options), metadata
    credentials = _credentials(ca, certificate, key)
    return lambda: grpc.secure_channel(target, credentials, options), metadata


def _checked_token(token: str) -> str:
    if not isinstance(token, str) or not token or not all("!" <= c <= "~" for c in token):
        raise UserError("the token is empty, or holds characters other than visible ASCII")
    return token


def _is_here(target: str) -> bool:
    """Whether the target is this machine for certain."""
    if target.startswith("unix:"):
        return True
    host = target.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _credentials(ca: Any, certificate: Any, key: Any) -> grpc.ChannelCredentials:
    if (certificate is None) != (key is None):
        raise UserError("certificate and key belong together; one of them is missing")
    files = []
    for name, path in (("ca", ca), ("key", key), ("certificate", certificate)):
        files.append(None if path is None else read_bytes(checked_path(path, name), f"{name} file", _MOST_PEM))
    return grpc.ssl_channel_credentials(*files)
