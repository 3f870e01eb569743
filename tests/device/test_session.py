"""A session gives what the full pass in PyTorch gives, whatever comes in whatever order."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.artifact.manifest import read_manifest
from recbole_cocorr.artifact.table import ItemTable
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device import Correction, Ranking, Session
from recbole_cocorr.device.reader import Reader
from recbole_cocorr.device.window import Window
from recbole_cocorr.exporter.check import reference
from tests.conftest import CHECKOUT
from tests.device import ITEMS, TOKENS, WINDOW, assert_close, clicks, make, sent_to, tokens_of

RECURRENT = ("CoCorrRec", "GRU4Rec", "Mamba4Rec")


def opened(written, name="CoCorrRec", policy=None, **settings):
    recommender, folder = written(name, **settings)
    return recommender.model, Session.open(folder, policy=policy)


def read_rows(rows: list[int], policy: str) -> list[int]:
    return rows if policy == "carry" else rows[-WINDOW:]


# -- the same as PyTorch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("policy", ["carry", "window"])
def test_every_click_equals_the_full_pass(written, name, policy):
    model, session = opened(written, name, policy)
    rows = clicks(25)
    for t, row in enumerate(rows):
        assert session.click(TOKENS[row])
        assert session.clicks == t + 1
        assert_close(session.user_vector, reference(model, read_rows(rows[: t + 1], policy)))


@pytest.mark.parametrize("policy", ["carry", "window"])
@pytest.mark.parametrize("layers", [1, 2])
def test_gated_blocks(written, policy, layers):
    """Every click, a history, a correction and what is uploaded, as for the plain block."""
    model, session = opened(written, policy=policy, block="gated", num_layers=layers)
    rows = clicks(19)
    for t, row in enumerate(rows):
        session.click(TOKENS[row])
        read = read_rows(rows[: t + 1], policy)
        assert_close(session.user_vector, reference(model, read))
        if layers == 1:
            sent, arrays = sent_to(model, t)
            session.apply(arrays, clicks=t + 1)
            assert_close(session.user_vector, reference(model, read, sent))
    session = Session.open(session.artifact.folder, policy=policy)
    session.history(tokens_of(rows))
    assert_close(session.user_vector, reference(model, read_rows(rows, policy)))
    if layers == 1:
        expected = model.hidden_states(torch.tensor([rows[-WINDOW:]]))[0].detach()
        assert_close(session.hidden_states().hidden_states, expected, 1e-6)


def test_sasrec_reads_its_window(written):
    model, session = opened(written, "SASRec")
    rows = clicks(20)
    for t, row in enumerate(rows):
        session.click(TOKENS[row])
        assert_close(session.user_vector, reference(model, rows[: t + 1][-WINDOW:]))
    with pytest.raises(UserError, match="SASRec keeps no state, so its policy is window"):
        opened(written, "SASRec", "carry")


@pytest.mark.parametrize("name", [*RECURRENT, "SASRec"])
@given(parts=st.lists(st.lists(st.integers(1, ITEMS - 1), max_size=9), min_size=1, max_size=6), carry=st.booleans())
@settings(max_examples=12, deadline=None)
def test_histories_in_any_pieces(written, name, parts, carry):
    policy = "carry" if carry and name != "SASRec" else "window"
    model, session = opened(written, name, policy)
    rows = [row for part in parts for row in part]
    for part in parts:
        if len(part) == 1:
            session.click(TOKENS[part[0]])
        else:
            assert session.history(tokens_of(part)) == []
    assert session.clicks == len(rows)
    if rows:
        assert_close(session.user_vector, reference(model, read_rows(rows, policy)))


@pytest.mark.parametrize("policy", ["carry", "window"])
def test_a_correction_equals_the_corrected_full_pass(written, policy):
    model, session = opened(written, policy=policy)
    rows = clicks(19)
    for t, row in enumerate(rows):
        session.click(TOKENS[row])
        sent, arrays = sent_to(model, t)
        plain = session.user_vector
        session.apply(Correction(*arrays), clicks=t + 1, fingerprint=session.fingerprint)
        assert session.corrected
        expected = reference(model, read_rows(rows[: t + 1], policy), sent)
        assert_close(session.user_vector, expected)
        assert np.abs(plain - expected).max() > 1e-3
        if t % 2:  # again, with another: nothing of the first is left
            sent, arrays = sent_to(model, t + 100)
            session.apply(arrays, clicks=np.int64(t + 1))
            assert_close(session.user_vector, reference(model, read_rows(rows[: t + 1], policy), sent))


@pytest.mark.parametrize("block", ["plain", "gated"])
@given(parts=st.lists(st.tuples(st.lists(st.integers(1, ITEMS - 1), min_size=1, max_size=9), st.sampled_from("cska"))))
@settings(max_examples=25, deadline=None)
def test_a_window_that_is_one_mini_batch(written, tmp_path_factory, parts, block):
    """L = K, as in the paper: a window has a graph of its own, and the state is made when it is asked for."""
    model, session = opened(written, policy="window", mini_batch_size=WINDOW, block=block)
    assert "window" in session.artifact.manifest.graphs
    path, rows = tmp_path_factory.mktemp("window") / "state", []
    for number, (part, way) in enumerate(parts):
        for row in part if way == "c" else ():
            session.click(TOKENS[row])
        if way != "c":
            session.history(tokens_of(part))
        rows += part
        expected = reference(model, rows[-WINDOW:])
        if way == "k":
            session.save(path)
            session = Session.open(session.artifact.folder, state=path, policy="window")
        if way == "a":
            sent, arrays = sent_to(model, number)
            session.apply(arrays, clicks=len(rows))
            expected = reference(model, rows[-WINDOW:], sent)
        assert_close(session.user_vector, expected)


def test_a_click_ends_a_correction(written):
    model, session = opened(written, policy="carry")
    rows = clicks(5)
    session.history(tokens_of(rows[:4]))
    session.apply(sent_to(model)[1], clicks=4)
    session.click(TOKENS[rows[4]])
    assert not session.corrected
    assert_close(session.user_vector, reference(model, rows))


def test_what_is_uploaded_is_the_hidden_state_of_the_model(written):
    model, session = opened(written)
    rows = clicks(12)
    for count in (1, 3, WINDOW, 12):
        session = Session(session.artifact)
        session.history(tokens_of(rows[:count]))
        upload = session.hidden_states()
        expected = model.hidden_states(torch.tensor([rows[:count][-WINDOW:]]))[0].detach()
        assert upload.hidden_states.dtype == np.float32
        assert upload.hidden_states.shape == (min(count, WINDOW), 16)
        assert (upload.clicks, upload.fingerprint) == (count, session.fingerprint)
        assert_close(upload.hidden_states, expected, 1e-6)


@torch.no_grad()
def test_the_whole_round_trip_is_the_models_own_forward(written):
    """Upload, the correction network on it, apply: RecBole's forward of the same model."""
    model, session = opened(written, policy="window")
    rows = clicks(WINDOW + 4)
    session.history(tokens_of(rows))
    upload = session.hidden_states()
    x = torch.from_numpy(upload.hidden_states)[None]
    sent = model.correction(x, torch.tensor([x.shape[1]]))
    session.apply((sent.attention.numpy(), sent.bias.numpy()), clicks=upload.clicks)  # a batch of one is one
    assert_close(session.user_vector, model.forward(torch.tensor([rows[-WINDOW:]]), torch.tensor([WINDOW]))[0])


