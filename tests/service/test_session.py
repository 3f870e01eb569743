"""Device and cloud together: the ranking is the single-process CoCorrRec's, and never waits for long."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import SimpleQueue

import grpc
import numpy as np
import psutil
import pytest
import torch

from recbole_cocorr import open_session
from recbole_cocorr.artifact.evidence import Evidence
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device import Session
from recbole_cocorr.device.correction import Correction
from recbole_cocorr.service import CorrectedSession
from recbole_cocorr.service.client.breaker import Breaker
from recbole_cocorr.service.client.client import Answer, Pending
from tests.conftest import CHECKOUT
from tests.device import ITEMS, TOKENS, clicks, tokens_of
from tests.service import Watched, answering, held
from tests.service.test_client import until

LONG = 20_000.0


class _Cloud:
    """A client whose answers the test gives."""

    asks_corrections, asks_scores = True, False

    def __init__(self):
        self.sent: list[Pending] = []
        self.cancelled: list[int] = []
        self.waiting: SimpleQueue[int] = SimpleQueue()

    def upload(self, hidden_states, clicks):
        number, size = len(self.sent), hidden_states.nbytes
        pending = Watched(self.waiting, number, clicks, size, lambda: self.cancelled.append(clicks))
        self.sent.append(pending)
        return pending

    def close(self):
        pass


@pytest.fixture
def cloud():
    return _Cloud()


@pytest.fixture
def session(artifact, cloud):
    return CorrectedSession(Session.open(artifact), cloud, 1.0)


def answer(seed: int = 0, scale: float = 1.0) -> Answer:
    rng = np.random.default_rng(seed)
    arrays = [(scale * rng.standard_normal(s)).astype(np.float32) for s in ((2, 3, 3), (2, 3, 8))]
    return Answer("corrected", "", Correction(*arrays))


def alone(artifact, rows) -> list[str]:
    plain = Session.open(artifact)
    plain.history(tokens_of(rows))
    return plain.rank_all(ITEMS).items


@pytest.mark.parametrize("count", [1, 3, 5, 7, 20])
def test_the_ranking_is_the_models_in_one_process(trained, artifact, server, count):
    model, rows = trained[0].model, clicks(count, seed=count)
    with CorrectedSession.open(artifact, f"127.0.0.1:{server.port}", LONG, {"timeout": LONG / 1000}) as session:
        session.history(tokens_of(rows[:-1]))
        assert session.click(TOKENS[rows[-1]])
        found = session.rank_all(ITEMS)
        assert found.status == "corrected" and session.corrected
        with torch.no_grad():
            x = model.hidden_states(torch.tensor([rows[-7:]]))
            length = torch.tensor([len(rows[-7:])])
            user = model.user_vectors(x, length, model.correction(x, length))[0]
            scores = (model.item_vectors()[1:] @ user).numpy()
        np.testing.assert_allclose(session.user_vector, user.numpy(), atol=1e-4)
        assert found.items == [TOKENS[i + 1] for i in np.argsort(-scores, kind="stable")]
        assert found.items == trained[0].recommend(tokens_of(rows), ITEMS).items
        assert found.upload_bytes == 4 * 16 * min(count, 7) and found.download_bytes == 264
        assert found.round_trip_ms > 0
        some = session.rank(["item-3", "item-9", "none"])
        assert some.status == "corrected" and some.unknown == ["none"]
        assert some.items == [t for t in found.items if t in ("item-3", "item-9")]


def test_without_an_answer_it_is_the_devices_and_a_late_one_serves_the_next(artifact, cloud, session):
    rows = clicks(4)
    session.history(tokens_of(rows))
    first = session.rank_all(ITEMS)
    assert (first.status, first.items) == ("late", alone(artifact, rows))
    cloud.sent[-1].settle(answer())
    second = session.rank_all(ITEMS)
    assert second.status == "corrected" and second.scores != first.scores
    third = session.rank_all(ITEMS)
    assert (third.status, third.scores, third.waited_ms) == ("corrected", second.scores, 0)
    assert len(cloud.sent) == 1


def test_a_correction_of_earlier_clicks_is_never_used(artifact, cloud, session):
    rows = clicks(6)
    session.history(tokens_of(rows[:5]))
    session.click(TOKENS[rows[5]])
    assert cloud.cancelled == [5]
    cloud.sent[0].settle(answer())
    assert session.rank_all(ITEMS).items == alone(artifact, rows)
    # Not even where the client would hand it over as the newest.
    cloud.sent[1].clicks = 5
    cloud.sent[1].settle(answer())
    found = session.rank_all(ITEMS)
    assert (found.status, found.items) == ("refused", alone(artifact, rows))
    assert "5 clicks" in found.reason


@pytest.mark.parametrize("bad", ["shape", "nan", "huge"])
def test_what_the_session_refuses_changes_nothing(artifact, cloud, session, bad):
    rows = clicks(4)
    session.history(tokens_of(rows))
    good = answer().content
    attention = {"shape": good.attention[:, :2], "nan": good.attention * np.nan, "huge": good.attention * np.inf}
    cloud.sent[-1].settle(Answer("corrected", "", Correction(attention[bad], good.bias)))
    found = session.rank_all(ITEMS)
    assert (found.status, found.items, session.corrected) == ("refused", alone(artifact, rows), False)


@pytest.mark.parametrize("status", ["offline", "refused"])
def test_the_status_is_the_clients_and_offline_is_asked_again(artifact, cloud, session, status):
    rows = clicks(4)
    session.history(tokens_of(rows))
    cloud.sent[-1].settle(Answer(status, "because"))
    found = session.rank_all(ITEMS)
    assert (found.status, found.reason, found.items) == (status, "because", alone(artifact, rows))
    session.rank_all()
    assert len(cloud.sent) == (2 if status == "offline" else 1)


def test_unknown_items_ask_for_nothing(cloud, session):
    assert not session.click("none")
    assert session.history(["none"]) == ["none"]
    assert not cloud.sent
    with pytest.raises(UserError, match="no click yet"):
        session.rank_all()


def test_an_opened_state_is_corrected_at_once(artifact, cloud, tmp_path):
    plain = Session.open(artifact)
    plain.history(tokens_of(clicks(4)))
    plain.save(tmp_path / "state")
    session = CorrectedSession(Session.open(artifact, state=tmp_path / "state"), cloud, 1.0)
    assert [p.clicks for p in cloud.sent] == [4]
    cloud.sent[0].settle(answer())
    assert session.rank_all().status == "corrected"


def test_a_ranking_waits_for_what_comes_within_the_deadline(artifact, cloud):
    session = CorrectedSession(Session.open(artifact), cloud, LONG)
    session.history(tokens_of(clicks(4)))
    threading.Timer(0.05, lambda: cloud.sent[-1].settle(answer())).start()
    assert session.rank_all().status == "corrected"


def test_no_server_at_all(artifact):
    settings = {"breaker": Breaker(failures=1, first=60, longest=60)}
    with CorrectedSession.open(artifact, "127.0.0.1:9", LONG, settings, policy="carry") as session:
        for row in clicks(5):
            session.click(TOKENS[row])
            assert session.rank_all(3).status == "offline"
        assert session.policy == "carry" and session.clicks == 5


@pytest.mark.parametrize("deadline", [-1, True, "5", float("nan"), 1e9])
def test_a_deadline_that_is_none(artifact, cloud, deadline):
    with pytest.raises(UserError, match="deadline_ms"):
        CorrectedSession(Session.open(artifact), cloud, deadline)


def test_noise_is_added_to_what_is_sent(artifact, server):
    settings = {"timeout": LONG / 1000}
    with (
        CorrectedSession.open(artifact, f"127.0.0.1:{server.port}", LONG, settings) as plain,
        CorrectedSession.open(artifact, f"127.0.0.1:{server.port}", LONG, settings, epsilon=1.0) as noisy,
    ):
        for session in (plain, noisy):
            session.history(tokens_of(clicks(5)))
        exact, changed = plain.rank_all(ITEMS), noisy.rank_all(ITEMS)
        assert exact.status == changed.status == "corrected"
        assert exact.scores != changed.scores
    with pytest.raises(UserError, match="epsilon"):
        CorrectedSession.open(artifact, "127.0.0.1:9", epsilon=0)


def test_session_open_with_a_cloud(artifact, server):
    address = f"127.0.0.1:{server.port}"
    settings = {"history": tokens_of(clicks(5)), "policy": "carry"}
    with open_session(artifact, cloud=address, deadline_ms=LONG, client={"timeout": 20}, **settings) as session:
        assert isinstance(session, CorrectedSession)
        assert (session.clicks, session.policy) == (5, "carry")
        assert session.rank_all().status == "corrected"
    with pytest.raises(UserError, match="deadline_ms has no meaning"):
        open_session(artifact, deadline_ms=5)


def test_a_click_ends_the_correction_before_it(artifact, cloud, session):
    rows = clicks(5)
    session.history(tokens_of(rows[:4]))
    cloud.sent[-1].settle(answer())
    assert session.rank_all(ITEMS).status == "corrected"
    session.click(TOKENS[rows[4]])
    found = session.rank_all(ITEMS)
    assert (found.status, found.items, session.corrected) == ("late", alone(artifact, rows), False)


def test_evidence_reaches_the_session(session):
    session.history(tokens_of(clicks(4)))
    with pytest.raises(UserError, match="has no trust in item-item scores"):
        session.rank(["item-3"], evidence=Evidence({}, 0, "x"))


def test_others_go_on_while_a_ranking_waits(artifact, cloud, tmp_path):
    session, rows = CorrectedSession(Session.open(artifact), cloud, LONG), clicks(6)
    session.history(tokens_of(rows[:4]))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(session.rank_all, ITEMS)
        assert cloud.waiting.get(timeout=20) == 0
        session.save(tmp_path / "state")
        assert session.clicks == 4 and len(session.recent_rows()) == 4 and not first.done()
        # A click: both rankings are of what there is at their end, with the correction of that.
        assert session.click(TOKENS[rows[4]]) and cloud.cancelled == [4]
        assert cloud.waiting.get(timeout=20) == 1 and not first.done()
        second = pool.submit(session.rank_all, ITEMS)
        assert cloud.waiting.get(timeout=20) == 1 and len(cloud.sent) == 2
        cloud.sent[0].settle(answer(7))  # comes too late
        cloud.sent[1].settle(answer())
        plain = Session.open(artifact)
        plain.history(tokens_of(rows[:5]))
        plain.apply(answer().content, 5)
        for found in (first.result(20), second.result(20)):
            assert (found.status, found.items) == ("corrected", plain.rank_all(ITEMS).items)
    assert Session.open(artifact, state=tmp_path / "state").clicks == 4


def test_a_ranking_that_fails_after_its_wait(artifact, cloud):
    session = CorrectedSession(Session.open(artifact), cloud, LONG)
    session.history(tokens_of(clicks(4)))
    with ThreadPoolExecutor(1) as pool:
        ranking = pool.submit(session.rank, ["none"])
        assert cloud.waiting.get(timeout=20) == 0
        cloud.sent[0].settle(answer())
        with pytest.raises(UserError, match="no candidate"):
            ranking.result(20)
    assert session.rank_all().status == "corrected"


def test_no_call_gets_past_the_lock(cloud, session):
    """Also what the corrected session has from the plain one waits for the lock, which is one for both."""
    session.history(tokens_of(clicks(4)))
    calls = [
        lambda: session.apply(answer().content, 4),
        lambda: session.session.click("item-3"),
        lambda: session.click("item-3"),
        lambda: session.rank_all(),
        lambda: session.hidden_states(),
        lambda: session.user_vector,
        lambda: session.recent_rows(),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        begun = threading.Barrier(len(calls) + 1)
        with session.lock:
            running = [pool.submit(lambda call=call: (begun.wait(20) and None) or call()) for call in calls]
            begun.wait(20)
            assert not any(call.done() for call in running)
        for call in running:
            call.exception(20)
    assert session.clicks == 6


def test_closing_ends_the_wait(artifact):
    """The service never answers; the ranking's deadline is far away."""
    asked, over = threading.Event(), threading.Event()

    def never(raw, context):
        asked.set()
        over.wait(20)
        return b""

    with answering("Correct", never) as address, ThreadPoolExecutor(1) as pool:
        session = CorrectedSession.open(artifact, address, LONG, {"timeout": LONG / 1000})
        session.history(tokens_of(clicks(4)))
        ranking = pool.submit(session.rank_all, ITEMS)
        assert asked.wait(20)
        session.close()
        assert ranking.result(10).items == alone(artifact, clicks(4))
        assert not over.is_set()
        over.set()
        assert session.rank_all(ITEMS).status == "offline" and session.click("item-3")


