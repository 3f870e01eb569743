"""Corrections and scores over plain HTTP for a web page, beside gRPC: the same payload, the same checks and queues.

``POST /v1/correct``: the body is the hidden states, float32, little-endian; the headers ``X-Fingerprint`` (32
hexadecimal digits) and ``X-Clicks`` say of which model and clicks. The answer's body is the correction, A^ and then B^;
its headers repeat the two and add ``X-Shape: H,K,f``.

``POST /v1/score``: the body is item rows, int32, little-endian, first those of the last clicks, oldest first, then
those of the candidates; ``X-Clicked`` says how many of them are clicks, ``X-Fingerprint`` is the corrector's,
``X-Clicks`` as above. The answer's body is the candidates' scores, float32, little-endian; its headers repeat the
last two and add ``X-Shape: C``.

``GET /v1/describe`` says in JSON what is served. An error is a line of text.
"""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Sequence
from http import HTTPStatus

import grpc
import h11

from recbole_cocorr.cloud.logs import log
from recbole_cocorr.cloud.metrics import Metrics
from recbole_cocorr.cloud.security import authorised
from recbole_cocorr.cloud.service import Corrections, Refusal, TokenCheck
from recbole_cocorr.cloud.wire import FLOAT32, MOST_CANDIDATES, MOST_CLICKS, WireError, fingerprint_bytes

_Code = grpc.StatusCode
_STATUS = {
    _Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    _Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    _Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    _Code.FAILED_PRECONDITION: HTTPStatus.CONFLICT,
    _Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    _Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    _Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}
# Seconds that a connection may say nothing, and that an answer may take.
_SILENCE, _DEADLINE = 30.0, 5.0
_MOST_CONNECTIONS = 256
# A payload and its shape.
_Sent = tuple[bytes, Sequence[int]]
_HEADERS = "Authorization, Content-Type, X-Fingerprint, X-Clicks, X-Clicked"