# -- rankings --------------------------------------------------------------------------------------------


@torch.no_grad()
def scores_of(model, session) -> np.ndarray:
    """Scores of all items by torch, for the session's user vector."""
    phi = getattr(model, "target_transform", torch.nn.Identity())
    return (phi(model.item_embedding.weight) @ torch.from_numpy(session.user_vector)).numpy()


@pytest.mark.parametrize("name", [*RECURRENT, "SASRec"])
def test_rankings_are_those_of_the_model(written, name):
    model, session = opened(written, name)
    session.history(tokens_of(clicks(6)))
    scores = scores_of(model, session)
    order = np.argsort(-scores[1:], kind="stable") + 1
    whole = session.rank_all(ITEMS)
    assert whole.items == tokens_of(order)
    assert_close(whole.scores, scores[order])
    assert session.rank_all(5).items == whole.items[:5]
    some = TOKENS[30:10:-2]
    ranking = session.rank(some)
    assert ranking.items == sorted(some, key=whole.items.index)
    assert session.rank(some, 3).items == ranking.items[:3]
    assert ranking.unknown == []


def test_the_list_is_that_of_recommend(written, monkeypatch):
    recommender, folder = written(mini_batch_size=WINDOW)
    monkeypatch.setattr(recommender.model, "use_gcn", False)  # the device alone
    for count in (3, 20):
        session = Session.open(folder, policy="window")
        session.history(tokens_of(clicks(count)))
        theirs = recommender.recommend(tokens_of(clicks(count)), k=ITEMS)
        ours = session.rank_all(ITEMS)
        assert ours.items == theirs.items
        assert_close(ours.scores, theirs.scores)


