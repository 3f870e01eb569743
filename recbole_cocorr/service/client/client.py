"""The device's side of the service: it asks, and never waits longer than its caller allows. numpy, grpcio, protobuf."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from recbole_cocorr.base.checks import checked_choice, checked_number, shown
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device.correction import Correction
from recbole_cocorr.service.client.breaker import Breaker
from recbole_cocorr.service.client.channel import channel_opener
from recbole_cocorr.service.client.pending import CORRECTED, LATE, OFFLINE, REFUSED, Answer, Pending
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import (
    CORRECT,
    ENCODINGS,
    MOST_CANDIDATES,
    MOST_CLICKS,
    SCORE,
    Shape,
    WireError,
    decode_correction,
    decode_scores,
    encode_items,
    encode_rows,
    fingerprint_bytes,
)

__all__ = ["CORRECTED", "LATE", "OFFLINE", "REFUSED", "Answer", "Client", "Pending"]

_Code = grpc.StatusCode
# The service is there and does not want this request.
_REFUSING = {
    _Code.FAILED_PRECONDITION: "the service does not run this model or corrector",
    _Code.UNAUTHENTICATED: "the service does not know the token",
    _Code.PERMISSION_DENIED: "the service does not allow it",
    _Code.INVALID_ARGUMENT: "the service calls the request malformed",
    _Code.RESOURCE_EXHAUSTED: "the service has too much to do",
    _Code.UNIMPLEMENTED: "the service does not know this request",
}
# Asking again before something has changed does not help.
_LASTING = {_Code.FAILED_PRECONDITION, _Code.UNAUTHENTICATED, _Code.PERMISSION_DENIED, _Code.UNIMPLEMENTED}
# Why a breaker is open where requests go out and nothing comes back.
_IN_VAIN = "no answer in time"
_SCORE_ENCODINGS = ("float16", "float32")


class Client:
    """Asks a correction service, over one connection that is kept.

    Nothing that happens on the network is raised or waited for: a request is made by :meth:`upload` or :meth:`score`,
    which return at once, and :meth:`Pending.answer` waits for as long as its caller says.

    After failures in a row the service is left alone for a while that grows and is partly random
    (:class:`~recbole_cocorr.service.client.breaker.Breaker`); then one request tries it again. Corrections and scores
    have a breaker each: a service may have the one and not the other, or be too slow for one alone.

    Parameters
    ----------
    target : str
        ``host:port``, or any name that gRPC resolves.
    fingerprint : str or None
        Fingerprint of the device's model; None for a client without corrections.
    shape : tuple of int or None
        H, K and f of a correction; None for a client without corrections.
    timeout : float
        Seconds after which a request is given up, whoever waits for it.
    encoding : {"float32", "float16", "int8"}
        How hidden states are written.
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
        The breaker of the corrections.
    change : callable, optional
        Changes the hidden states before they are sent, such as by noise.
    corrector : str, optional
        Fingerprint of the corrector whose scores are asked for.
    score_encoding : {"float16", "float32"}
        How scores are written.
    score_breaker : Breaker, optional
        The breaker of the scores.

    Raises
    ------
    UserError
        For a setting that does not fit.
    """

    def __init__(
        self,
        target: str,
        fingerprint: str | None,
        shape: tuple[int, int, int] | None,
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
        corrector: str | None = None,
        score_encoding: str = "float16",
        score_breaker: Breaker | None = None,
    ):
        if not isinstance(target, str) or not target.strip() or not target.isprintable():
            raise UserError(f"the service's address is {shown(target)}; it must be HOST:PORT")
        if (fingerprint is None) != (shape is None) or (fingerprint is None and corrector is None):
            raise UserError("a client asks for corrections (fingerprint and shape), for scores (corrector), or both")
        self._fingerprint = _bytes_of(fingerprint, "fingerprint")
        self._corrector = _bytes_of(corrector, "corrector")
        encoding = checked_choice(encoding, "encoding", tuple(ENCODINGS))
        score_encoding = checked_choice(score_encoding, "score_encoding", _SCORE_ENCODINGS)
        right = "a number of seconds above 0, at most 3600"
        self.target, self.timeout = target, checked_number(timeout, "timeout", right, 1e-9, 3600)
        for name, value in (("breaker", breaker), ("score_breaker", score_breaker)):
            if value is not None and not isinstance(value, Breaker):
                raise UserError(f"{name} is {shown(value)}; it must be a Breaker")
        if change is not None and not callable(change):
            raise UserError(f"change is {shown(change)}; it must be a function of hidden states")
        self.shape = None if shape is None else Shape(*shape)
        self._encoding, self._change, self._score_encoding = ENCODINGS[encoding], change, ENCODINGS[score_encoding]
        self.breaker = Breaker() if breaker is None else breaker
        self.score_breaker = Breaker() if score_breaker is None else score_breaker
        self._open, self._metadata = channel_opener(
            target, token, tls, ca, certificate, key, server_name, token_in_the_clear
        )
        self._channel, self._connecting = self._open(), threading.Lock()
        self._closed, self._process = False, os.getpid()

    @property
    def asks_corrections(self) -> bool:
        """Whether it knows a model to ask corrections for."""
        return self._fingerprint is not None

    @property
    def asks_scores(self) -> bool:
        """Whether it knows a corrector to ask scores of."""
        return self._corrector is not None

    def upload(self, hidden_states: np.ndarray, clicks: int) -> Pending:
        """Ask for a correction; returns at once.

        Parameters
        ----------
        hidden_states : numpy.ndarray, shape [n, d]
        clicks : int
            The session's counter, which the correction is bound to.

        Raises
        ------
        UserError
            If they are no matrix of finite numbers, or the client has no model.
        """
        if self._fingerprint is None:
            raise UserError("this client asks for no corrections; give it fingerprint and shape")

        def request() -> tuple[int, bytes]:
            rows = hidden_states if self._change is None else self._change(hidden_states)
            payload = encode_rows(rows, self._encoding)
            fields = {"fingerprint": self._fingerprint, "clicks": clicks, "encoding": self._encoding}
            return len(payload), pb.CorrectRequest(hidden_states=payload, **fields).SerializeToString()

        def content(raw: bytes) -> tuple[Correction, int]:
            reply = pb.CorrectReply.FromString(raw)
            if reply.fingerprint != self._fingerprint:
                raise WireError("it was made by another model")
            if reply.clicks != clicks:
                raise WireError("it is of other clicks")
            if (reply.heads, reply.mini_batch, reply.head_width) != self.shape:
                raise WireError("it has another shape than this model reads")
            return Correction(*decode_correction(reply.correction, self.shape)), len(reply.correction)

        return self._send(CORRECT, self.breaker, clicks, "hidden states", request, content)

    def score(self, clicked: Sequence[int], candidates: Sequence[int], clicks: int) -> Pending:
        """Ask for the scores of candidates; returns at once.

        Parameters
        ----------
        clicked, candidates : sequence of int
            Rows of the corrector's catalogue: of the last clicks, oldest first, and of what is to be scored.
        clicks : int
            The session's counter, which the scores are bound to.

        Raises
        ------
        UserError
            If there are no items or too many, one is no row, or the client has no corrector.
        """
        if self._corrector is None:
            raise UserError("this client asks for no scores; give it a corrector")
        count = len(candidates)

        def request() -> tuple[int, bytes]:
            if len(clicked) > MOST_CLICKS or count > MOST_CANDIDATES:
                raise WireError(f"a request has {MOST_CLICKS} clicks and {MOST_CANDIDATES} candidates at most")
            rows = {"clicked": encode_items(clicked), "candidates": encode_items(candidates)}
            fields = {"corrector": self._corrector, "clicks": clicks, "encoding": self._score_encoding}
            return sum(map(len, rows.values())), pb.ScoreRequest(**rows, **fields).SerializeToString()

        def content(raw: bytes) -> tuple[np.ndarray, int]:
            reply = pb.ScoreReply.FromString(raw)
            if reply.corrector != self._corrector:
                raise WireError("it was made by another corrector")
            if reply.clicks != clicks:
                raise WireError("it is of other clicks")
            if reply.encoding != self._score_encoding:
                raise WireError("it is in another encoding than was asked for")
            return decode_scores(reply.scores, reply.encoding, count), len(reply.scores)

        return self._send(SCORE, self.score_breaker, clicks, "items", request, content)

    def _send(
        self,
        method: str,
        breaker: Breaker,
        clicks: int,
        name: str,
        request: Callable[[], tuple[int, bytes]],
        content: Callable[[bytes], tuple[Any, int]],
    ) -> Pending:
        if os.getpid() != self._process:
            raise UserError(
                f"the connection to {self.target} was opened in another process and does not outlive a fork; open one "
                "in the process that uses it"
            )
        if not breaker.passes():
            pending = Pending(clicks)
            lasting = breaker.reason.startswith(REFUSED)
            pending.settle(Answer(REFUSED if lasting else OFFLINE, breaker.reason))
            return pending
        try:
            size, raw = request()
        except (WireError, ValueError, TypeError) as error:
            breaker.gave_up()
            raise UserError(f"{name} that cannot be sent: {error}") from None
        except BaseException:  # of the caller's own ``change``
            breaker.gave_up()
            raise
        if breaker.reason == _IN_VAIN:
            self._connect_anew()
        try:
            call = self._channel.unary_unary(method).future(raw, timeout=self.timeout, metadata=self._metadata)
        except ValueError:  # the channel is closed
            breaker.gave_up()
            pending = Pending(clicks, size)
            pending.settle(Answer(OFFLINE, "the client is closed"))
            return pending
        pending = Pending(clicks, size, call.cancel, lambda in_vain: _given_up(breaker, in_vain))
        call.add_done_callback(lambda call: _settle(pending, call, breaker, content))
        return pending

    def _connect_anew(self) -> None:
        """Leave a connection on which nothing comes back: it may be dead, and nobody has said so."""
        with self._connecting:
            if self._closed:
                return
            # What is on its way on the other one may still come, within its timeout.
            closing = threading.Timer(self.timeout, self._channel.close)
            closing.daemon = True
            closing.start()
            self._channel = self._open()

    def correct(self, hidden_states: np.ndarray, clicks: int, wait: float) -> Answer:
        """Ask and wait, at most ``wait`` seconds; gives the request up then."""
        pending = self.upload(hidden_states, clicks)
        answer = pending.answer(wait)
        if answer.status == LATE:
            pending.cancel()
        return answer

    def close(self) -> None:
        """Give up what is on its way and close the connection; may be called again.

        In a forked child it does nothing: the connection is the parent's.
        """
        if os.getpid() != self._process:
            return
        with self._connecting:
            if not self._closed:
                self._closed = True
                self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _given_up(breaker: Breaker, in_vain: bool) -> None:
    if in_vain:  # or a frozen service would cost every ranking its whole deadline
        breaker.failed(_IN_VAIN)
    else:
        breaker.gave_up()


def _settle(pending: Pending, call: Any, breaker: Breaker, content: Callable[[bytes], tuple[Any, int]]) -> None:
    """Called on gRPC's thread once a call is over."""
    seconds, code = pending.seconds, call.code()
    if code is _Code.OK:
        try:
            value, size = content(call.result())
            pending.settle(Answer(CORRECTED, "", value, seconds, size), breaker.succeeded)
        except (WireError, DecodeError) as error:
            answer = Answer(REFUSED, f"the answer cannot be used: {error}", seconds=seconds)
            pending.settle(answer, lambda: breaker.failed(f"{REFUSED}: {answer.reason}"))
    elif code is _Code.CANCELLED and call.cancelled():
        pending.settle(Answer(LATE, "given up", seconds=seconds), breaker.gave_up)
    elif code is _Code.INVALID_ARGUMENT:  # this request's fault alone
        pending.settle(Answer(REFUSED, _REFUSING[code], seconds=seconds), breaker.succeeded)
    elif code in _REFUSING:
        reason, lasting = f"{REFUSED}: {_REFUSING[code]}", code in _LASTING
        pending.settle(
            Answer(REFUSED, _REFUSING[code], seconds=seconds), lambda: breaker.failed(reason, at_once=lasting)
        )
    else:
        answer = Answer(OFFLINE, f"the service cannot be reached ({code.name.lower()})", seconds=seconds)
        if code is _Code.DEADLINE_EXCEEDED:
            answer = Answer(LATE, _IN_VAIN, seconds=seconds)
        pending.settle(answer, lambda: breaker.failed(answer.reason))


def _bytes_of(fingerprint: str | None, name: str) -> bytes | None:
    if fingerprint is None:
        return None
    try:
        return fingerprint_bytes(fingerprint)
    except WireError as error:
        raise UserError(f"{name} is {shown(fingerprint)}: {error}") from None
