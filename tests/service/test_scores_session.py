"""Device and cloud together: rankings with scores are the single process's, and never wait for long."""

import dataclasses
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pytest

from recbole_cocorr import open_session
from recbole_cocorr.artifact.manifest import read_manifest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import Trust
from recbole_cocorr.correctors.folder import load_corrector, save_corrector, trust_of
from recbole_cocorr.device import Evidence, Session
from recbole_cocorr.device.update import update_catalogue
from recbole_cocorr.exporter.export import export
from recbole_cocorr.service import CorrectedSession
from recbole_cocorr.service.client.client import Answer, Pending
from recbole_cocorr.service.server.settings import ServeSettings
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from tests.device import ITEMS, TOKENS, clicks, tokens_of
from tests.device.test_neighbours import with_table
from tests.service import Watched, answering, serving

LONG = 20_000.0
TRUST = Trust(2.0, -0.3)
NAMES = TOKENS[1:30]


class _Cloud:
    """A client whose answers the test gives."""

    asks_corrections, asks_scores = False, True

    def __init__(self):
        self.sent: list[Pending] = []
        self.asked: list[tuple[list[int], list[int]]] = []
        self.cancelled: list[int] = []
        self.waiting: SimpleQueue[int] = SimpleQueue()

    def score(self, clicked, candidates, clicks):
        number = len(self.sent)
        size = 4 * (len(clicked) + len(candidates))
        pending = Watched(self.waiting, number, clicks, size, lambda: self.cancelled.append(number))
        self.sent.append(pending)
        self.asked.append((list(clicked), list(candidates)))
        return pending

    def close(self):
        pass


def trusting(plain, folder, corrector):
    """A copy of an artifact, with the trust in a corrector that was fitted for it."""
    shutil.copytree(plain, folder)
    manifest = read_manifest(folder)
    manifest.trust = trust_of(corrector, manifest.fingerprint)
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


@pytest.fixture(scope="module")
def both(checkpoint, artifact, corrector):
    """An artifact that takes corrections and trusts the corrector."""
    return trusting(artifact, checkpoint.parent / "both", corrector)


@pytest.fixture(scope="module")
def serves_both(checkpoint, corrector):
    with serving(ServeSettings(str(checkpoint), "127.0.0.1:0", str(corrector))) as running:
        yield running


@pytest.fixture
def cloud():
    return _Cloud()


@pytest.fixture
def session(both, cloud):
    return CorrectedSession(Session.open(both), cloud, 1.0)


def answer(count: int, seed: int = 0) -> Answer:
    scores = np.random.default_rng(seed).standard_normal(count).astype(np.float32) / 50
    return Answer("corrected", content=scores, bytes=2 * count)


def alone(folder, rows, names=NAMES):
    plain = Session.open(folder)
    plain.history(tokens_of(rows))
    return plain.rank(names)


def single_process(folder, item_item, rows, names, correction=None, half=True):
    """The ranking with the corrector's scores computed here."""
    plain = Session.open(folder)
    plain.history(tokens_of(rows))
    if correction is not None:
        plain.apply(correction, plain.clicks)
    scores = item_item.scores([np.array(rows)], np.array([[TOKENS.index(n) for n in names]]))[0]
    if half:
        scores = scores.astype(np.float16).astype(np.float32)
    given = dict(zip(names, scores.tolist(), strict=True))
    return plain.rank(names, evidence=Evidence(given, len(rows), plain.artifact.manifest.trust["corrector"]))


def with_scores(folder, rows, names, given):
    """The ranking with scores that are given."""
    plain = Session.open(folder)
    plain.history(tokens_of(rows))
    scores = dict(zip(names, given.content.tolist(), strict=True))
    return plain.rank(names, evidence=Evidence(scores, len(rows), plain.artifact.manifest.trust["corrector"]))


