"""A slow network between two sockets of one machine: a bandwidth and a round trip, each way on its own.

``python -m recbole_cocorr.experiments.simulate.proxy TO_HOST TO_PORT BANDWIDTH ROUND_TRIP``
prints its port and runs until it is terminated.
"""

import asyncio
import sys
import time
from contextlib import suppress

# A timer of the event loop is a millisecond late at most; the last of a wait is spent looking at the clock.
_COARSE = 0.0015


class Link:
    """One direction: bytes leave one after another at the bandwidth, and arrive half a round trip later.

    Parameters
    ----------
    bandwidth : float
        Bytes per second; 0 for no limit.
    delay : float
        Seconds, one way.
    """

    def __init__(self, bandwidth: float, delay: float):
        self._bandwidth, self._delay, self._free = bandwidth, delay, 0.0

    def arrival(self, size: int, now: float) -> float:
        """When ``size`` bytes that are sent now have arrived."""
        self._free = max(self._free, now) + (size / self._bandwidth if self._bandwidth else 0.0)
        return self._free + self._delay


async def _until(when: float) -> None:
    left = when - time.monotonic()
    if left > _COARSE:
        await asyncio.sleep(left - _COARSE)
    while time.monotonic() < when:
        await asyncio.sleep(0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link) -> None:
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def receive() -> None:
        chunk = b"more"
        while chunk:
            try:
                chunk = await reader.read(16384)
            except ConnectionError:
                chunk = b""
            now = time.monotonic()
            under_way.put_nowait((link.arrival(len(chunk), now), chunk))

    receiving = asyncio.ensure_future(receive())
    try:
        while True:
            when, chunk = await under_way.get()
            await _until(when)
            if not chunk:
                return
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        receiving.cancel()
        writer.close()


class ShapingProxy:
    """Passes connections on to a server, slowly. Connections share the two links.

    Parameters
    ----------
    host, port
        The server.
    bandwidth : float
        Bytes per second, each way; 0 for no limit.
    round_trip : float
        Seconds.
    """

    def __init__(self, host: str, port: int, bandwidth: float, round_trip: float):
        self._to = host, port
        self._up, self._down = Link(bandwidth, round_trip / 2), Link(bandwidth, round_trip / 2)
        self._tasks: set[asyncio.Task] = set()

    async def start(self) -> int:
        """Listen on a free port of the loopback; returns it."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, far_writer, self._up), _pump(far_reader, writer, self._down))


async def _run(arguments: list[str]) -> None:
    host, port, bandwidth, round_trip = arguments
    proxy = ShapingProxy(host, int(port), float(bandwidth), float(round_trip))
    print(await proxy.start(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(sys.argv[1:]))
