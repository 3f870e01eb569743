"""The gRPC service: what a request must be, and how it is answered."""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import grpc
from google.protobuf.message import DecodeError

from recbole_cocorr.cloud.batcher import Batcher, QueueFullError
from recbole_cocorr.cloud.correction_model import CorrectionModel
from recbole_cocorr.cloud.logs import log
from recbole_cocorr.cloud.metrics import Metrics
from recbole_cocorr.cloud.security import authorised
from recbole_cocorr.cloud.v1 import correction_pb2 as pb
from recbole_cocorr.cloud.wire import SERVICE, WireError, decode_rows

_Code = grpc.StatusCode


class Refusal(Exception):
    """A request that is not answered, and why."""

    def __init__(self, code: grpc.StatusCode, reason: str):
        super().__init__(reason)
        self.code, self.reason = code, reason


class Corrections:
    """The service ``recbole_cocorr.cloud.v1.Corrections``.

    Keeps nothing of a request, so any number of copies may stand behind a load balancer.

    Parameters
    ----------
    model : CorrectionModel
    batcher : Batcher
    metrics : Metrics
    per_connection : int
        Requests of one connection that are worked on at a time; 0 for any number.

    Attributes
    ----------
    model : CorrectionModel
        What is served; may be replaced at any time. Requests already taken in keep the one they came for.
    """

    def __init__(self, model: CorrectionModel, batcher: Batcher, metrics: Metrics, per_connection: int = 0):
        self.model = model
        self._batcher, self._metrics, self._per_connection = batcher, metrics, per_connection
        self._connections: Counter[str] = Counter()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is given.

        Messages come as bytes: a request that does not parse is the caller's error, INVALID_ARGUMENT, where gRPC's
        own answer would be INTERNAL.
        """
        methods = {
            "Correct": grpc.unary_unary_rpc_method_handler(self._method("Correct", self.correct)),
            "Describe": grpc.unary_unary_rpc_method_handler(self._method("Describe", self.describe)),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _method(self, name: str, answer: Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]):
        async def method(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            code, reason = _Code.OK, ""
            try:
                return await answer(request, context)
            except Refusal as refusal:
                code, reason = refusal.code, refusal.reason
            except TimeoutError:
                code, reason = _Code.DEADLINE_EXCEEDED, "the deadline passed while the request waited"
            except Exception:
                code, reason = _Code.INTERNAL, "the service failed"
                log(logging.ERROR, "a request failed", method=name)
                logging.getLogger(__name__).debug("", exc_info=True)
            except BaseException:  # cancelled: the caller has given up
                code = _Code.CANCELLED
                raise
            finally:
                self._metrics.requests.labels(name, code.name).inc()
            await context.abort(code, reason)

        return method

    async def correct(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Answer Correct.

        Raises
        ------
        Refusal
            For a request that is malformed, of another model, or one too many.
        TimeoutError
            If the caller's deadline passed while it waited.
        """
        peer = context.peer() if self._per_connection else ""
        if self._per_connection and self._connections[peer] >= self._per_connection:
            raise Refusal(_Code.RESOURCE_EXHAUSTED, f"more than {self._per_connection} requests of one connection")
        self._connections[peer] += 1
        try:
            return await self._correct(request, context)
        finally:
            self._connections[peer] -= 1
            if not self._connections[peer]:
                del self._connections[peer]

    async def _correct(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        asked, shape = _parsed(pb.CorrectRequest, request), self.model.shape
        left = context.time_remaining()
        deadline = None if left is None else time.monotonic() + left
        sent = await self.corrected(asked.fingerprint, asked.clicks, asked.encoding, asked.hidden_states, deadline)
        return pb.CorrectReply(
            fingerprint=asked.fingerprint, clicks=asked.clicks, correction=sent, **shape._asdict()
        ).SerializeToString()

    async def corrected(
        self, fingerprint: bytes, clicks: int, encoding: int, payload: bytes, deadline: float | None
    ) -> bytes:
        """The correction of checked hidden states.

        Parameters
        ----------
        fingerprint : bytes
        clicks, encoding : int
        payload : bytes
            Hidden states.
        deadline : float or None
            Of ``time.monotonic``.

        Raises
        ------
        Refusal
            For a request that is malformed, of another model, or one too many.
        TimeoutError
            If the deadline passed while it waited.
        """
        model = self.model
        if len(fingerprint) != 16:
            raise Refusal(_Code.INVALID_ARGUMENT, f"a fingerprint of {len(fingerprint)} bytes; it has 16")
        if fingerprint.hex() != model.fingerprint:
            raise Refusal(
                _Code.FAILED_PRECONDITION,
                f"the device's model is another one than the service's, {model.fingerprint}; it goes on alone until "
                "it has that one",
            )
        if not clicks:
            raise Refusal(_Code.INVALID_ARGUMENT, "the click counter is 0; there is nothing to correct")
        try:
            rows = decode_rows(payload, encoding, model.width, model.most_rows)
        except WireError as error:
            raise Refusal(_Code.INVALID_ARGUMENT, str(error)) from None
        try:
            return await self._batcher.correct(model, rows, deadline)
        except QueueFullError:
            raise Refusal(_Code.RESOURCE_EXHAUSTED, "too many requests wait; try again later") from None

    async def describe(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Answer Describe: which model is served."""
        _parsed(pb.DescribeRequest, request)
        m = self.model
        return pb.DescribeReply(
            fingerprint=bytes.fromhex(m.fingerprint), width=m.width, most_rows=m.most_rows, **m.shape._asdict()
        ).SerializeToString()


def _parsed(kind, request: bytes):
    try:
        return kind.FromString(request)
    except DecodeError:
        raise Refusal(_Code.INVALID_ARGUMENT, f"the message is no {kind.DESCRIPTOR.name}") from None


class TokenCheck(grpc.aio.ServerInterceptor):
    """Refuses calls without a bearer token, but those of the health check, which an orchestrator makes.

    Parameters
    ----------
    tokens : tuple of bytes
    metrics : Metrics

    Attributes
    ----------
    tokens : tuple of bytes
        May be replaced at any time.
    """

    def __init__(self, tokens: tuple[bytes, ...], metrics: Metrics):
        self.tokens, self._metrics = tokens, metrics
        self._refused = grpc.unary_unary_rpc_method_handler(self._refuse)

    async def intercept_service(self, continuation, handler_call_details):
        """Let a call through, or not."""
        if handler_call_details.method.startswith("/grpc.health.v1.Health/"):
            return await continuation(handler_call_details)
        if authorised(handler_call_details.invocation_metadata, self.tokens):
            return await continuation(handler_call_details)
        return self._refused

    async def _refuse(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self._metrics.requests.labels("any", _Code.UNAUTHENTICATED.name).inc()
        await context.abort(_Code.UNAUTHENTICATED, "a bearer token that the service knows is needed")