@pytest.mark.parametrize("name", ["CoCorrRec", "GRU4Rec", "SASRec", "Mamba4Rec"])
@pytest.mark.parametrize("encoding", ["float16", "float32"])
def test_the_ranking_is_the_single_processs(written, tmp_path, item_item, name, encoding):
    _, plain = written(name, **({"use_gcn": False} if name == "CoCorrRec" else {}))
    save_corrector(tmp_path / "c", item_item, TRUST, TOKENS, read_manifest(plain).fingerprint, {})
    trusting(plain, tmp_path / "a", tmp_path / "c")
    client = {"timeout": 20, "score_encoding": encoding}
    with (
        serving(ServeSettings("", "127.0.0.1:0", str(tmp_path / "c"))) as server,
        open_session(tmp_path / "a", cloud=f"127.0.0.1:{server.port}", deadline_ms=LONG, client=client) as session,
    ):
        rows = clicks(20, seed=3)  # more than the device's L
        for cut in (1, 12, 20):
            session.history(tokens_of(rows[session.clicks : cut]))
            found = session.rank(NAMES)
            wanted = single_process(tmp_path / "a", item_item, rows[:cut], NAMES, half=encoding == "float16")
            assert (found.status, found.used, found.reason) == ("corrected", ("scores",), "")
            assert (found.items, found.scores) == (wanted.items, wanted.scores)
            assert found.items != alone(tmp_path / "a", rows[:cut]).items
            size = 2 if encoding == "float16" else 4
            assert (found.upload_bytes, found.download_bytes) == (4 * (cut + len(NAMES)), size * len(NAMES))
            assert found.round_trip_ms > 0


def test_with_the_correction_too(trained, both, serves_both, item_item):
    import torch

    model, rows = trained[0].model, clicks(5)
    with torch.no_grad():
        sent = model.correction(model.hidden_states(torch.tensor([rows])), torch.tensor([5]))
    correction = (sent.attention[0].numpy(), sent.bias[0].numpy())
    client = {"timeout": 20}
    with open_session(both, cloud=f"127.0.0.1:{serves_both.port}", deadline_ms=LONG, client=client) as session:
        session.history(tokens_of(rows))
        found = session.rank(NAMES, exclude=["item-3"])
        wanted = single_process(both, item_item, rows, [n for n in NAMES if n != "item-3"], correction)
        assert found.used == ("correction", "scores") and found.items == wanted.items
        assert found.scores == pytest.approx(wanted.scores, abs=1e-4)
        assert found.upload_bytes == 4 * 16 * 5 + 4 * (5 + 28) and found.download_bytes == 264 + 56
        assert session.rank_all(ITEMS).used == ("correction",)


@pytest.mark.parametrize("served", ["correction", "scores"])
def test_a_service_that_has_only_one_of_them(checkpoint, corrector, both, served):
    chosen = {"checkpoint": str(checkpoint)} if served == "correction" else {"corrector": str(corrector)}
    with (
        serving(ServeSettings(listen="127.0.0.1:0", **chosen)) as server,
        open_session(both, cloud=f"127.0.0.1:{server.port}", deadline_ms=LONG, client={"timeout": 20}) as session,
    ):
        for row in clicks(6):
            session.click(TOKENS[row])
            found = session.rank(NAMES)
            # The breaker of the other one is open from the first answer on; this one's is not.
            assert (found.status, found.used) == ("corrected", (served,))
            assert found.reason.startswith("scores: " if served == "correction" else "correction: ")
            assert "this model or corrector" in found.reason


def test_without_an_answer_it_is_the_devices_and_a_late_one_serves_the_next(both, cloud, session):
    rows = clicks(4)
    session.history(tokens_of(rows))
    first = session.rank(NAMES)
    own = alone(both, rows)
    assert (first.status, first.used, first.items, first.scores) == ("late", (), own.items, own.scores)
    cloud.sent[-1].settle(answer(len(NAMES)))
    second = session.rank(NAMES)
    assert second.status == "corrected" and second.scores != first.scores
    # The same and fewer candidates are answered by what is there.
    third = session.rank(NAMES[:5], exclude=NAMES[:1])
    assert (third.status, third.waited_ms) == ("corrected", 0)
    given = dict(zip(second.items, second.scores, strict=True))
    assert third.scores == [given[t] for t in third.items] and len(cloud.sent) == 1
    session.rank([*NAMES, TOKENS[35]])
    assert len(cloud.sent) == 2


def test_scores_of_earlier_clicks_are_never_used(both, cloud, session):
    rows = clicks(6)
    session.history(tokens_of(rows[:5]))
    session.rank(NAMES)
    session.click(TOKENS[rows[5]])
    assert cloud.cancelled == [0]
    cloud.sent[0].settle(answer(len(NAMES)))
    found = session.rank(NAMES)
    assert (found.status, found.items) == ("late", alone(both, rows).items)
    # Not even where the click went past this session, or the client hands them over as the newest.
    cloud.sent[1].settle(answer(len(NAMES)))
    session.session.click(TOKENS[rows[0]])
    assert session.rank(NAMES).used == ()
    cloud.sent[2].clicks = 5
    cloud.sent[2].settle(answer(len(NAMES)))
    found = session.rank(NAMES)
    assert (found.used, found.items) == ((), alone(both, [*rows, rows[0]]).items)