def test_repeats_unknown_and_excluded_items(written):
    _, session = opened(written)
    session.click("item-3")
    ranking = session.rank(["item-5", "nobody", "item-9", "item-5", "nobody", "item-9", "item-2"], exclude=["item-9"])
    assert sorted(ranking.items) == ["item-2", "item-5"]
    assert len(ranking.scores) == 2
    assert ranking.unknown == ["nobody"]
    assert session.rank(["item-5"], exclude=["item-5"]) == Ranking([], [])
    assert session.rank(["item-5"], exclude=["nobody"]).items == ["item-5"]
    assert "item-3" not in session.rank_all(ITEMS, exclude=["item-3", "nobody"]).items
    assert len(session.rank_all(10**9).items) == ITEMS - 1
    assert "[PAD]" not in session.rank_all(ITEMS).items
    with pytest.raises(UserError, match="no candidate is an item of the catalogue"):
        session.rank(["nobody", "[PAD]"])
    with pytest.raises(UserError, match="no candidate"):
        session.rank([])


def test_equal_scores_keep_the_order_of_the_candidates(written):
    _, session = opened(written)
    session.click("item-1")
    session.artifact.targets = ItemTable(np.zeros((ITEMS, session.artifact.manifest.width), np.float32))
    some = TOKENS[1:30]
    assert session.rank(some, 3).items == some[:3]
    assert session.rank(some[::-1], 7).items == some[::-1][:7]
    assert session.rank_all(5).items == TOKENS[1:6]


@pytest.mark.parametrize("k", [0, -3, 1.5, "4", True, [1]])
def test_a_k_that_is_no_number_of_items(written, k):
    _, session = opened(written)
    session.click("item-1")
    with pytest.raises(UserError, match="it must be a whole number of at least 1"):
        session.rank(["item-2"], k)
    with pytest.raises(UserError, match="it must be a whole number of at least 1"):
        session.rank_all(k)


def test_one_string_is_no_list(written):
    _, session = opened(written)
    session.click("item-1")
    for call in (session.history, session.rank, lambda x: session.rank_all(3, exclude=x)):
        with pytest.raises(UserError, match="is a list of tokens, not one string"):
            call("item-1")
    with pytest.raises(UserError, match="is a list of tokens, not int"):
        session.rank(7)


def test_numbers_stand_for_their_tokens(tmp_path, own_copy):
    from recbole_cocorr.device import update_catalogue

    recommender, folder = own_copy()
    table = recommender.model.item_embedding.weight.detach().numpy()
    update_catalogue(folder, list(map(str, range(1, ITEMS))), table[1:])
    session = Session.open(folder)
    assert session.click(7)
    assert session.rank([3, np.int64(4)]).items in (["3", "4"], ["4", "3"])


# -- what comes in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CoCorrRec", "SASRec"])
def test_before_the_first_click(written, name):
    _, session = opened(written, name)
    assert session.history([]) == []
    assert session.clicks == 0
    for call in (lambda: session.rank(["item-1"]), session.rank_all, lambda: session.user_vector):
        with pytest.raises(UserError, match="has read no click yet"):
            call()


def test_an_empty_upload(written):
    model, session = opened(written)
    with pytest.raises(UserError, match="has read no click yet"):
        session.hidden_states()
    with pytest.raises(UserError, match="has read no click yet"):
        session.apply(sent_to(model)[1], clicks=0)


def test_an_unknown_item_changes_nothing(written):
    model, session = opened(written)
    rows = clicks(4)
    session.history(tokens_of(rows))
    before = session.user_vector
    assert session.click("nobody") is False
    assert session.click("") is False
    assert session.click("[PAD]") is False
    assert session.history(["x", "y", "x"]) == ["x", "y"]
    assert session.clicks == 4
    assert np.array_equal(session.user_vector, before)
    assert session.history(["x", TOKENS[rows[0]], "y"]) == ["x", "y"]
    assert_close(session.user_vector, reference(model, [*rows, rows[0]]))


BAD = [
    (lambda a, b: (a, b, b), "a correction is a pair of arrays"),
    (lambda a, b: None, "a correction is a pair of arrays"),
    (lambda a, b: (a[:1], b), r"attention of the correction has shape \(1, 3, 3\); this model reads \(2, 3, 3\)"),
    (lambda a, b: (a, b.T), "bias of the correction has shape"),
    (lambda a, b: (b, a), "attention of the correction has shape"),
    (lambda a, b: (a * np.nan, b), "attention of the correction holds numbers that are not finite"),
    (lambda a, b: (a, b + np.inf), "bias of the correction holds numbers that are not finite"),
    (lambda a, b: (a.astype(np.float64) + 1e300, b), "attention of the correction holds numbers that are not finite"),
    (lambda a, b: (a.astype(str), b), "attention of the correction holds no numbers"),
    (lambda a, b: (a, b.astype(complex)), "bias of the correction holds no numbers"),
    (lambda a, b: ([[1], [1, 2]], b), "attention of the correction holds no numbers"),
]


