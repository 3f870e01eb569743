"""Requests that wait for the model, computed together; one that is alone does not wait for others."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from recbole_cocorr.service.server.metrics import Metrics
from recbole_cocorr.service.server.refusal import CrowdedError

# Turns of the event loop without a new request after which a batch begins.
_QUIET_TURNS = 6


class Model(Protocol):
    """What a batcher computes with."""

    def correct(self, requests: list[Any]) -> list[bytes]:
        """The answers of several requests, in one pass."""


@dataclass
class _Waiting:
    model: Model
    request: Any
    deadline: float | None
    answer: asyncio.Future[bytes]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Computes answers: whenever the model is free, all that wait, up to ``most`` at once.

    There is no window of time in which to collect requests, only some turns of the event loop. At a light load each is
    computed as it comes; under load batches grow because requests arrive while the model computes.

    A request is computed by the model that was served when it came.

    Parameters
    ----------
    metrics : Metrics
    most : int
        Most requests of a batch.
    waiting : int
        Requests that may wait; the next is refused.
    method : str
        The RPC whose requests these are.
    """

    def __init__(
        self,
        metrics: Metrics,
        most: int = 64,
        waiting: int = 1024,
        method: str = "Correct",
    ):
        self._metrics, self._most, self._limit = metrics.of(method), most, waiting
        self._queue: deque[_Waiting] = deque()
        self._metrics.queued.set_function(lambda: len(self._queue))  # looked up when somebody asks for the metrics
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to compute; called in the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def correct(self, model: Model, request: Any, deadline: float | None = None) -> bytes:
        """The answer of one request.

        Parameters
        ----------
        model : Model
        request : object
            What the model reads: hidden states float32 [n, d], or
            :class:`~recbole_cocorr.service.server.score_model.ScoreQuery`.
        deadline : float, optional
            A time of ``time.monotonic``; a request that is still waiting then is not computed.

        Raises
        ------
        CrowdedError
            At once, if too many wait.
        TimeoutError
            If the deadline passed while it waited.
        """
        if len(self._queue) >= self._limit:
            self._forget_cancelled()
            if len(self._queue) >= self._limit:
                raise CrowdedError
        waiting = _Waiting(model, request, deadline, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return await waiting.answer

    def _forget_cancelled(self) -> None:
        live = [w for w in self._queue if not w.answer.done()]
        self._metrics.dropped.inc(len(self._queue) - len(live))
        self._queue = deque(live)

    async def close(self) -> None:
        """Compute what waits, then stop."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._queue:
                if self._closing:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            await self._collect()
            batch = self._take()
            if not batch:
                continue
            began = time.monotonic()
            self._metrics.batch_size.observe(len(batch))
            for waiting in batch:
                self._metrics.queue_seconds.observe(began - waiting.since)
            work: Callable[..., Any] = batch[0].model.correct
            try:
                answers = await loop.run_in_executor(self._thread, work, [w.request for w in batch])
            except Exception as error:  # the model's; each caller hears of it, and the next batch is computed
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(error)
                continue
            finally:
                self._metrics.compute_seconds.observe(time.monotonic() - began)
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)

    async def _collect(self) -> None:
        """Let in who is at the door: turns of the event loop, as long as they bring requests. No time is waited for.

        gRPC hands requests over one by one. Without this eight that come together are computed as batches of one.
        """
        seen, quiet = len(self._queue), 0
        while quiet < _QUIET_TURNS and len(self._queue) < self._most:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._queue) == seen else 0
            seen = len(self._queue)

    def _take(self) -> list[_Waiting]:
        """The longest waiting requests of one model, without those whose caller has given up."""
        batch: list[_Waiting] = []
        now = time.monotonic()
        while self._queue and len(batch) < self._most:
            waiting = self._queue[0]
            if batch and waiting.model is not batch[0].model:
                break
            self._queue.popleft()
            if waiting.answer.done():
                self._metrics.dropped.inc()
            elif waiting.deadline is not None and waiting.deadline <= now:
                self._metrics.dropped.inc()
                waiting.answer.set_exception(TimeoutError())
            else:
                batch.append(waiting)
        return batch