@pytest.mark.parametrize("bad", ["shape", "nan", "inf"])
def test_what_the_session_refuses_changes_nothing(both, cloud, session, bad):
    rows = clicks(4)
    session.history(tokens_of(rows))
    session.rank(NAMES)
    given = answer(len(NAMES) - (bad == "shape"))
    if bad in ("nan", "inf"):
        given.content[3] = float(bad)
    cloud.sent[-1].settle(given)
    found, own = session.rank(NAMES), alone(both, rows)
    assert (found.status, found.items, found.scores) == ("refused", own.items, own.scores)
    assert found.reason


@pytest.mark.parametrize("status", ["offline", "refused", "late"])
def test_the_status_is_the_clients_and_what_may_come_back_is_asked_again(both, cloud, session, status):
    rows = clicks(4)
    session.history(tokens_of(rows))
    session.rank(NAMES)
    cloud.sent[-1].settle(Answer(status, "because"))
    before = len(cloud.sent)
    found = session.rank(NAMES)
    assert found.items == alone(both, rows).items
    assert len(cloud.sent) == before + (status != "refused")
    if status == "refused":
        assert (found.status, found.reason) == ("refused", "because")


def test_expected_candidates_are_asked_for_at_once(both, cloud, session):
    session.expect(NAMES)
    assert not cloud.sent  # nothing was clicked
    rows = clicks(3)
    for number, row in enumerate(rows):
        session.click(TOKENS[row])
        assert cloud.asked[-1] == (rows[: number + 1], list(range(1, 30)))
    assert len(cloud.sent) == 3 and cloud.cancelled == [0, 1]
    cloud.sent[-1].settle(answer(len(NAMES)))
    assert session.rank(NAMES[3:9]).status == "corrected" and len(cloud.sent) == 3
    session.expect(["none"])
    session.click(TOKENS[1])
    assert len(cloud.sent) == 3
    session.expect(NAMES)
    assert len(cloud.sent) == 4
    for bad in ("item-1", 5):
        with pytest.raises(UserError, match="list of tokens"):
            session.expect(bad)


def test_a_ranking_waits_for_what_comes_within_the_deadline(both, cloud):
    session = CorrectedSession(Session.open(both), cloud, LONG)
    session.history(tokens_of(clicks(4)))
    cloud_answer = threading.Timer(0.05, lambda: cloud.sent[-1].settle(answer(len(NAMES))))
    cloud_answer.start()
    assert session.rank(NAMES).status == "corrected"


def test_the_deadline_is_one_for_both(both, monkeypatch):
    """A service that answers nothing costs one deadline, not two."""
    clock, waits = [0.0], []
    monkeypatch.setattr("recbole_cocorr.service.client.session.monotonic", lambda: clock[0])

    class Never(Pending):
        def answer(self, wait):
            waits.append(wait)
            clock[0] += max(0.0, wait)
            return super().answer(0)

    class Silent(_Cloud):
        asks_corrections = True

        def upload(self, hidden_states, clicks):
            return Never(clicks, hidden_states.nbytes)

        def score(self, clicked, candidates, clicks):
            return Never(clicks, 4)

    session = CorrectedSession(Session.open(both), Silent(), 30.0)
    session.history(tokens_of(clicks(4)))
    found = session.rank(NAMES)
    assert found.status == "late" and found.waited_ms == pytest.approx(30)
    assert sum(max(0.0, wait) for wait in waits) == pytest.approx(0.03)
    assert "correction: " in found.reason and "scores: " in found.reason


def test_two_rankings_wait_for_their_own_scores(both, cloud):
    session, rows = CorrectedSession(Session.open(both), cloud, LONG), clicks(4)
    session.history(tokens_of(rows))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(session.rank, NAMES[:9])
        assert cloud.waiting.get(timeout=20) == 0
        second = pool.submit(session.rank, NAMES[9:])
        assert cloud.waiting.get(timeout=20) == 1
        assert cloud.cancelled == []  # a ranking waits for it
        cloud.sent[1].settle(answer(20, seed=2))
        assert second.result(20).status == "corrected" and not first.done()
        # After a click it is the click's scores that the first one waits for.
        session.click(TOKENS[7])
        assert cloud.waiting.get(timeout=20) == 2 and 0 in cloud.cancelled and not first.done()
        cloud.sent[2].settle(answer(9))
        found, wanted = first.result(20), with_scores(both, [*rows, 7], NAMES[:9], answer(9))
        assert (found.status, found.items) == ("corrected", wanted.items)
        assert found.scores == pytest.approx(wanted.scores, abs=1e-4)