@pytest.mark.parametrize("make_bad, message", BAD)
def test_a_correction_that_is_none(written, make_bad, message):
    model, session = opened(written)
    session.history(tokens_of(clicks(4)))
    before = session.user_vector
    attention, bias = sent_to(model)[1]
    with pytest.raises(UserError, match=message):
        session.apply(make_bad(attention, bias), clicks=4)
    assert np.array_equal(session.user_vector, before)
    assert not session.corrected


@pytest.mark.parametrize("count", [3, 5, 0, -1, "4", None, 4.0, True])
def test_a_correction_of_other_clicks(written, count):
    model, session = opened(written)
    session.history(tokens_of(clicks(4)))
    with pytest.raises(UserError, match=f"made after {count!r} clicks, and the session has read 4"):
        session.apply(sent_to(model)[1], clicks=count)


def test_a_correction_of_another_model(written):
    model, session = opened(written)
    session.click("item-1")
    with pytest.raises(UserError, match="the correction was made by the model 'ffff'"):
        session.apply(sent_to(model)[1], clicks=1, fingerprint="ffff")


def test_models_without_a_cloud(written):
    for session in (opened(written, "GRU4Rec")[1], opened(written, "Mamba4Rec")[1]):
        session.click("item-1")
        for call in (session.hidden_states, lambda s=session: s.apply(None, clicks=1)):
            with pytest.raises(UserError, match="takes no correction"):
                call()


def test_a_policy_that_is_none(written):
    with pytest.raises(UserError, match="policy is 'both'; it must be one of carry, window"):
        opened(written, policy="both")


# -- cost ------------------------------------------------------------------------------------------------


class Counted:
    """Counts the runs of graphs and the clicks whose vectors they are given."""

    def __init__(self, reader: Reader):
        self.steps = self.folds = self.others = 0
        run, fold = reader.steps.run_bound, reader.steps.fold

        def step(*args):
            self.steps += 1
            run(*args)

        def folded(state):
            self.folds += 1
            return fold(state)

        def other(*args, **kwargs):
            self.others += 1

        reader.steps.run_bound, reader.steps.fold, reader.vectors = step, folded, other


def test_a_click_costs_the_same_after_a_hundred_thousand(written, tmp_path):
    """The work is counted, not timed: the same runs of the same graphs, buffers and files of the same size."""
    _, session = opened(written, policy="carry")
    counted = Counted(session.reader)
    buffers = [id(s) for s in session.reader.steps.reads], session.reader.state().shape
    tokens = tokens_of(clicks(100_000))
    work = []
    for t, token in enumerate(tokens):
        before = counted.steps, counted.folds
        session.click(token)
        work.append((counted.steps - before[0], counted.folds - before[1]))
        if t == 9:
            session.save(tmp_path / "early")
    assert set(work[3::3]) == {(1, 1)}, "a mini-batch of three is folded before each third click"
    assert set(work[1::3]) | set(work[2::3]) == {(1, 0)}
    assert work[0] == (1, 0)
    assert counted.others == 0
    assert len(session.recent_rows()) == WINDOW
    assert ([id(s) for s in session.reader.steps.reads], session.reader.state().shape) == buffers
    session.save(tmp_path / "late")
    assert (tmp_path / "early").stat().st_size == (tmp_path / "late").stat().st_size <= 20_000
    assert session.clicks == 100_000
    assert np.isfinite(session.user_vector).all()


def test_a_thousand_clicks_do_not_drift(written):
    model, session = opened(written, policy="carry")
    rows = clicks(1000)
    for token in tokens_of(rows):
        session.click(token)
    assert_close(session.user_vector, reference(model, rows))


def test_a_window_is_re_read_at_a_constant_cost(written):
    """Where the state is not carried on, a click reads the window, however many came before."""
    _, session = opened(written, policy="window", name="GRU4Rec")
    lengths = []
    vectors = session.reader.vectors
    session.reader.vectors = lambda rows: lengths.append(len(rows)) or vectors(rows)
    for token in tokens_of(clicks(60)):
        lengths.clear()
        session.click(token)
        if session.clicks > WINDOW:
            assert sum(lengths) == WINDOW
        else:
            assert lengths == []  # so far the state is that of the window


