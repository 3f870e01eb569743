"""What every request passes before it is answered, whichever RPC it is: its token, and its client's turn."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import grpc

from recbole_cocorr.service.server.metrics import Metrics
from recbole_cocorr.service.server.refusal import CrowdedError, Refusal, StoppingError, refusal_of
from recbole_cocorr.service.server.security import token_of
from recbole_cocorr.service.server.turns import Peer, Turns, peer_of

_Code = grpc.StatusCode
# Seconds until a request too many is refused: who asks again at once would otherwise take the time of all others.
_PAUSE = 0.5


class Gate(grpc.aio.ServerInterceptor):
    """Lets requests in.

    Parameters
    ----------
    tokens : tuple of bytes
        One of them must come with a call, but for the health check, which an orchestrator makes; empty for no check.
    turns : Turns
    metrics : Metrics

    Attributes
    ----------
    tokens : tuple of bytes
        May be replaced at any time.
    """

    def __init__(self, tokens: tuple[bytes, ...], turns: Turns, metrics: Metrics):
        self.tokens, self._turns, self._metrics = tokens, turns, metrics
        self._tasks: set[asyncio.Task[Any]] = set()
        # Looked up when somebody asks for the metrics, where a set() would cost each request something.
        metrics.in_flight.set_function(lambda: len(self._tasks))
        metrics.held.set_function(lambda: turns.waiting)
        self._over, self._late = False, 0

    def client(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
        """A name for the token that a request carries, which tells clients of one address apart.

        Raises
        ------
        Refusal
            If it must carry a known token and does not.
        """
        if not self.tokens:
            return ""
        number = token_of(metadata, self.tokens)
        if number is None:
            raise Refusal(_Code.UNAUTHENTICATED, "a bearer token that the service knows is needed")
        return str(number)

    async def in_turn(self, peer: Peer, work: Callable[[], Awaitable[Any]]) -> Any:
        """Wait for a turn, work, and return what the work does.

        Raises
        ------
        Refusal
            If too many wait, the service stops, or has stopped meanwhile.
        """
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            async with self._turns.turn(peer):
                return await work()
        except CrowdedError:
            await asyncio.sleep(_PAUSE)
            raise
        except StoppingError:
            self._late += 1
            raise
        except asyncio.CancelledError:
            if self._over:
                raise StoppingError from None
            raise
        finally:
            self._tasks.discard(task)

    async def stop(self, grace: float) -> None:
        """Take nothing more in; earlier requests are answered within ``grace`` seconds, or refused then."""
        self._turns.stop()
        idle = asyncio.ensure_future(self._turns.idle())
        await asyncio.wait([idle], timeout=grace)
        idle.cancel()
        self._over = True
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    async def quiet(self, seconds: float, most: int) -> None:
        """Once stopped: wait until nobody has asked for some seconds, so many times at most."""
        for _ in range(most):
            before = self._late
            await asyncio.sleep(seconds)
            if self._late == before:
                return

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Let a call through, or not."""
        method, client = handler_call_details.method, ""
        try:
            if not method.startswith("/grpc.health.v1.Health/"):
                client = self.client(handler_call_details.invocation_metadata)
        except Refusal as refusal:
            return grpc.unary_unary_rpc_method_handler(self._unary(_refusing(refusal), "", "any"))
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        name = method.rpartition("/")[2]
        serializers = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, client, name), *serializers)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._stream(handler.unary_stream, client, name), *serializers)
        stream = self._stream(handler.stream_stream, client, name)
        return grpc.stream_stream_rpc_method_handler(stream, *serializers)

    def _unary(self, answer: Callable[..., Any], client: str, name: str) -> Callable[..., Any]:
        async def method(request: Any, context: grpc.aio.ServicerContext) -> Any:
            with self.outcome(name) as outcome:
                try:
                    return await self.in_turn(peer_of(context.peer(), client), partial(answer, request, context))
                except grpc.aio.AbortError:  # of a service that is not ours
                    outcome.code = context.code()
                    raise
            await context.abort(outcome.code, outcome.reason)

        return method

    def _stream(self, answer: Callable[..., Any], client: str, name: str) -> Callable[..., Any]:
        """A stream waits for its turn at every message and does not keep it: it may be open for hours."""

        async def method(messages: Any, context: grpc.aio.ServicerContext) -> None:
            async def one_by_one() -> AsyncIterator[Any]:
                async for message in messages:
                    await self.in_turn(peer, _nothing)
                    yield message

            peer = peer_of(context.peer(), client)
            with self.outcome(name) as outcome:
                if hasattr(messages, "__aiter__"):
                    answers = answer(one_by_one(), context)
                else:
                    await self.in_turn(peer, _nothing)
                    answers = answer(messages, context)
                if not hasattr(answers, "__aiter__"):
                    return await answers
                async for message in answers:
                    await context.write(message)
                return None
            await context.abort(outcome.code, outcome.reason)

        return method

    def outcome(self, method: str) -> "Outcome":
        """Count how a request ends, and turn exceptions into the refusal for its caller; for a ``with`` block.

        After the block, which no exception leaves but a cancellation and gRPC's own, the outcome holds the code and the
        reason of a refusal.
        """
        return Outcome(method, self._metrics)


class Outcome:
    """How a request ended.

    Attributes
    ----------
    code : grpc.StatusCode
    reason : str
    """

    def __init__(self, method: str, metrics: Metrics):
        self.code, self.reason = _Code.OK, ""
        self._method, self._metrics = method, metrics

    def __enter__(self) -> "Outcome":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> bool:
        refused = isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError)
        if refused:
            refusal = refusal_of(error, self._method)
            self.code, self.reason = refusal.code, refusal.reason
        elif isinstance(error, asyncio.CancelledError):  # the caller has given up
            self.code = _Code.CANCELLED
        self._metrics.count(self._method, self.code.name)
        return refused


async def _nothing() -> None:
    pass


def _refusing(refusal: Refusal) -> Callable[..., Any]:
    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        raise refusal

    return answer