@pytest.mark.parametrize("most", [1, 3, 128])
def test_no_more_clicks_go_up_than_are_allowed(both, cloud, most):
    rows = clicks(200)
    session = CorrectedSession(Session.open(both), cloud, 1.0, score_clicks=most)
    session.history(["none", *tokens_of(rows[:150])])
    session.rank(NAMES)
    assert cloud.asked[-1][0] == rows[:150][-most:]
    session.click(TOKENS[rows[150]])
    session.rank(NAMES)
    assert cloud.asked[-1][0] == rows[:151][-most:]
    cloud.sent[-1].settle(answer(len(NAMES)))
    found = session.rank(NAMES)
    # The trust counts the clicks that the scores are of.
    given = dict(zip(NAMES, answer(len(NAMES)).content.tolist(), strict=True))
    plain = Session.open(both)
    plain.history(tokens_of(rows[:151]))
    assert (
        found.scores
        == plain.rank(NAMES, evidence=Evidence(given, most, plain.artifact.manifest.trust["corrector"])).scores
    )


def test_an_opened_session_tells_what_it_knows(both, tmp_path):
    rows, requests = clicks(20), SimpleQueue()
    state = tmp_path / "state"
    cases = [
        ({"history": iter(tokens_of(rows))}, rows),  # the whole history, though the session keeps the last L
        ({"state": state}, rows[-7:]),
        ({"state": state, "history": tokens_of([*rows, 5])}, [*rows, 5]),
    ]
    with answering("Score", lambda raw, context: requests.put(pb.ScoreRequest.FromString(raw)) or b"") as address:
        for settings, clicked in cases:
            with open_session(both, cloud=address, client={"timeout": 20}, **settings) as opened:
                opened.expect(NAMES)
                assert np.frombuffer(requests.get(timeout=20).clicked, "<i4").tolist() == clicked
                if not state.exists():
                    opened.save(state)


def test_given_evidence_is_used_and_nothing_asked(cloud, session):
    session.history(tokens_of(clicks(4)))
    found = session.rank(NAMES, evidence=Evidence({}, 4, session.artifact.manifest.trust["corrector"]))
    assert not cloud.sent and found.used == ("scores",)


def test_what_the_service_cannot_be_asked(cloud, session):
    session.history(tokens_of(clicks(4)))
    assert session.rank_all().status == "refused" and not cloud.sent
    with pytest.raises(UserError, match="no candidate"):
        session.rank(["none"])
    with pytest.raises(UserError, match="one string"):
        session.rank("item-1")
    with pytest.raises(UserError, match="list of tokens"):
        session.rank(5)
    assert not cloud.sent


def test_before_the_first_click_nothing_is_asked(cloud, session):
    with pytest.raises(UserError, match="no click yet"):
        session.rank(NAMES)
    assert not cloud.sent


def test_more_candidates_than_a_request_has(written, cloud, tmp_path):
    tokens = ["[PAD]", *(f"i{n}" for n in range(1, 600))]

    shutil.copytree(written("GRU4Rec")[1], tmp_path / "a")
    vectors = np.random.default_rng(0).standard_normal((599, 16)).astype(np.float32)
    update_catalogue(tmp_path / "a", tokens[1:], vectors)
    session = Session.open(tmp_path / "a")
    trust = {"base": 1.0, "per_log_click": 0.0, "scale": 0.01, "corrector": "c" * 32}
    trust["items"] = session.artifact.manifest.catalogue()
    session.artifact.manifest = dataclasses.replace(session.artifact.manifest, trust=trust)
    corrected = CorrectedSession(session, cloud, 1.0)
    corrected.history(tokens[1:4])
    found = corrected.rank(tokens[1:])
    assert found.status == "refused" and "599 candidates; the service scores 512" in found.reason
    assert not cloud.sent and len(found.items) == 599
    corrected.rank(tokens[1:513])
    assert len(cloud.sent) == 1


