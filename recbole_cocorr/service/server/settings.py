"""The settings of ``serve``: flags before environment before a yaml file before what stands here."""

import argparse
import difflib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from recbole_cocorr.base.checkpoints import checkpoint_file
from recbole_cocorr.base.checks import checked_choice
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import decode
from recbole_cocorr.service.server.logs import LEVELS
from recbole_cocorr.service.server.security import is_loopback, read_file, tokens_of

PREFIX = "RECBOLE_COCORR_SERVE_"
# Only in the environment or a file: what stands among the flags, every user of the machine can read.
TOKENS = "RECBOLE_COCORR_TOKENS"


def _setting(default: Any, text: str, least: float | None = None, most: float | None = None) -> Any:
    return field(default=default, metadata={"text": text, "least": least, "most": most})


@dataclass(frozen=True)
class ServeSettings:
    """What a server is started with; each field says what it is in its metadata."""

    checkpoint: str = _setting("", "the .safetensors file that training wrote: serves its correction network")
    listen: str = _setting("127.0.0.1:50051", "HOST:PORT, [HOST]:PORT or unix:PATH; port 0 takes a free one")
    corrector: str = _setting("", "a folder that fit-corrector wrote: serves its scores; beside a checkpoint, or alone")
    deltas: str = _setting("", "a folder that make-delta writes: served as /deltas/ over http; or alone")
    metrics: str = _setting("", "HOST:PORT of Prometheus' metrics over HTTP; empty: off")
    http: str = _setting("", "HOST:PORT of the same over plain HTTP, for a web page; empty: off")
    http_origin: str = _setting("", "origin of a page that may ask from a browser, such as http://localhost:8000")
    http_names: str = _setting("", "names that a request's Host may have beside addresses and localhost")
    tls_cert: str = _setting("", "the server's certificate chain, PEM")
    tls_key: str = _setting("", "its private key, PEM")
    tls_client_ca: str = _setting("", "certificates that a client's must be signed by, PEM: mutual TLS")
    token_file: str = _setting("", f"bearer tokens, one a line; or the tokens themselves in {TOKENS}")
    max_batch: int = _setting(32, "requests that are worked on at a time, and computed together", 1, 65536)
    max_queue: int = _setting(1024, "requests that may wait; past it RESOURCE_EXHAUSTED", 1, 1_000_000)
    max_per_connection: int = _setting(
        64, "requests that one connection may have under way; 0: any number, behind a proxy", 0, 1_000_000
    )
    share_port: int = _setting(0, "1: more copies may listen on the same listen and http; Linux shares out", 0, 1)
    threads: int = _setting(
        1, "threads of the correction network; never more than the processors that this process may use", 1, 256
    )
    grace: float = _setting(10.0, "seconds in which a shutdown answers what was taken in", 0, 3600)
    watch: float = _setting(0.0, "seconds between looks whether a file has changed; 0: on SIGHUP alone", 0, 86400)
    log_level: str = _setting("info", f"one of {', '.join(LEVELS)}")

    def tokens(self, environment: Mapping[str, str] = os.environ) -> tuple[bytes, ...]:
        """The bearer tokens; empty where no token is needed.

        Raises
        ------
        UserError
            If the file or the variable holds no token, or a bad one.
        """
        if self.token_file:
            content = read_file(self.token_file, "token_file")
            return tokens_of(decode(content, self.token_file), f"token_file {self.token_file}")
        if environment.get(TOKENS):
            return tokens_of(environment[TOKENS].replace(",", "\n"), TOKENS)
        return ()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting."""
    for f in fields(ServeSettings):
        shown = f" (default: {f.default})" if f.default != "" else ""
        parser.add_argument(f"--{f.name}", metavar=_METAVARS[f.type], help=f.metadata["text"] + shown)


_METAVARS = {int: "N", float: "SECONDS", str: "TEXT"}
_NAMES = {f.name: f for f in fields(ServeSettings)}


def gather(
    flags: Mapping[str, str | None], config: str | None = None, environment: Mapping[str, str] = os.environ
) -> ServeSettings:
    """The settings, from where they stand.

    Parameters
    ----------
    flags : mapping
        By name; None for one that was not given.
    config : str, optional
        A yaml file of ``name: value``.
    environment : mapping
        ``RECBOLE_COCORR_SERVE_<NAME>`` in capitals is read.

    Raises
    ------
    UserError
        For a name that is no setting, a value that does not fit, or settings that do not fit each other.
    """
    from recbole_cocorr.base.yaml_reader import read_yaml  # late: --help needs no PyYAML

    values: dict[str, Any] = {}
    for name, value in read_yaml(config, "configuration file").items() if config else ():
        values[name] = _value(_known(name, config), value, config)
    for key, value in environment.items():
        if key.startswith(PREFIX):
            values[_known(key[len(PREFIX) :].lower(), f"the environment ({key})")] = value
    values = {n: _value(n, v, "the environment") for n, v in values.items()}
    values |= {n: _value(n, v, "the flags") for n, v in flags.items() if v is not None and n in _NAMES}
    if values.get("checkpoint"):
        checkpoint_file(values["checkpoint"])  # refuses a "latest" of which there is none; looked up anew at each load
    settings = ServeSettings(**values)
    _check(settings, environment)
    return settings


def _known(name: str, source: str) -> str:
    if name not in _NAMES:
        near = difflib.get_close_matches(name, _NAMES, 1)
        raise UserError(f"{source} has the setting {name!r}, which serve does not" + (f"; {near[0]}?" if near else ""))
    return name


def _value(name: str, value: Any, source: str) -> Any:
    f = _NAMES[name]
    if f.type is str:
        if not isinstance(value, str):
            raise UserError(f"{name} is {value!r} in {source}; it must be a text")
        return value
    try:
        if isinstance(value, bool):
            raise ValueError
        number = f.type(value)
        if f.type is int and number != float(value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        number = None
    least, most = f.metadata["least"], f.metadata["most"]
    if number is None or not least <= number <= most:
        kind = "whole number" if f.type is int else "number"
        raise UserError(f"{name} is {value!r} in {source}; it must be a {kind} from {least} to {most}")
    return number


def _check(settings: ServeSettings, environment: Mapping[str, str]) -> None:
    if not settings.checkpoint and not settings.corrector and not settings.deltas:
        raise UserError(
            "no checkpoint and no corrector is named; say --checkpoint FILE.safetensors or --corrector DIR, or both"
        )
    if settings.deltas and not settings.http:
        raise UserError("deltas are served over http; say --http HOST:PORT too")
    if settings.share_port and not hasattr(socket, "SO_REUSEPORT"):
        raise UserError("share_port is 1, and this system shares no port (SO_REUSEPORT); put a proxy before the copies")
    if settings.share_port and settings.listen.startswith("unix:"):
        raise UserError(f"share_port is 1 and listen is {settings.listen}; only HOST:PORT can be shared")
    if settings.share_port and settings.http == settings.listen and not settings.http.endswith(":0"):
        raise UserError(f"listen and http are both {settings.http}; give each a port of its own")
    checked_choice(settings.log_level, "log_level", LEVELS)
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise UserError("tls_cert and tls_key belong together; one of them is missing")
    if settings.tls_client_ca and not settings.tls_cert:
        raise UserError("tls_client_ca needs tls_cert and tls_key")
    if any(c.isspace() or ord(c) > 126 for c in settings.http_origin):
        raise UserError(f"http_origin is {settings.http_origin!r}; it must be like http://localhost:8000")
    for name, address in (("listen", settings.listen), ("http", settings.http), ("metrics", settings.metrics)):
        if not address or is_loopback(address) or settings.tls_cert or settings.tokens(environment):
            continue
        raise UserError(
            f"{name} is {address}, which other machines can reach, without TLS and without tokens; "
            "set tls_cert and tls_key, or token_file, or listen on 127.0.0.1"
        )