class HttpRoute:
    """The route.

    Parameters
    ----------
    service : Corrections
    tokens : TokenCheck
    metrics : Metrics
    origin : str
        Of the page that may ask from a browser (``Access-Control-Allow-Origin``); "" for pages of this origin alone.
    """

    def __init__(self, service: Corrections, tokens: TokenCheck, metrics: Metrics, origin: str = ""):
        self._service, self._tokens, self._metrics, self._origin = service, tokens, metrics, origin
        self._connections: set[asyncio.StreamWriter] = set()
        self._busy: set[asyncio.StreamWriter] = set()

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._connection, host, port, ssl=tls)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self, grace: float) -> None:
        """Take nothing more in, answer what was within ``grace`` seconds, end."""
        self._server.close()
        for writer in self._connections - self._busy:
            writer.close()
        end = time.monotonic() + grace
        while self._busy and time.monotonic() < end:
            await asyncio.sleep(0.01)
        for writer in list(self._connections):
            writer.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _MOST_CONNECTIONS:
            writer.close()
            return
        self._connections.add(writer)
        connection = h11.Connection(h11.SERVER)
        try:
            while await self._request(connection, reader, writer):
                connection.start_next_cycle()
        except (OSError, TimeoutError, h11.LocalProtocolError):
            pass  # the other side is gone, or has said nothing for too long
        finally:
            self._connections.discard(writer)
            self._busy.discard(writer)
            writer.close()

    async def _request(self, connection: h11.Connection, reader: asyncio.StreamReader, writer) -> bool:
        """Answer one request; whether the connection may carry another."""
        request, body, status, headers, answer = None, b"", HTTPStatus.OK, [], b""
        most = 0
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await asyncio.wait_for(reader.read(65536), _SILENCE))
                elif isinstance(event, h11.Request):
                    request, most = event, self._most(event)
                    self._busy.add(writer)
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > most:
                        raise Refusal(_Code.RESOURCE_EXHAUSTED, f"more than {most} bytes")
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:  # closed
                    return False
            status, headers, answer = await self._answer(request, body)
        except h11.RemoteProtocolError:
            status, answer = HTTPStatus.BAD_REQUEST, b"this is no HTTP request\n"
        except Refusal as refusal:
            status, answer = _STATUS[refusal.code], refusal.reason.encode() + b"\n"
            self._metrics.requests.labels("http", refusal.code.name).inc()
        if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return False
        headers = [*headers, ("Content-Length", str(len(answer))), ("Cache-Control", "no-store"), *self._for_browsers()]
        response = h11.Response(status_code=int(status), headers=headers)
        parts = [connection.send(e) for e in (response, h11.Data(data=answer), h11.EndOfMessage())]
        writer.write(b"".join(part for part in parts if part))
        await writer.drain()
        self._busy.discard(writer)
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    def _most(self, request: h11.Request) -> int:
        """Most bytes of the request's body."""
        model = self._service.model
        if model is None or _path(request) == b"/v1/score":
            return 4 * (MOST_CLICKS + MOST_CANDIDATES)
        return 4 * model.width * model.most_rows

    def _for_browsers(self) -> list[tuple[str, str]]:
        if not self._origin:
            return []
        return [
            ("Access-Control-Allow-Origin", self._origin),
            ("Access-Control-Allow-Headers", _HEADERS),
            ("Access-Control-Allow-Methods", "GET, POST"),
            ("Access-Control-Expose-Headers", "X-Fingerprint, X-Clicks, X-Shape"),
        ]

    async def _answer(self, request: h11.Request, body: bytes) -> tuple[HTTPStatus, list[tuple[str, str]], bytes]:
        method, path = request.method, _path(request)
        given = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        if method == b"OPTIONS":  # a browser's question before the request; it carries no token
            return HTTPStatus.NO_CONTENT, [], b""
        if self._tokens.tokens and not authorised(given.items(), self._tokens.tokens):
            raise Refusal(_Code.UNAUTHENTICATED, "a bearer token that the service knows is needed")
        if (method, path) == (b"GET", b"/v1/describe"):
            return HTTPStatus.OK, [("Content-Type", "application/json")], json.dumps(self._described()).encode()
        answers = {b"/v1/correct": self._correct, b"/v1/score": self._score}
        if method != b"POST" or path not in answers:
            raise Refusal(_Code.NOT_FOUND, "POST /v1/correct, POST /v1/score and GET /v1/describe are what there is")
        clicks = _whole(given, "X-Clicks")
        try:
            fingerprint = fingerprint_bytes(given.get("x-fingerprint", ""))
        except WireError as error:
            raise Refusal(_Code.INVALID_ARGUMENT, f"X-Fingerprint: {error}") from None
        try:
            sent, shape = await answers[path](fingerprint, clicks, given, body)
        except TimeoutError:
            raise Refusal(_Code.DEADLINE_EXCEEDED, "too slow to be of use") from None
        except Refusal:
            raise
        except Exception:
            log(logging.ERROR, "a request failed", method="http")
            raise Refusal(_Code.INTERNAL, "the service failed") from None
        self._metrics.requests.labels("http", _Code.OK.name).inc()
        headers = [("Content-Type", "application/octet-stream"), ("X-Fingerprint", fingerprint.hex())]
        headers += [("X-Clicks", given["x-clicks"]), ("X-Shape", ",".join(map(str, shape)))]
        return HTTPStatus.OK, headers, sent

    async def _correct(self, fingerprint: bytes, clicks: int, given: dict[str, str], body: bytes) -> _Sent:
        model = self._service.model
        sent = await self._service.corrected(fingerprint, clicks, FLOAT32, body, time.monotonic() + _DEADLINE)
        return sent, () if model is None else model.shape

    async def _score(self, fingerprint: bytes, clicks: int, given: dict[str, str], body: bytes) -> _Sent:
        cut = 4 * _whole(given, "X-Clicked")
        sent = await self._service.scored(
            fingerprint, clicks, FLOAT32, body[:cut], body[cut:], time.monotonic() + _DEADLINE
        )
        return sent, (len(sent) // 4,)

    def _described(self) -> dict[str, object]:
        model, scorer, told = self._service.model, self._service.scorer, {}
        if model is not None:
            told |= {"fingerprint": model.fingerprint, "width": model.width, "most_rows": model.most_rows}
            told |= model.shape._asdict()
        if scorer is not None:
            told |= {"corrector": scorer.fingerprint, "items": scorer.items}
            told |= {"most_clicks": MOST_CLICKS, "most_candidates": MOST_CANDIDATES}
        return told


def _path(request: h11.Request) -> bytes:
    return request.target.partition(b"?")[0]


def _whole(given: dict[str, str], name: str) -> int:
    text = given.get(name.lower(), "")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refusal(_Code.INVALID_ARGUMENT, f"{name} is missing or no whole number")
    return int(text)
