"""What every request passes before it is answered, whichever RPC it is: its token, and its client's turn."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
        self._over = False

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

    @asynccontextmanager
    async def turn(self, peer: Peer) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the length of the block.

        Raises
        ------
        Refusal
            If too many wait, the service stops, or has stopped meanwhile.
        """
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            async with self._turns.turn(peer):
                yield
        except CrowdedError:
            await asyncio.sleep(_PAUSE)
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
            async with self.outcome(name) as outcome:
                try:
                    async with self.turn(peer_of(context.peer(), client)):
                        return await answer(request, context)
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
                    async with self.turn(peer):
                        pass
                    yield message

            peer = peer_of(context.peer(), client)
            async with self.outcome(name) as outcome:
                if hasattr(messages, "__aiter__"):
                    answers = answer(one_by_one(), context)
                else:
                    async with self.turn(peer):
                        pass
                    answers = answer(messages, context)
                if not hasattr(answers, "__aiter__"):
                    return await answers
                async for message in answers:
                    await context.write(message)
                return None
            await context.abort(outcome.code, outcome.reason)

        return method

    @asynccontextmanager
    async def outcome(self, method: str) -> AsyncIterator["Outcome"]:
        """Count how a request ends, and turn exceptions into the refusal for its caller.

        After the block, which no exception leaves, the outcome holds the code and the reason of a refusal.
        """
        outcome = Outcome()
        try:
            yield outcome
        except asyncio.CancelledError:  # the caller has given up
            outcome.code = _Code.CANCELLED
            raise
        except grpc.aio.AbortError:
            raise
        except ConnectionError:
            outcome.code = _Code.CANCELLED
        except Exception as error:
            refusal = refusal_of(error, method)
            outcome.code, outcome.reason = refusal.code, refusal.reason
        finally:
            self._metrics.requests.labels(method, outcome.code.name).inc()


@dataclass
class Outcome:
    """How a request ended."""

    code: grpc.StatusCode = _Code.OK
    reason: str = ""


def _refusing(refusal: Refusal) -> Callable[..., Any]:
    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        raise refusal

    return answer
