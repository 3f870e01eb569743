"""Corrections and scores over plain HTTP for a web page, beside gRPC: the same payload, the same checks and queues.

``POST /v1/correct``: the body is the hidden states, float32, little-endian; the headers ``X-Fingerprint`` (32
hexadecimal digits) and ``X-Clicks`` say of which model and clicks. The answer's body is the correction, A^ and then B^;
its headers repeat the two and add ``X-Shape: H,K,f``.

``POST /v1/score``: the body is item rows, int32, little-endian, first those of the last clicks, oldest first, then
those of the candidates; ``X-Clicked`` says how many of them are clicks, ``X-Fingerprint`` is the corrector's,
``X-Clicks`` as above. The answer's body is the candidates' scores, float32, little-endian; its headers repeat the
last two and add ``X-Shape: C``.

``GET /v1/describe`` says in JSON what is served. ``GET /deltas/latest.json`` and the file that it names are the deltas
of an artifact, with ETag. An error is a line of text.
"""

import json
import ssl
import time
from collections.abc import Coroutine
from functools import partial
from http import HTTPStatus
from typing import Any

import grpc
from prometheus_client import generate_latest

from recbole_cocorr.service.server.connection import Request, Response
from recbole_cocorr.service.server.delta_files import PATH, Served, is_known
from recbole_cocorr.service.server.gate import Gate, Outcome
from recbole_cocorr.service.server.metrics import Metrics
from recbole_cocorr.service.server.refusal import Refusal
from recbole_cocorr.service.server.service import Corrections
from recbole_cocorr.service.server.turns import peer_of
from recbole_cocorr.service.server.web import Web, host_is_known
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import MOST_CANDIDATES, MOST_CLICKS, WireError, fingerprint_bytes

_Code = grpc.StatusCode
_STATUS = {
    _Code.OK: HTTPStatus.OK,
    _Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    _Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    _Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    _Code.FAILED_PRECONDITION: HTTPStatus.CONFLICT,
    _Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    _Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    _Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    _Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}
# Seconds that an answer may take.
_DEADLINE = 5.0
_HEADERS = "Authorization, Content-Type, X-Fingerprint, X-Clicks, X-Clicked"
_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_NO_STORE = ("Cache-Control", "no-store")


