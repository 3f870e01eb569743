"""Everything that can be wrong with a service, on purpose: a front that cuts, and a server that lies."""

import asyncio
import threading
from collections.abc import Callable
from concurrent import futures

import grpc
import numpy as np

from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import FLOAT32, SERVICE, Shape

# What a lying server answers.
LIES = ("garbage", "wrong shape", "NaN", "old model", "other clicks", "slow")


class LyingServer:
    """Answers every request wrongly, in the way it is told.

    Parameters
    ----------
    shape : Shape or None
        The shape of a correction; None for a server without a correction network.
    slow : float
        Seconds after which ``slow`` answers.

    Attributes
    ----------
    lie : str
        One of ``LIES``; may be changed at any time.
    port : int
    """

    def __init__(self, shape: Shape | None, slow: float = 0.2):
        self.lie, self._shape, self._slow = LIES[0], shape, slow
        self._rng, self._over = np.random.default_rng(0), threading.Event()
        answers = {"Correct": self._answer, "Score": self._score}
        handlers = {name: grpc.unary_unary_rpc_method_handler(answer) for name, answer in answers.items()}
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _answer(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        request, shape, lie = pb.CorrectRequest.FromString(raw), self._shape, self.lie
        if lie == "garbage":
            return self._rng.bytes(500)
        if lie == "wrong shape":
            shape = shape._replace(heads=shape.heads + 1)
        # In size and spread a correction like any other: taken for one, it would change the list.
        numbers = self._numbers(shape.bytes // 4, 5, context)
        fingerprint = b"an older model.." if lie == "old model" else request.fingerprint
        clicks = request.clicks - 1 if lie == "other clicks" else request.clicks
        return pb.CorrectReply(
            fingerprint=fingerprint, clicks=clicks, correction=numbers.tobytes(), **shape._asdict()
        ).SerializeToString()

    def _score(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        request, lie = pb.ScoreRequest.FromString(raw), self.lie
        if lie == "garbage":
            return self._rng.bytes(500)
        count = len(request.candidates) // 4 + (lie == "wrong shape")
        scores = self._numbers(count, 0.05, context).astype("<f4" if request.encoding == FLOAT32 else "<f2")
        corrector = b"another correct." if lie == "old model" else request.corrector
        clicks = request.clicks - 1 if lie == "other clicks" else request.clicks
        return pb.ScoreReply(
            corrector=corrector, clicks=clicks, encoding=request.encoding, scores=scores.tobytes()
        ).SerializeToString()

    def _numbers(self, count: int, spread: float, context: grpc.ServicerContext) -> np.ndarray:
        numbers = spread * self._rng.standard_normal(count).astype("<f4")
        if self.lie == "NaN":
            numbers[self._rng.integers(count)] = np.nan
        if self.lie == "slow":
            self._over.wait(self._slow)
            context.abort(grpc.StatusCode.UNAVAILABLE, "too slow to matter")
        return numbers

    def close(self) -> None:
        """End."""
        self._over.set()
        self._server.stop(None)


class Front:
    """The address that devices know; what stands behind it can be changed, and connections cut.

    Attributes
    ----------
    port : int
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._behind, self._cut_after, self._open = 0, 0, set()
        self._rng = np.random.default_rng(1)
        self.port = self._call(self._start)

    def _call(self, function: Callable, *arguments):
        return asyncio.run_coroutine_threadsafe(function(*arguments), self._loop).result(30)

    async def _start(self) -> int:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            writer.close()
            self._open.discard(writer)
            return
        self._open.add(far_writer)
        await asyncio.gather(self._pump(reader, far_writer, 0), self._pump(far_reader, writer, self._cut_after))
        self._open -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut_after: int) -> None:
        left = int(self._rng.integers(cut_after // 2, cut_after)) if cut_after else 0
        try:
            while chunk := await reader.read(65536):
                if left and len(chunk) >= left:
                    writer.write(chunk[:left])  # in the middle of whatever this is
                    await writer.drain()
                    writer.transport.abort()
                    return
                left -= len(chunk) if left else 0
                writer.write(chunk)
                await writer.drain()
        except (ConnectionError, OSError):
            pass
        finally:
            writer.close()

    def put(self, behind: int, cut_after: int = 0) -> None:
        """Send new connections to the port ``behind``, end those that there are.

        With ``cut_after`` each connection is cut in the middle of a message after about so many bytes of answers.
        """

        async def change() -> None:
            self._behind, self._cut_after = behind, cut_after
            for writer in list(self._open):
                writer.transport.abort()

        self._call(change)

    def close(self) -> None:
        """End."""

        async def over() -> None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()

        self._call(over)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
