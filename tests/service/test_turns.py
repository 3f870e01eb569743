"""Turns: nobody is forgotten, nobody has more than a share, and one client's flood costs another little."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.service.server.refusal import CrowdedError, StoppingError
from recbole_cocorr.service.server.turns import Peer, Turns, peer_of

A, B = Peer("a", "a:1"), Peer("b", "b:1")


class Asker:
    """Asks for turns, and keeps them until told."""

    def __init__(self, turns: Turns):
        self.turns, self.active, self.order = turns, {}, []
        self.tasks: list[asyncio.Task] = []

    def ask(self, peer: Peer) -> asyncio.Task:
        async def run() -> None:
            async with self.turns.turn(peer):
                self.order.append(peer)
                event = asyncio.Event()
                self.active[asyncio.current_task()] = (peer, event)
                try:
                    await event.wait()
                finally:
                    del self.active[asyncio.current_task()]

        self.tasks.append(asyncio.ensure_future(run()))
        return self.tasks[-1]

    async def settle(self) -> None:
        """Until nothing more happens by itself."""
        seen, same = None, 0
        while same < 3:
            now = (len(self.order), self.turns.waiting)
            seen, same = now, same + 1 if now == seen else 0
            await asyncio.sleep(0.005)

    async def finish(self, number: int = 1) -> None:
        for _, event in list(self.active.values())[:number]:
            event.set()
        await self.settle()

    async def finish_all(self) -> None:
        while self.active:
            await self.finish(len(self.active))


def test_a_newcomer_is_next_whatever_waits():
    async def run():
        asker = Asker(Turns(4, 4, 1000))
        for _ in range(60):
            asker.ask(A)
        await asker.settle()
        asker.ask(B)
        await asker.settle()
        await asker.finish(2)
        assert asker.order[4:6].count(B) == 1
        await asker.finish_all()
        assert len(asker.order) == 61

    asyncio.run(run())


def test_a_clients_many_connections_have_one_clients_turns():
    async def run():
        asker = Asker(Turns(2, 2, 1000))
        for number in range(50):
            asker.ask(Peer("a", f"a:{number}"))
        await asker.settle()
        for _ in range(5):
            asker.ask(B)
        await asker.settle()
        while asker.turns.waiting:
            await asker.finish()
        assert asker.order[2:12].count(B) == 5  # one of two, until they are done
        await asker.finish_all()

    asyncio.run(run())


def test_a_connection_leaves_room_for_others():
    async def run():
        asker = Asker(Turns(8, 2, 1000))
        for _ in range(20):
            asker.ask(A)
        await asker.settle()
        assert len(asker.active) == 2
        asker.ask(B)
        await asker.settle()
        assert [peer for peer, _ in asker.active.values()].count(B) == 1
        await asker.finish_all()
        assert len(asker.order) == 21

    asyncio.run(run())


def test_the_fullest_loses_one_when_there_are_too_many():
    async def run():
        asker = Asker(Turns(1, 1, 4))
        flood = [asker.ask(A) for _ in range(5)]
        await asker.settle()
        over = asker.ask(A)
        with pytest.raises(CrowdedError):
            await over
        one = asker.ask(B)
        await asker.settle()
        with pytest.raises(CrowdedError):
            await flood[-1]
        await asker.finish_all()
        await one
        assert asker.order.count(B) == 1

    asyncio.run(run())


def test_a_stop_keeps_who_waits_and_takes_nobody_in():
    async def run():
        asker = Asker(Turns(1, 1, 10))
        for peer in (A, B):
            asker.ask(peer)
        await asker.settle()
        asker.turns.stop()
        with pytest.raises(StoppingError):
            await asker.ask(A)
        idle = asyncio.ensure_future(asker.turns.idle())
        await asker.finish_all()
        await idle
        assert asker.order == [A, B]

    asyncio.run(run())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from("adc"), st.integers(0, 5)), max_size=30),
)
def test_any_order_of_events_forgets_nobody(most, share, room, events):
    async def run():
        asker = Asker(Turns(most, share, room))
        for what, number in events:
            if what == "a":
                asker.ask(Peer("ab"[number % 2], f"{'ab'[number % 2]}:{number // 2}"))
            elif what == "d" and asker.active:
                list(asker.active.values())[number % len(asker.active)][1].set()
            elif asker.tasks:
                asker.tasks[number % len(asker.tasks)].cancel()
            await asyncio.sleep(0)
            assert len(asker.active) <= most and asker.turns.waiting <= room
            peers = [peer for peer, _ in asker.active.values()]
            assert all(peers.count(peer) <= share for peer in peers)
        idle = asyncio.ensure_future(asker.turns.idle())
        while not idle.done():
            for _, event in asker.active.values():
                event.set()
            await asyncio.sleep(0.001)
        results = await asyncio.gather(*asker.tasks, return_exceptions=True)
        assert all(r is None or isinstance(r, CrowdedError | asyncio.CancelledError) for r in results)
        assert asker.turns.waiting == 0

    asyncio.run(asyncio.wait_for(run(), 10))


def test_few_that_ask_fast_wait_for_a_crowd_ever_more_rarely():
    async def run():
        asker, direct, most = Asker(Turns(4, 4, 1000)), [0], 0
        while most < 32 and len(direct) < 40:
            task = asker.ask(A)
            await asyncio.sleep(0)
            if asker.turns.waiting:  # a round is over, and this one waits until it is known that nobody else does
                direct.append(0)
                while asker.turns.waiting:
                    await asyncio.sleep(0.0005)
            direct[-1] += 1
            most = max(direct)
            while not asker.active:
                await asyncio.sleep(0)
            next(iter(asker.active.values()))[1].set()
            await task
        assert most == 32, direct

    asyncio.run(run())


def test_who_asks():
    assert peer_of("ipv4:1.2.3.4:5").client == peer_of("ipv4:1.2.3.4:6").client
    assert peer_of("ipv4:1.2.3.4:5") != peer_of("ipv4:1.2.3.4:6")
    # One customer's addresses of IPv6, and an address of IPv4 written as one of IPv6.
    assert peer_of("ipv6:%5B2001:db8::1%5D:1").client == peer_of("ipv6:%5B2001:db8::2%5D:1").client
    assert peer_of("ipv6:[::ffff:1.2.3.4]:1").client == peer_of("ipv4:1.2.3.4:9").client
    assert peer_of("ipv4:1.2.3.4:5", "0").client != peer_of("ipv4:1.2.3.4:5", "1").client
    for odd in ("unix:", "", "ipv6:x", "ipv4:"):
        assert peer_of(odd).connection == odd