class Route:
    """What answers over HTTP: checks a request's Host, its token and its turn, and tells people what is wrong.

    Parameters
    ----------
    gate : Gate
    names : tuple of str or None
        Names that Host may have beside addresses and localhost; None for any name, where a token or a certificate is
        needed.
    origin : str
        The page that may ask from a browser (``Access-Control-Allow-Origin``); "" for pages of this origin alone.
    method : str
        Its name in the metrics.

    Attributes
    ----------
    there_is : str
        What may be asked, for who asks something else.
    """

    there_is = ""

    def __init__(self, gate: Gate, names: tuple[str, ...] | None = (), origin: str = "", method: str = "http"):
        self._gate, self._names, self._method = gate, names, method
        self._for_browsers = []
        if origin:
            self._for_browsers = [
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Allow-Headers", _HEADERS),
                ("Access-Control-Allow-Methods", "GET, POST"),
                ("Access-Control-Expose-Headers", "X-Fingerprint, X-Clicks, X-Shape"),
            ]
        self._web = Web(self)

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None, share_port: bool = False) -> int:
        """Listen; returns the port. Several processes may listen on a port that all of them share."""
        return await self._web.start(host, port, tls, share_port)

    async def stop(self, grace: float) -> None:
        """Take nothing more in, answer earlier requests within ``grace`` seconds, end."""
        await self._web.stop(grace)

    def serve(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """The answer of a request; a coroutine where it has to be computed, which needs a turn."""
        if request.method == "POST":
            return self._serve_in_turn(request)
        response = None
        with self._gate.outcome(self._method) as outcome:
            self._client(request)
            response = self.look_up(request)
        return self._finished(outcome, response)

    async def _serve_in_turn(self, request: Request) -> Response:
        response = None
        with self._gate.outcome(self._method) as outcome:
            client, (host, port) = self._client(request), request.client
            kind, host = ("ipv6", f"[{host}]") if ":" in host else ("ipv4", host)
            peer = peer_of(f"{kind}:{host}:{port}", client)
            response = await self._gate.in_turn(peer, partial(self.compute, request))
        return self._finished(outcome, response)

    def _client(self, request: Request) -> str:
        """A name for the token that a request carries; refuses the request if something is wrong with it."""
        if not host_is_known(request, self._names):
            raise Refusal(_Code.INVALID_ARGUMENT, "the header Host is missing, malformed or of another server")
        if request.method == "OPTIONS":  # a browser's question before the request; it carries no token
            return ""
        client = self._gate.client([("authorization", request.header(b"authorization") or "")])
        if request.body is None:
            raise Refusal(_Code.RESOURCE_EXHAUSTED, "the body is too long")
        return client

    def _finished(self, outcome: Outcome, response: Response | None) -> Response:
        if response is None:
            response = Response(_STATUS[outcome.code], [_TEXT], outcome.reason.encode() + b"\n")
        headers = [*response.headers, *self._for_browsers]
        if not any(name == "Cache-Control" for name, _ in headers):
            headers.append(_NO_STORE)
        return response._replace(headers=headers)

    def most_bytes(self, path: str) -> int:
        """Most bytes of a request's body."""
        return 0

    def look_up(self, request: Request) -> Response:
        """The answer where nothing has to be computed.

        Raises
        ------
        Refusal
            If the request is not answered.
        """
        if request.method == "OPTIONS":
            return Response(HTTPStatus.NO_CONTENT, [], b"")
        raise Refusal(_Code.NOT_FOUND, self.there_is)

    async def compute(self, request: Request) -> Response:
        """The answer of a POST; raises as :meth:`look_up` does."""
        return self.look_up(request)


class MetricsRoute(Route):
    """Prometheus' metrics."""

    there_is = "GET /metrics is what there is"

    def __init__(self, gate: Gate, metrics: Metrics, names: tuple[str, ...] | None = ()):
        super().__init__(gate, names, method="metrics")
        self._measures = metrics

    def look_up(self, request: Request) -> Response:
        """The metrics as text."""
        if request.method not in ("GET", "HEAD") or request.path not in ("/", "/metrics"):
            return super().look_up(request)
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(HTTPStatus.OK, [("Content-Type", kind)], generate_latest(self._measures.registry))


class ServiceRoute(Route):
    """Corrections and scores.

    Parameters
    ----------
    service : Corrections
    gate, names, origin
        As for :class:`Route`.

    Attributes
    ----------
    deltas : dict of str to Served
        Files under ``/deltas/``, by name.
    """

    there_is = "POST /v1/correct, POST /v1/score, GET /v1/describe and GET /deltas/latest.json are what there is"

    def __init__(self, service: Corrections, gate: Gate, names: tuple[str, ...] | None = (), origin: str = ""):
        super().__init__(gate, names, origin)
        self._service = service
        self.deltas: dict[str, Served] = {}

    def most_bytes(self, path: str) -> int:
        """Most bytes of a request's body."""
        model = self._service.model
        if model is None or path == "/v1/score":
            return 4 * (MOST_CLICKS + MOST_CANDIDATES)
        return 4 * model.width * model.most_rows

    def look_up(self, request: Request) -> Response:
        """What is served: its description, or a delta."""
        if request.method in ("GET", "HEAD"):
            if request.path == "/v1/describe":
                return Response(HTTPStatus.OK, [("Content-Type", "application/json")], self._description())
            if request.path.startswith(PATH):
                return self._delta(request.path[len(PATH) :], request.header(b"if-none-match"))
        return super().look_up(request)

    def _description(self) -> bytes:
        fields = self._service.description().ListFields()
        return json.dumps({field.name: v.hex() if isinstance(v, bytes) else v for field, v in fields}).encode()

    def _delta(self, name: str, if_none_match: str | None) -> Response:
        if name not in self.deltas:
            raise Refusal(_Code.NOT_FOUND, "there is no such delta; GET /deltas/latest.json names the newest one")
        served = self.deltas[name]
        headers = [("ETag", served.etag), ("Cache-Control", served.caching)]
        if is_known(served, if_none_match):
            return Response(HTTPStatus.NOT_MODIFIED, headers, b"")
        return Response(HTTPStatus.OK, [("Content-Type", served.kind), *headers], served.content)

    async def compute(self, request: Request) -> Response:
        """A correction, or scores."""
        if request.path not in ("/v1/correct", "/v1/score"):
            return self.look_up(request)
        clicks, deadline, body = _whole(request, b"x-clicks"), time.monotonic() + _DEADLINE, request.body
        try:
            fingerprint = fingerprint_bytes(request.header(b"x-fingerprint") or "")
        except WireError as error:
            raise Refusal(_Code.INVALID_ARGUMENT, f"X-Fingerprint: {error}") from None
        if request.path == "/v1/correct":
            asked = pb.CorrectRequest(fingerprint=fingerprint, clicks=clicks, hidden_states=body)
            reply = await self._service.correct(asked, deadline)
            payload, shape = reply.correction, f"{reply.heads},{reply.mini_batch},{reply.head_width}"
        else:
            cut = 4 * _whole(request, b"x-clicked")
            items = {"clicked": body[:cut], "candidates": body[cut:]}
            reply = await self._service.score(pb.ScoreRequest(corrector=fingerprint, clicks=clicks, **items), deadline)
            payload, shape = reply.scores, str(len(reply.scores) // 4)
        headers = [("Content-Type", "application/octet-stream"), ("X-Fingerprint", fingerprint.hex())]
        headers += [("X-Clicks", str(clicks)), ("X-Shape", shape)]
        return Response(HTTPStatus.OK, headers, payload)


def _whole(request: Request, name: bytes) -> int:
    text = request.header(name) or ""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refusal(_Code.INVALID_ARGUMENT, f"{name.decode().title()} is missing or no whole number")
    return int(text)
