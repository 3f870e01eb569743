"""Whose request is next: everybody in turn, so that one client's flood does not keep the others waiting."""

import asyncio
import ipaddress
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import NamedTuple
from urllib.parse import unquote

from recbole_cocorr.service.server.refusal import CrowdedError, StoppingError

# Seconds between two looks whether more come; looks in a row that must find nothing; looks after which the next turns
# are given anyway; seconds without a request after which nobody is in line unseen.
_LOOK, _QUIET_LOOKS, _MOST_LOOKS, _PAUSE = 0.0005, 3, 20, 0.002
# A round without a crowd doubles the next one, up to this many times ``most``.
_LONGEST = 8


class Peer(NamedTuple):
    """Who asks.

    Attributes
    ----------
    client : str
        Where it comes from: an IPv4 address, or the 64 bits of an IPv6 address that one customer is given.
    connection : str
        One of its connections.
    """

    client: str
    connection: str


class Turns:
    """Lets ``most`` requests be worked on at a time. When more ask, clients take turns, as a client's connections do.

    A request over the limit waits unanswered. That slows a flood down: HTTP/2 allows a connection so many unanswered
    requests and no more, whereas one that is refused at once is sent again at once.

    Parameters
    ----------
    most : int
        Requests that are worked on at a time.
    share : int
        The same, of one connection.
    waiting : int
        Requests that may wait for their turn. When one more comes, the client that has the most of them loses one.
    """

    def __init__(self, most: int, share: int, waiting: int):
        self._most, self._share, self._room = most, share, waiting
        self._active: Counter[Peer] = Counter()
        self._busy = 0
        self._lines: dict[Peer, deque[asyncio.Future[None]]] = {}
        # Clients, and their connections, in the order of their next turns. A connection that has its share is not here.
        self._ring: dict[str, dict[Peer, None]] = {}
        self._per_client: Counter[str] = Counter()
        self._waiting = 0
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        self._quiet = self._looks = 0
        # Turns of a round, which lasts until nobody comes for a moment, and what is left of them. At its end everybody
        # is let into the line before the next turns are given: so a crowd is seen, whose requests gRPC still holds.
        self._round = self._turns_left = most
        self._last = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._waiting

    def turn(self, peer: Peer) -> "_Turn":
        """Wait for a turn, and have it for the length of an ``async with`` block.

        Raises
        ------
        CrowdedError
            If too many wait.
        StoppingError
            If nothing more is taken in.
        """
        return _Turn(partial(self._take, peer), partial(self._give, peer))

    def stop(self) -> None:
        """Take nothing more in; who waits already keeps its turn."""
        self._stopping = True

    async def idle(self) -> None:
        """Wait until every request that was taken in is done."""
        await self._idle.wait()

    async def _take(self, peer: Peer) -> None:
        if self._stopping:
            raise StoppingError
        now = asyncio.get_running_loop().time()
        if now - self._last > _PAUSE:
            self._turns_left = self._round
        self._quiet, self._last = 0, now
        if not self._waiting and self._busy < self._most and self._turns_left and self._active[peer] < self._share:
            self._enter(peer)
            return
        if self._waiting >= self._room:
            self._displace(peer)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(peer, deque()).append(turn)
        self._count(peer, 1)
        self._queue(peer)
        self._soon()  # there may be room, where all that wait are of connections that have their share
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give(peer)  # its turn came in the moment in which its caller gave up
            elif turn in self._lines.get(peer, ()):
                self._remove(peer, turn)
                self._check_idle()
            raise

    def _enter(self, peer: Peer) -> None:
        self._active[peer] += 1
        self._busy += 1
        self._turns_left -= 1
        self._idle.clear()

    def _give(self, peer: Peer) -> None:
        self._busy -= 1
        self._active[peer] -= 1
        if not self._active[peer]:
            del self._active[peer]
        self._queue(peer)
        self._soon()
        self._check_idle()

    def _check_idle(self) -> None:
        if not self._busy and not self._waiting:
            self._idle.set()

    def _queue(self, peer: Peer) -> None:
        """Give a connection its place among those that wait, unless it has its share."""
        if peer in self._lines and self._active[peer] < self._share:
            self._ring.setdefault(peer.client, {}).setdefault(peer)

    def _soon(self) -> None:
        if self._timer is None and self._ring and self._busy < self._most:
            self._timer = asyncio.get_running_loop().call_later(_LOOK, self._next)

    def _next(self) -> None:
        """Give turns, once all who ask by now are in line.

        gRPC's own queue is first come, first served, and hands over one request at a time: as long as requests come
        from it, somebody's only one may be behind hundreds of another's.
        """
        self._timer = None
        self._quiet, self._looks = self._quiet + 1, self._looks + 1
        if self._quiet < _QUIET_LOOKS and self._looks < _MOST_LOOKS:
            self._soon()
            return
        self._quiet = self._looks = 0
        # Without a crowd the wait for the line was for nothing, so it comes more rarely; with one, at every batch.
        self._round = min(2 * self._round, _LONGEST * self._most) if self._waiting <= self._most else self._most
        self._turns_left = self._round
        while self._ring and self._turns_left and self._busy < self._most:
            client = next(iter(self._ring))
            connections = self._ring.pop(client)
            peer = next(iter(connections))
            del connections[peer]
            if connections:
                self._ring[client] = connections  # at the end
            turn = self._lines[peer][0]
            self._remove(peer, turn)
            if not turn.done():  # its caller may just have given up
                self._enter(peer)
                turn.set_result(None)
            self._queue(peer)
        self._check_idle()

    def _remove(self, peer: Peer, turn: asyncio.Future[None]) -> None:
        line = self._lines[peer]
        line.remove(turn)
        self._count(peer, -1)
        if not line:
            del self._lines[peer]
            connections = self._ring.get(peer.client, {})
            connections.pop(peer, None)
            if not connections:
                self._ring.pop(peer.client, None)

    def _displace(self, peer: Peer) -> None:
        """Make room: the client that has the most in the line, this one counted, loses the last of its longest."""
        most = self._per_client[peer.client] + 1
        client = max(self._per_client, key=self._per_client.__getitem__)
        if self._per_client[client] < most:
            client = peer.client
        lines = {p: len(line) for p, line in self._lines.items() if p.client == client}
        longest = max(lines, key=lines.__getitem__, default=peer)
        if client == peer.client and lines.get(longest, 0) <= lines.get(peer, 0) + 1:
            raise CrowdedError
        turn = self._lines[longest][-1]
        self._remove(longest, turn)
        if not turn.done():
            turn.set_exception(CrowdedError())

    def _count(self, peer: Peer, by: int) -> None:
        self._waiting += by
        self._per_client[peer.client] += by
        if not self._per_client[peer.client]:
            del self._per_client[peer.client]
        if by > 0:
            self._idle.clear()


class _Turn:
    """A turn as a block; made of a generator it would take twice as long."""

    def __init__(self, take: Callable[[], Awaitable[None]], give: Callable[[], None]):
        self._take, self._give = take, give

    async def __aenter__(self) -> None:
        await self._take()

    async def __aexit__(self, *error: object) -> None:
        self._give()


@lru_cache(4096)
def peer_of(text: str, token: str = "") -> Peer:
    """Who asks, from gRPC's ``ipv4:ADDRESS:PORT``, ``ipv6:[ADDRESS]:PORT`` or ``unix:``.

    Parameters
    ----------
    text : str
    token : str
        A token tells clients behind one address apart.
    """
    kind, _, rest = text.partition(":")
    host = unquote(rest).rpartition(":")[0].strip("[]")
    if kind == "ipv6":
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            pass
        else:
            mapped = getattr(address, "ipv4_mapped", None)
            host = str(mapped) if mapped else str(ipaddress.ip_network((int(address), 64), strict=False))
    return Peer(f"{token} {host or text}", text)
