"""Device and cloud together: the ranking is the single-process CoCorrRec's, and never waits for long."""

import threading

import numpy as np
import pytest
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.cloud import CorrectedSession
from recbole_cocorr.cloud.breaker import Breaker
from recbole_cocorr.cloud.client import Answer, Pending
from recbole_cocorr.device import Session
from recbole_cocorr.device.evidence import Evidence
from tests.device import ITEMS, TOKENS, clicks, tokens_of

LONG = 20_000.0


class _Cloud:
    """A client whose answers the test gives."""

    asks_corrections, asks_scores = True, False

    def __init__(self):
        self.sent: list[Pending] = []
        self.cancelled: list[int] = []

    def upload(self, hidden_states, clicks):
        pending = Pending(clicks, hidden_states.nbytes)
        pending._cancel = lambda: self.cancelled.append(clicks)
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
    parts = [(scale * rng.standard_normal(s)).astype(np.float32) for s in ((2, 3, 3), (2, 3, 8))]
    return Answer("corrected", "", *parts)


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
    cloud.sent[-1]._settle(answer())
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
    cloud.sent[0]._settle(answer())
    assert session.rank_all(ITEMS).items == alone(artifact, rows)
    # Not even where the client would hand it over as the newest.
    cloud.sent[1].clicks = 5
    cloud.sent[1]._settle(answer())
    found = session.rank_all(ITEMS)
    assert (found.status, found.items) == ("refused", alone(artifact, rows))
    assert "5 clicks" in found.reason


@pytest.mark.parametrize("bad", ["shape", "nan", "huge"])
def test_what_the_session_refuses_changes_nothing(artifact, cloud, session, bad):
    rows = clicks(4)
    session.history(tokens_of(rows))
    given = answer()
    attention = {"shape": given.attention[:, :2], "nan": given.attention * np.nan, "huge": given.attention * np.inf}
    cloud.sent[-1]._settle(Answer("corrected", "", attention[bad], given.bias))
    found = session.rank_all(ITEMS)
    assert (found.status, found.items, session.corrected) == ("refused", alone(artifact, rows), False)


@pytest.mark.parametrize("status", ["offline", "refused"])
def test_the_status_is_the_clients_and_offline_is_asked_again(artifact, cloud, session, status):
    rows = clicks(4)
    session.history(tokens_of(rows))
    cloud.sent[-1]._settle(Answer(status, "because"))
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
    cloud.sent[0]._settle(answer())
    assert session.rank_all().status == "corrected"


def test_a_ranking_waits_for_what_comes_within_the_deadline(artifact, cloud):
    session = CorrectedSession(Session.open(artifact), cloud, LONG)
    session.history(tokens_of(clicks(4)))
    threading.Timer(0.05, lambda: cloud.sent[-1]._settle(answer())).start()
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
    with Session.open(artifact, cloud=address, deadline_ms=LONG, client={"timeout": 20}, **settings) as session:
        assert isinstance(session, CorrectedSession)
        assert (session.clicks, session.policy) == (5, "carry")
        assert session.rank_all().status == "corrected"
    with pytest.raises(UserError, match="deadline_ms has no meaning"):
        Session.open(artifact, deadline_ms=5)


def test_a_click_ends_the_correction_before_it(artifact, cloud, session):
    rows = clicks(5)
    session.history(tokens_of(rows[:4]))
    cloud.sent[-1]._settle(answer())
    assert session.rank_all(ITEMS).status == "corrected"
    session.click(TOKENS[rows[4]])
    found = session.rank_all(ITEMS)
    assert (found.status, found.items, session.corrected) == ("late", alone(artifact, rows), False)


def test_evidence_reaches_the_session(session):
    session.history(tokens_of(clicks(4)))
    with pytest.raises(UserError, match="has no trust in item-item scores"):
        session.rank(["item-3"], evidence=Evidence({}, 0, "x"))
