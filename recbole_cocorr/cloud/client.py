"""The device's side of the service: asks for a correction and never waits longer than told. numpy, grpcio, protobuf."""

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from recbole_cocorr.cloud.breaker import Breaker
from recbole_cocorr.cloud.v1 import correction_pb2 as pb
from recbole_cocorr.cloud.wire import (
    CORRECT,
    ENCODINGS,
    Shape,
    WireError,
    decode_correction,
    encode_rows,
    fingerprint_bytes,
)
from recbole_cocorr.errors import UserError

CORRECTED, LATE, OFFLINE, REFUSED = "corrected", "late", "offline", "refused"

_Code = grpc.StatusCode
# The service is there and does not want this request.
_REFUSING = {
    _Code.FAILED_PRECONDITION: "the service runs another model",
    _Code.UNAUTHENTICATED: "the service does not know the token",
    _Code.PERMISSION_DENIED: "the service does not allow it",
    _Code.INVALID_ARGUMENT: "the service calls the request malformed",
    _Code.RESOURCE_EXHAUSTED: "the service has too much to do",
    _Code.UNIMPLEMENTED: "the service is none of corrections",
}
# Asking again before something has changed does not help.
_LASTING = {_Code.FAILED_PRECONDITION, _Code.UNAUTHENTICATED, _Code.PERMISSION_DENIED, _Code.UNIMPLEMENTED}
# Most bytes of an answer that are read.
_MOST_ANSWER = 1 << 20


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes
    ----------
    status : {"corrected", "late", "offline", "refused"}
        A correction is there; it was not there in time; the service could not be reached; or it answered with an error,
        or with something that is no correction of this model.
    reason : str
        Why, where there is none.
    attention : numpy.ndarray of float32, shape [H, K, K], or None
        A^.
    bias : numpy.ndarray of float32, shape [H, K, f], or None
        B^.
    seconds : float
        From the upload until the answer was there, or until it was given up.
    """

    status: str
    reason: str = ""
    attention: np.ndarray | None = None
    bias: np.ndarray | None = None
    seconds: float = 0.0


class Pending:
    """A request on its way. Made by :meth:`Client.upload`.

    Attributes
    ----------
    clicks : int
        Of the upload.
    upload_bytes : int
        Payload that was sent; 0 where none was.
    """

    def __init__(self, clicks: int, upload_bytes: int = 0):
        self.clicks, self.upload_bytes = clicks, upload_bytes
        self._since, self._done, self._lock = time.monotonic(), threading.Event(), threading.Lock()
        self._answer: Answer | None = None
        self._cancel: Callable[[], Any] | None = None
        self._in_vain = False

    @property
    def done(self) -> bool:
        """Whether it is known what became of it."""
        return self._done.is_set()

    def answer(self, wait: float) -> Answer:
        """What has become of it within ``wait`` seconds; ``late`` if that is not known by then.

        May be asked again: an answer that was late can have come meanwhile.
        """
        if self._done.wait(max(0.0, wait)) and self._answer is not None:
            return self._answer
        self._in_vain = True
        return Answer(LATE, "no answer in time", seconds=time.monotonic() - self._since)

    def cancel(self) -> None:
        """Give it up: the service is told, and drops it if it has not begun."""
        if self._cancel is not None:
            self._cancel()

    def _settle(self, answer: Answer) -> None:
        with self._lock:
            if self._answer is None:
                self._answer = answer
                self._done.set()


class Client:
    """Asks a correction service, over one connection that is kept.

    Nothing that happens on the network is raised or waited for: a request is made by :meth:`upload`, which returns at
    once, and :meth:`Pending.answer` waits as long as it is told.

    After failures in a row the service is left alone for a while that grows and is partly random
    (:class:`~recbole_cocorr.cloud.breaker.Breaker`); then one request tries it again.

    Parameters
    ----------
    target : str
        ``host:port``, or any name that gRPC resolves.
    fingerprint : str
        Of the device's model.
    shape : tuple of int
        H, K and f of a correction.
    timeout : float
        Seconds after which a request is given up, whoever waits for it.
    encoding : {"float32", "float16", "int8"}
        Of the upload.
    token : str, optional
        A bearer token.
    tls : bool
        Whether the connection is encrypted and the service's certificate checked.
    ca, certificate, key : str or pathlib.Path, optional
        PEM files: whom to trust (the system's, if left out), and, for mutual TLS, who the device is. Each turns TLS on.
    server_name : str, optional
        The name in the service's certificate, where it is not the target's.
    token_in_the_clear : bool
        Allow a token without TLS to another machine, for a network that encrypts by itself.
    breaker : Breaker, optional
    change : callable, optional
        Changes the hidden states before they are sent, such as by noise.

    Raises
    ------
    UserError
        For a setting that does not fit.
    """

    def __init__(
        self,
        target: str,
        fingerprint: str,
        shape: tuple[int, int, int],
        timeout: float = 1.0,
        encoding: str = "float32",
        token: str | None = None,
        tls: bool = False,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        server_name: str | None = None,
        token_in_the_clear: bool = False,
        breaker: Breaker | None = None,
        change: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        if not isinstance(target, str) or not target.strip():
            raise UserError(f"the service's address is {target!r}; it must be HOST:PORT")
        try:
            self._fingerprint = fingerprint_bytes(fingerprint)
        except WireError as error:
            raise UserError(f"fingerprint is {str(fingerprint)[:40]!r}: {error}") from None
        if encoding not in ENCODINGS:
            raise UserError(f"encoding is {encoding!r}; it must be one of {', '.join(ENCODINGS)}")
        if not isinstance(timeout, (int, float)) or isinstance(timeout, bool) or not 0 < timeout <= 3600:
            raise UserError(f"timeout is {timeout!r}; it must be a number of seconds above 0, at most 3600")
        self.target, self.shape, self.timeout = target, Shape(*shape), float(timeout)
        self._encoding, self._change = ENCODINGS[encoding], change
        self.breaker = Breaker() if breaker is None else breaker
        tls = tls or any(value is not None for value in (ca, certificate, key))
        if token and not tls and not token_in_the_clear and not _is_here(target):
            raise UserError(f"the token would go to {target} unencrypted; turn TLS on, or say token_in_the_clear=True")
        self._metadata = (("authorization", f"Bearer {_checked_token(token)}"),) if token else ()
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", _MOST_ANSWER),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1000),
            # Short: how often a lost service is tried is the breaker's to say.
            ("grpc.max_reconnect_backoff_ms", 1000),
            # A connection that died without a word is noticed; a device without requests sends nothing.
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 3000),
            ("grpc.enable_retries", 0),
        ]
        if server_name:
            options.append(("grpc.ssl_target_name_override", server_name))
        if tls:
            self._channel = grpc.secure_channel(target, _credentials(ca, certificate, key), options)
        else:
            self._channel = grpc.insecure_channel(target, options)
        self._correct = self._channel.unary_unary(CORRECT)
        self._closed = False

    def upload(self, hidden_states: np.ndarray, clicks: int) -> Pending:
        """Send hidden states; returns at once.

        Parameters
        ----------
        hidden_states : numpy.ndarray, shape [n, d]
        clicks : int
            The session's counter, which the correction is bound to.

        Raises
        ------
        UserError
            If they are no matrix of finite numbers.
        """
        if not self.breaker.passes():
            pending = Pending(clicks)
            lasting = self.breaker.reason.startswith(REFUSED)
            pending._settle(Answer(REFUSED if lasting else OFFLINE, self.breaker.reason))
            return pending
        try:
            rows = hidden_states if self._change is None else self._change(hidden_states)
            payload = encode_rows(rows, self._encoding)
            request = pb.CorrectRequest(
                fingerprint=self._fingerprint, clicks=clicks, encoding=self._encoding, hidden_states=payload
            ).SerializeToString()
        except (WireError, ValueError, TypeError) as error:
            self.breaker.gave_up()
            raise UserError(f"hidden states that cannot be sent: {error}") from None
        pending = Pending(clicks, len(payload))
        try:
            call = self._correct.future(request, timeout=self.timeout, metadata=self._metadata)
        except ValueError:  # the channel is closed
            self.breaker.gave_up()
            pending._settle(Answer(OFFLINE, "the client is closed"))
            return pending
        pending._cancel = call.cancel
        call.add_done_callback(lambda done: self._settle(pending, done))
        return pending

    def _settle(self, pending: Pending, call: Any) -> None:
        """Called on gRPC's thread once a call is over."""
        seconds = time.monotonic() - pending._since
        code = call.code()
        if code is _Code.OK:
            try:
                answer = self._read(call.result(), pending.clicks, seconds)
                self.breaker.succeeded()
            except (WireError, DecodeError) as error:
                answer = Answer(REFUSED, f"the answer is none: {error}", seconds=seconds)
                self.breaker.failed(f"{REFUSED}: {answer.reason}")
        elif code is _Code.CANCELLED and call.cancelled():
            answer = Answer(LATE, "given up", seconds=seconds)
            if pending._in_vain:  # or a frozen service would cost every ranking its whole deadline
                self.breaker.failed("no answer in time")
            else:
                self.breaker.gave_up()
        elif code in _REFUSING:
            answer = Answer(REFUSED, _REFUSING[code], seconds=seconds)
            if code is _Code.INVALID_ARGUMENT:  # this request's fault alone
                self.breaker.succeeded()
            else:
                self.breaker.failed(f"{REFUSED}: {_REFUSING[code]}", at_once=code in _LASTING)
        elif code is _Code.DEADLINE_EXCEEDED:
            answer = Answer(LATE, "no answer in time", seconds=seconds)
            self.breaker.failed("no answer in time")
        else:
            answer = Answer(OFFLINE, f"the service cannot be reached ({code.name.lower()})", seconds=seconds)
            self.breaker.failed(answer.reason)
        pending._settle(answer)

    def _read(self, raw: bytes, clicks: int, seconds: float) -> Answer:
        reply = pb.CorrectReply.FromString(raw)
        if reply.fingerprint != self._fingerprint:
            raise WireError("it was made by another model")
        if reply.clicks != clicks:
            raise WireError("it is of other clicks")
        if (reply.heads, reply.mini_batch, reply.head_width) != self.shape:
            raise WireError("it has another shape than this model reads")
        attention, bias = decode_correction(reply.correction, self.shape)
        return Answer(CORRECTED, "", attention, bias, seconds)

    def correct(self, hidden_states: np.ndarray, clicks: int, wait: float) -> Answer:
        """Ask and wait, at most ``wait`` seconds; gives the request up then."""
        pending = self.upload(hidden_states, clicks)
        answer = pending.answer(wait)
        if answer.status == LATE:
            pending.cancel()
        return answer

    def close(self) -> None:
        """Give up what is on its way and close the connection; may be called again."""
        if not self._closed:
            self._closed = True
            self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked_token(token: str) -> str:
    if not all("!" <= c <= "~" for c in token):
        raise UserError("the token holds characters other than visible ASCII")
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
    parts = []
    for name, path in (("ca", ca), ("key", key), ("certificate", certificate)):
        try:
            parts.append(None if path is None else Path(path).read_bytes())
        except OSError as error:
            raise UserError(f"{name} {path} cannot be read: {error.strerror}") from None
    return grpc.ssl_channel_credentials(*parts)