def test_a_service_that_fails_gets_no_second_noise(artifact):
    """It could average many of one click."""
    asked = []

    def fails(raw, context):
        asked.append(raw)
        context.abort(grpc.StatusCode.UNAVAILABLE, "")

    with answering("Correct", fails) as address:
        client = {"breaker": Breaker(failures=1000)}
        with CorrectedSession.open(artifact, address, LONG, client, epsilon=1.0) as session:
            session.click("item-1")
            assert {session.rank_all(ITEMS).status for _ in range(5)} == {"offline"}
            session.click("item-2")
            session.rank_all(ITEMS)
    of_one = [raw for raw in asked if len(raw) == len(asked[0])]
    assert len(of_one) >= 5 and len(set(of_one)) == 1 and len(set(asked)) == 2


def test_rankings_without_a_click_between_wait_once(artifact):
    over = threading.Event()

    def never(raw, context):
        over.wait(20)
        return b""

    with answering("Correct", never) as address, CorrectedSession.open(artifact, address, 20.0) as session:
        for _ in range(2):
            session.click("item-1")
            rankings = [session.rank_all(ITEMS) for _ in range(4)]
            assert {ranking.status for ranking in rankings} == {"late"}
            assert [ranking.waited_ms > 0 for ranking in rankings] == [True, False, False, False]
        over.set()