@pytest.mark.parametrize("name", ["SASRec", "CoCorrRec"])
def test_a_moving_window_looks_up_the_new_click_alone(written, monkeypatch, name):
    settings = {"MAX_ITEM_LIST_LENGTH": 5, "mini_batch_size": 5} if name == "CoCorrRec" else {}
    _, session = opened(written, policy="window", name=name, **settings)
    window, rows = Window(session.artifact), clicks(60)
    length = session.artifact.manifest.window
    window.read(rows[:length])
    monkeypatch.setattr(session.artifact.items, "vectors", lambda rows: pytest.fail("the whole window was looked up"))
    for start in range(1, 20):
        moved = window.read(rows[start : start + length])
    monkeypatch.undo()
    np.testing.assert_array_equal(moved, Window(session.artifact).read(rows[start : start + length]))


def test_the_default_sizes_fit(written):
    """The device's state is below 20 KB and the graphs below 300 KB with the sizes of the paper."""
    recommender = make(hidden_size=64, num_heads=4, mini_batch_size=None, MAX_ITEM_LIST_LENGTH=10)
    from recbole_cocorr.models.device_graphs import graphs_of

    state = graphs_of(recommender.model).state
    assert 4 * state.numel() <= 10_000


def test_an_artifact_without_the_fast_graph_gives_the_same(own_copy):
    recommender, folder = own_copy()
    fast = Session.open(folder, policy="carry")
    manifest = read_manifest(folder)
    for name in ("click", "slot"):
        del manifest.graphs[name]
    (folder / "manifest.json").write_text(manifest.to_json())
    plain = Session.open(folder, policy="carry")
    for count, token in enumerate(tokens_of(clicks(11))):
        fast.click(token)
        plain.click(token)
        assert_close(fast.user_vector, plain.user_vector)
        _, sent = sent_to(recommender.model, count)
        for session in (fast, plain):
            session.apply(sent, clicks=count + 1)
        assert_close(fast.user_vector, plain.user_vector)


def test_threads_wait_for_each_other(written):
    model, session = opened(written, policy="carry")
    problems = []

    def work():
        try:
            for _ in range(200):
                session.click("item-4")
                session.rank(["item-1", "item-2"])
                session.hidden_states()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert session.clicks == 800
    assert_close(session.user_vector, reference(model, [4] * 800))


def test_two_sessions_of_one_artifact_do_not_meet(written):
    model, first = opened(written, policy="carry")
    second = Session(first.artifact, "carry")
    rows, others = clicks(8), clicks(8, 1)
    for a, b in zip(rows, others, strict=True):
        first.click(TOKENS[a])
        second.click(TOKENS[b])
    assert_close(first.user_vector, reference(model, rows))
    assert_close(second.user_vector, reference(model, others))


def test_a_state_that_is_set_takes_the_place_of_one_that_is_not_made_yet(written):
    artifact = Session.open(written(mini_batch_size=WINDOW)[1]).artifact
    first, second = Reader(artifact), Reader(artifact)
    first.from_start(clicks(WINDOW))
    second.go_on(clicks(4, 1), 0)
    first.set_state(second.state())
    assert np.array_equal(first.state(), second.state())
    assert np.array_equal(first.click(3, 4), second.click(3, 4))


FORKS = """
import os, sys, threading
import numpy as np
from recbole_cocorr.device import Session

folder, count = sys.argv[1], int(sys.argv[2])

def same_as_read_here(session):
    plain = Session.open(folder, policy="carry", threads=count)
    for _ in range(session.clicks):
        plain.click("item-4")
    assert np.allclose(plain.user_vector, session.user_vector, rtol=1e-5)

for _ in range(5):
    session, begun, over = Session.open(folder, policy="carry", threads=count), threading.Event(), threading.Event()

    def work():
        while not over.is_set():
            session.click("item-4")
            begun.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait()
    child = os.fork()
    if not child:
        try:
            session.click("item-4")
            same_as_read_here(session)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
    over.set()
    assert os.waitpid(child, 0)[1] == 0
    for thread in threads:
        thread.join()
    same_as_read_here(session)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_child_forked_during_a_call_has_a_whole_session(written, threads):
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(written()[1]), str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_what_the_catalogue_lacks_is_not_remembered(written):
    import tracemalloc

    session = Session.open(written()[1])
    session.click("item-1")
    tracemalloc.start()
    try:
        for number in range(300):
            unknown = f"{number}" + "x" * 100_000
            assert not session.click(unknown) and session.history([unknown]) == [unknown]
            assert session.rank(["item-2", unknown], exclude=[unknown]).unknown == [unknown]
        del unknown
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
