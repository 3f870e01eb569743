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
from http import HTTPStatus
from typing import Any

import grpc
from prometheus_client import generate_latest

from recbole_cocorr.service.server.delta_files import PATH, Served, is_known
from recbole_cocorr.service.server.gate import Gate
from recbole_cocorr.service.server.metrics import Metrics
from recbole_cocorr.service.server.refusal import Refusal
from recbole_cocorr.service.server.service import Corrections
from recbole_cocorr.service.server.turns import peer_of
from recbole_cocorr.service.server.web import Web, body_of, header, host_is_known, respond
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
_Response = tuple[HTTPStatus, list[tuple[str, str]], bytes]
_HEADERS = "Authorization, Content-Type, X-Fingerprint, X-Clicks, X-Clicked"
_TEXT = ("Content-Type", "text/plain; charset=utf-8")


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
    """

    def __init__(self, gate: Gate, names: tuple[str, ...] | None = (), origin: str = "", method: str = "http"):
        self._gate, self._names, self._origin, self._method = gate, names, origin, method
        self._web = Web(self._serve)

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen; returns the port."""
        return await self._web.start(host, port, tls)

    async def stop(self, grace: float) -> None:
        """Take nothing more in, answer earlier requests within ``grace`` seconds, end."""
        await self._web.stop(grace)

    async def _serve(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        response: _Response = (HTTPStatus.OK, [], b"")
        async with self._gate.outcome(self._method) as outcome:
            if not host_is_known(scope, self._names):
                raise Refusal(_Code.INVALID_ARGUMENT, "the header Host is missing, malformed or of another server")
            if scope["method"] == "OPTIONS":  # a browser's question before the request; it carries no token
                response = HTTPStatus.NO_CONTENT, [], b""
            else:
                client = self._gate.client([("authorization", header(scope, "authorization") or "")])
                body = await body_of(receive, self.most_bytes(scope["path"]))
                if body is None:
                    raise Refusal(_Code.RESOURCE_EXHAUSTED, "the body is too long")
                host, port = scope["client"] or ("", 0)
                kind, host = ("ipv6", f"[{host}]") if ":" in host else ("ipv4", host)
                async with self._gate.turn(peer_of(f"{kind}:{host}:{port}", client)):
                    response = await self.answer(scope, body)
        if outcome.code is _Code.CANCELLED:  # nobody is there to read an answer
            return
        if outcome.code is not _Code.OK:
            response = _STATUS[outcome.code], [_TEXT], outcome.reason.encode() + b"\n"
        status, headers, content = response
        if not any(name == "Cache-Control" for name, _ in headers):
            headers = [*headers, ("Cache-Control", "no-store")]
        await respond(send, status, [*headers, *self._for_browsers()], content)

    def most_bytes(self, path: str) -> int:
        """Most bytes of a request's body."""
        return 0

    async def answer(self, scope: dict[str, Any], body: bytes) -> _Response:
        """Status, headers and body of an answer.

        Raises
        ------
        Refusal
            If the request is not answered.
        """
        raise NotImplementedError

    def _for_browsers(self) -> list[tuple[str, str]]:
        if not self._origin:
            return []
        return [
            ("Access-Control-Allow-Origin", self._origin),
            ("Access-Control-Allow-Headers", _HEADERS),
            ("Access-Control-Allow-Methods", "GET, POST"),
            ("Access-Control-Expose-Headers", "X-Fingerprint, X-Clicks, X-Shape"),
        ]


class MetricsRoute(Route):
    """Prometheus' metrics."""

    def __init__(self, gate: Gate, metrics: Metrics, names: tuple[str, ...] | None = ()):
        super().__init__(gate, names, method="metrics")
        self._measures = metrics

    async def answer(self, scope: dict[str, Any], body: bytes) -> _Response:
        """The metrics as text."""
        if scope["method"] not in ("GET", "HEAD") or scope["path"] not in ("/", "/metrics"):
            raise Refusal(_Code.NOT_FOUND, "GET /metrics is what there is")
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return HTTPStatus.OK, [("Content-Type", kind)], generate_latest(self._measures.registry)


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

    async def answer(self, scope: dict[str, Any], body: bytes) -> _Response:
        """A correction, scores, or what is served."""
        method, path = scope["method"], scope["path"]
        if method in ("GET", "HEAD") and path == "/v1/describe":
            fields = (await self._service.describe()).ListFields()
            served = {field.name: v.hex() if isinstance(v, bytes) else v for field, v in fields}
            return HTTPStatus.OK, [("Content-Type", "application/json")], json.dumps(served).encode()
        if method in ("GET", "HEAD") and path.startswith(PATH):
            return self._delta(path[len(PATH) :], header(scope, "If-None-Match"))
        if method != "POST" or path not in ("/v1/correct", "/v1/score"):
            raise Refusal(_Code.NOT_FOUND, "POST /v1/correct, POST /v1/score and GET /v1/describe are what there is")
        clicks, deadline = _whole(scope, "X-Clicks"), time.monotonic() + _DEADLINE
        try:
            fingerprint = fingerprint_bytes(header(scope, "X-Fingerprint") or "")
        except WireError as error:
            raise Refusal(_Code.INVALID_ARGUMENT, f"X-Fingerprint: {error}") from None
        if path == "/v1/correct":
            request = pb.CorrectRequest(fingerprint=fingerprint, clicks=clicks, hidden_states=body)
            reply = await self._service.correct(request, deadline)
            payload, shape = reply.correction, (reply.heads, reply.mini_batch, reply.head_width)
        else:
            cut = 4 * _whole(scope, "X-Clicked")
            items = {"clicked": body[:cut], "candidates": body[cut:]}
            reply = await self._service.score(pb.ScoreRequest(corrector=fingerprint, clicks=clicks, **items), deadline)
            payload, shape = reply.scores, (len(reply.scores) // 4,)
        headers = [("Content-Type", "application/octet-stream"), ("X-Fingerprint", fingerprint.hex())]
        headers += [("X-Clicks", str(clicks)), ("X-Shape", ",".join(map(str, shape)))]
        return HTTPStatus.OK, headers, payload

    def _delta(self, name: str, if_none_match: str | None) -> _Response:
        if name not in self.deltas:
            raise Refusal(_Code.NOT_FOUND, "there is no such delta; GET /deltas/latest.json names the newest one")
        served = self.deltas[name]
        headers = [("ETag", served.etag), ("Cache-Control", served.caching)]
        if is_known(served, if_none_match):
            return HTTPStatus.NOT_MODIFIED, headers, b""
        return HTTPStatus.OK, [("Content-Type", served.kind), *headers], served.content


def _whole(scope: dict[str, Any], name: str) -> int:
    text = header(scope, name) or ""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refusal(_Code.INVALID_ARGUMENT, f"{name} is missing or no whole number")
    return int(text)