def test_an_answer_that_nobody_waits_for_any_more_is_used(artifact, server, monkeypatch):
    opened = CorrectedSession.open(artifact, f"127.0.0.1:{server.port}", 1.0, {"timeout": 20})
    with held(monkeypatch, type(server.model)) as (begun, open_), opened as session:
        session.click("item-1")
        assert begun.wait(20) and session.rank_all(ITEMS).status == "late"
        open_.set()
        until(lambda: session.rank_all(ITEMS).status == "corrected")


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(artifact, server, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("no_grpc_proxy", raising=False)
    with CorrectedSession.open(artifact, f"127.0.0.1:{server.port}", LONG, {"timeout": 20}) as session:
        session.click("item-1")
        assert session.rank_all(ITEMS).status == "corrected"


@contextmanager
def forgetful(port: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """A relay to a port, and what makes it forget its connections: nothing comes through them, and none is closed."""
    links = []

    def pump(source, target, link):
        with suppress(OSError):
            while part := source.recv(1 << 16):
                if not link.is_set():
                    target.sendall(part)

    def accept():
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far, link = socket.create_connection(("127.0.0.1", port)), threading.Event()
                links.append((near, far, link))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=(*pair, link), daemon=True).start()

    def forget():
        for *_, link in links:
            link.set()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", forget
    finally:
        for end in (listener, *(end for link in links for end in link[:2])):
            end.close()


def test_a_connection_that_died_without_a_word_is_left(artifact, server):
    client = {"breaker": Breaker(first=0.05, longest=0.1)}

    def status() -> str:
        session.click("item-1")
        return session.rank_all(ITEMS).status

    with (
        forgetful(server.port) as (address, forget),
        CorrectedSession.open(artifact, address, 200.0, client) as session,
    ):
        until(lambda: status() == "corrected")
        forget()
        assert status() == "late"
        until(lambda: status() == "corrected")


def test_connections_that_were_left_are_closed(artifact):
    """To a service that is there and never answers."""
    over, seen = threading.Event(), set()

    def never(raw, context):
        over.wait(60)
        return b""

    def connected() -> set[int]:
        """Ports of this side of the connections."""
        links = [link for link in psutil.net_connections("tcp") if link.pid == os.getpid() and link.raddr]
        return {link.laddr.port for link in links if link.raddr.port == port and link.status == "ESTABLISHED"}

    def tried() -> bool:
        session.click("item-1")
        session.rank_all(ITEMS)
        seen.update(connected())
        return len(seen) >= 6

    client = {"timeout": 2, "breaker": Breaker(failures=1, first=0.01, longest=0.01)}
    with answering("Correct", never) as address:
        port = int(address.rpartition(":")[2])
        with CorrectedSession.open(artifact, address, 300.0, client) as session:
            until(tried)
            until(lambda: len(connected()) <= 1)
        over.set()


def test_a_change_that_fails_does_not_end_the_trials(artifact, server):
    """An error of the caller's own while the service is being tried again."""
    wrong, now = [True], [0.0]

    def change(rows):
        if wrong[0]:
            raise RuntimeError("mine")
        return rows

    client = {"change": change, "timeout": 20, "breaker": Breaker(failures=1, clock=lambda: now[0])}
    with CorrectedSession.open(artifact, f"127.0.0.1:{server.port}", LONG, client) as session:
        session.client.breaker.failed("for a while")
        now[0] += 60
        with pytest.raises(RuntimeError, match="mine"):
            session.click("item-1")
        wrong[0] = False
        until(lambda: session.rank_all(ITEMS).status == "corrected")


FORKS = """
import faulthandler, os, sys, threading
from recbole_cocorr import open_session
from recbole_cocorr.base.errors import UserError

def opened():
    return open_session(sys.argv[1], cloud=sys.argv[2], deadline_ms=20000)

session = opened()
session.history(["item-1", "item-2"])
over = threading.Event()

def work():
    while not over.is_set():
        session.rank_all()
        session.click("item-4")

threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(6):
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(80, exit=True)  # says where it hangs, if it does
        for call in (session.rank_all, lambda: session.click("item-3"), lambda: session.client.upload(None, 1)):
            try:
                call()
            except UserError as error:
                assert "in another process" in str(error) and "fork" in str(error), error
            else:
                os._exit(3)
        session.close()
        with opened() as own:
            own.click("item-3")
            status = own.rank_all().status
            assert status == "corrected", status
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
over.set()
for thread in threads:
    thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_child_opens_a_session_of_its_own(artifact, server):
    """And cannot use its parent's, which two threads use during the fork."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(artifact), f"127.0.0.1:{server.port}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