def test_another_catalogue_on_the_device_asks_for_nothing(artifact, corrector, tmp_path, cloud):
    trusting(artifact, tmp_path / "a", corrector)
    vectors = np.random.default_rng(0).standard_normal((ITEMS - 1, 16)).astype(np.float32)
    update_catalogue(tmp_path / "a", TOKENS[:0:-1], vectors)  # the same items in other rows
    session = CorrectedSession(Session.open(tmp_path / "a"), cloud, 1.0)
    session.history(tokens_of(clicks(4)))
    found = session.rank(NAMES)
    assert (found.status, cloud.sent) == ("refused", []) and "catalogue is another" in found.reason


def test_the_fingerprint_covers_weights_decay_and_catalogue(item_item, tmp_path):
    def digest(corrector, items, folder):
        return save_corrector(tmp_path / folder, corrector, TRUST, items, "f" * 32, {})

    first = digest(item_item, TOKENS, "1")
    assert digest(item_item, TOKENS, "2") == first == load_corrector(tmp_path / "2")[2]
    swapped = [*TOKENS[:5], TOKENS[6], TOKENS[5], *TOKENS[7:]]
    glued = [*TOKENS[:5], TOKENS[5] + TOKENS[6][0], TOKENS[6][1:], *TOKENS[7:]]
    other = type(item_item)(item_item.weights * 1.5, item_item.decay)
    decayed = type(item_item)(item_item.weights, 0.8)
    changed = [
        digest(c, i, "x") for c, i in ((item_item, swapped), (item_item, glued), (other, TOKENS), (decayed, TOKENS))
    ]
    assert len({first, *changed}) == 5
    text = (tmp_path / "1" / "trust.json").read_text()
    (tmp_path / "1" / "trust.json").write_text(text.replace('"item-5", "item-6"', '"item-6", "item-5"'))
    with pytest.raises(UserError, match="is not the one"):
        load_corrector(tmp_path / "1")


def test_an_export_of_other_items_is_refused(checkpoint, item_item, tmp_path):
    pytest.importorskip("onnxscript")
    fingerprint = checkpoint_fingerprint(load_checkpoint(checkpoint))
    save_corrector(tmp_path / "c", item_item, TRUST, ["[PAD]", *TOKENS[:0:-1]], fingerprint, {})
    with pytest.raises(UserError, match="fitted on other items"):
        export(checkpoint, tmp_path / "a", corrector=tmp_path / "c")
    assert not (tmp_path / "a").exists()


def test_an_artifact_with_a_table_asks_for_no_scores(both, item_item, serves_both, tmp_path):
    """Corrections still come; the table's scores are in the ranking once, and no item is told."""
    folder = shutil.copytree(both, tmp_path / "table")
    with_table(folder, item_item)
    rows = clicks(9)
    with open_session(folder, cloud=f"127.0.0.1:{serves_both.port}", deadline_ms=LONG) as opened:
        opened.history(tokens_of(rows))
        ranking = opened.rank(NAMES)
        assert ranking.status == "corrected" and ranking.used == ("correction",)
        plain = Session.open(folder)
        plain.history(tokens_of(rows))
        upload = plain.hidden_states()
        answer = opened.client.correct(upload.hidden_states, upload.clicks, LONG / 1000)
        plain.apply(answer.content, plain.clicks)
        assert ranking.scores == pytest.approx(plain.rank(NAMES).scores, rel=1e-4, abs=1e-4)
        assert opened.rank_all().used == ("correction",)
        with pytest.raises(UserError, match="asks for no scores"):
            opened.expect(NAMES)
    own = Session.open(folder)
    own.artifact.manifest = dataclasses.replace(own.artifact.manifest, correction=None)
    with pytest.raises(UserError, match="takes no correction and asks for no scores"):
        CorrectedSession(own, _Cloud(), 1.0)


def test_settings_that_do_not_fit(both, artifact, cloud):
    for bad in (0, 129, True, 1.5):
        with pytest.raises(UserError, match="score_clicks"):
            CorrectedSession(Session.open(both), cloud, 1.0, score_clicks=bad)
    with pytest.raises(UserError, match="in the clear"):
        open_session(both, cloud="127.0.0.1:9", epsilon=1.0)
    with (
        open_session(both, cloud="127.0.0.1:9", epsilon=1.0, scores=False) as opened,
        pytest.raises(UserError, match="scores are off"),
    ):
        opened.expect(NAMES)
    with open_session(artifact, cloud="127.0.0.1:9") as opened, pytest.raises(UserError, match="trusts no corrector"):
        opened.expect(NAMES)
