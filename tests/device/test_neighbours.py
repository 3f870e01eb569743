"""A session's running scores, held to the corrector that the neighbour table was made of."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.artifact.manifest import LONGEST_ROW, read_manifest
from recbole_cocorr.artifact.neighbours import NeighbourTable, clicks_that_count
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import ItemItem, Trust
from recbole_cocorr.correctors.neighbours import corrector_of, table_of
from recbole_cocorr.device import Evidence, Session, update_catalogue
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.running_scores import RunningScores
from tests.device import ITEMS, TOKENS, tokens_of

COUNT = 5
TRUST = Trust(2.0, -0.3)
EVERYTHING = np.arange(ITEMS)[None]


def made_up(decay: float = 0.9, seed: int = 0) -> ItemItem:
    """A corrector with rows of none to all items, weights of both signs among them."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(0.05, 0.1, (ITEMS, ITEMS)) * (generator.random((ITEMS, ITEMS)) < 0.3)
    weights[0], weights[:, 0], weights[3], weights[5] = 0, 0, 0, 0.01
    weights[5, 0] = 0
    return ItemItem(sparse.csr_matrix(weights), decay)


def with_table(folder, corrector: ItemItem, count: int = COUNT) -> NeighbourTable:
    """Put a table into an artifact."""
    table, manifest = table_of(corrector, count), read_manifest(folder)
    decay = corrector.decay
    manifest.neighbours = {"count": count, "decay": decay, "clicks": clicks_that_count(decay), "form": "asinh"}
    manifest.neighbours |= {"base": TRUST.base, "per_log_click": TRUST.per_log_click, "scale": TRUST.scale}
    manifest.arrays |= table.write(folder)
    (folder / "manifest.json").write_text(manifest.to_json())
    return table


@pytest.fixture
def artifact(own_copy):
    """An artifact with a table, and the corrector that scores as the table does."""
    _, folder = own_copy()
    table = with_table(folder, made_up())
    return folder, corrector_of(table, 0.9)


def exact(corrector: ItemItem) -> NeighbourTable:
    """Rows with the weights as they are."""
    weights = corrector.weights
    return NeighbourTable(weights.indptr, weights.indices, weights.data, np.ones(ITEMS, np.float32))


HISTORIES = st.lists(st.integers(1, ITEMS - 1), max_size=12) | st.lists(
    st.sampled_from([1, 2, 3, 5]), min_size=1, max_size=700
)


@settings(deadline=None, max_examples=60)
@given(HISTORIES, st.sampled_from([0.3, 0.9, 0.97]), st.data())
def test_the_running_form_is_the_correctors_sum(rows, decay, data):
    """With the weights as they are; clicked one by one from anywhere on, so that p is made anew at any click."""
    corrector = made_up(decay)
    running = RunningScores(exact(corrector), decay, clicks_that_count(decay))
    first = data.draw(st.integers(0, len(rows)))
    running.start(running.rows(rows[:first]))
    for place in range(first, len(rows)):
        running.add(running.row(rows[place]), rows[: place + 1])
    expected = corrector.scores([np.array(rows)], EVERYTHING)[0]
    assert np.abs(running.at(range(ITEMS)) - expected).max() <= 1e-6
    items, scores = running.all()
    assert np.array_equal(running.at(items.tolist()), scores)
    assert set(np.flatnonzero(np.abs(expected) > 1e-6)) <= set(items)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, ITEMS - 1), max_size=80), st.sampled_from([0.3, 0.9]))
def test_int8_changes_a_score_by_half_a_step_of_each_click_at_most(rows, decay):
    corrector = made_up(decay)
    table = table_of(corrector, ITEMS)
    running = RunningScores(table, decay, clicks_that_count(decay))
    running.start(running.rows(rows))
    expected = corrector.scores([np.array(rows)], EVERYTHING)[0]
    ages = np.arange(len(rows))[::-1]
    allowed = (0.5 * table.scales[rows] * decay**ages).sum()
    assert np.abs(running.at(range(ITEMS)) - expected).max() <= allowed + 1e-6


def test_it_is_bounded():
    decay, count = 0.5, 4
    size = 2000
    items = (np.arange(size)[:, None] * 7 + np.arange(count)).ravel() % size
    table = NeighbourTable(np.arange(size + 1) * count, items, np.full(len(items), 9, np.int8), np.ones(size))
    clicks = clicks_that_count(decay)
    running = RunningScores(table, decay, clicks)
    most = 0
    for place in range(1, size):
        running.add(running.row(place), range(place + 1))
        most = max(most, len(running.all()[0]))
    assert clicks * count < most <= 2 * clicks * count


@pytest.mark.parametrize("decay, clicks", [(0.9, 219), (0.5, 34), (1e-12, 1), (0.99, 2292)])
def test_clicks_that_count(decay, clicks):
    assert clicks_that_count(decay) == clicks
    assert decay**clicks <= 1e-10


@pytest.mark.parametrize("decay", [1.0, 0.999])
def test_a_decay_that_forgets_too_little(decay):
    with pytest.raises(UserError, match="more than 4096 clicks"):
        clicks_that_count(decay)


def naive(corrector: ItemItem, count: int) -> dict[tuple[int, int], float]:
    """The slow twin of a table: entries in the order in which they are taken, until there is no room."""
    offers = []
    for row in range(ITEMS):
        weights = corrector.weights[row].toarray()[0]
        scale = np.float32(np.abs(weights).max()) / np.float32(127)
        order = sorted(np.flatnonzero(weights), key=lambda item: (-abs(weights[item]), item))
        for place, item in enumerate(order[: LONGEST_ROW * count]):
            rounded = np.rint(weights[item] / scale) * scale
            if rounded:
                offers.append((place >= count / 5, -abs(weights[item]), row, item, rounded))
    return {(row, item): rounded for *_, row, item, rounded in sorted(offers)[: count * (ITEMS - 1)]}


@pytest.mark.parametrize("count", [1, 2, COUNT, ITEMS])
@pytest.mark.parametrize("seed", range(3))
def test_the_few_largest_of_each_row_are_taken_and_then_the_largest_of_all(count, seed):
    corrector = made_up(seed=seed)
    weights = corrector.weights.toarray()
    weights[7, 1:] = 5
    weights[8, 9] = 1e-6  # nothing beside the largest of its row
    corrector = ItemItem(sparse.csr_matrix(weights))
    table = table_of(corrector, count)
    rows, columns, weights = table.entries()
    said = dict(zip(zip(rows.tolist(), columns.tolist(), strict=True), weights.tolist(), strict=True))
    expected = naive(corrector, count)
    assert said.keys() == expected.keys()
    assert all(said[pair] == pytest.approx(weight, rel=1e-6) for pair, weight in expected.items())
    assert table.lengths.max() <= LONGEST_ROW * count and not table.lengths[[0, 3]].any()
    if count == 2:  # the row of large weights has all that it may have
        assert table.lengths[7] == LONGEST_ROW * count
    assert (table.indptr.dtype, table.items.dtype) == (np.uint32, np.uint16)
    assert table.bytes == 3 * len(rows) + 8 * ITEMS + 4


@given(st.lists(st.integers(0, ITEMS - 1), max_size=40), st.integers(1, 8))
@settings(deadline=None, max_examples=40)
def test_rows_that_are_taken(rows, count):
    table = table_of(made_up(), count)
    taken = table.take(np.array(rows, int)).followed_by(table)
    for place, row in enumerate([*rows, *range(ITEMS)]):
        assert taken.row(place) == table.row(row)
    assert table.differs(table).tolist() == []


# -- sessions ------------------------------------------------------------------------------------------------------


def expected_of(folder, corrector, session, rows, names):
    """What a ranking must say, by the corrector's and the trust's own arithmetic."""
    alone = session.artifact.targets.scores(session.user_vector, np.arange(ITEMS))
    p = corrector.scores([np.array(rows)], EVERYTHING)
    fused = TRUST.fuse(alone[None], p, np.array([len(rows)]))[0]
    return {TOKENS[row]: fused[row] for row in range(ITEMS) if TOKENS[row] in names}


def check(ranking, expected):
    assert set(ranking.items) == set(expected)
    assert ranking.scores == sorted(ranking.scores, reverse=True)
    for item, score in zip(ranking.items, ranking.scores, strict=True):
        assert score == pytest.approx(expected[item], rel=1e-4, abs=1e-4)


ITEM = st.integers(1, ITEMS - 1).map(lambda row: TOKENS[row]) | st.sampled_from(["item-1", "no such item"])


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_a_session_adds_the_trusted_scores(written, tmp_path_factory, data):
    """Clicks, histories, unknown items, repeats, and a state saved and opened in the middle."""
    folder = tmp_path_factory.mktemp("table") / "artifact"
    shutil.copytree(written()[1], folder)
    corrector = corrector_of(with_table(folder, made_up()), 0.9)
    policy = data.draw(st.sampled_from(["carry", "window"]))
    session, rows = Session.open(folder, policy=policy), []
    for _ in range(data.draw(st.integers(1, 6))):
        move = data.draw(st.sampled_from(["click", "history", "long", "state"]))
        if move == "state":
            session.save(folder / "kept")
            log = tokens_of(rows) if data.draw(st.booleans()) else None
            session = Session.open(folder, state=folder / "kept", history=log, policy=policy)
            assert session.source == "state" or not rows
            continue
        tokens = [data.draw(ITEM)] if move == "click" else data.draw(st.lists(ITEM, max_size=6))
        if move == "long":
            tokens = (tokens or ["item-7"]) * 300
            tokens = tokens[:300]
        if move == "click":
            session.click(tokens[0])
        else:
            session.history(tokens)
        rows += [TOKENS.index(t) for t in tokens if t in TOKENS]
    if rows:
        assert session.clicks == len(rows)
        expected = expected_of(folder, corrector, session, rows, TOKENS[1:])
        check(session.rank_all(ITEMS), expected)
        names = data.draw(st.lists(st.sampled_from(TOKENS[1:]), min_size=1, unique=True))
        check(session.rank(names), {name: expected[name] for name in names})


def test_the_state_stays_small_and_the_same(artifact, tmp_path):
    folder, _ = artifact
    sizes = set()
    session = Session.open(folder)
    for clicks in (0, 1, 300, 2000):
        session.history(["item-4"] * (clicks - session.clicks))
        session.save(tmp_path / "state")
        sizes.add((tmp_path / "state").stat().st_size)
    assert len(sizes) == 1 and max(sizes) < 40_000


def test_a_state_of_before_the_table_is_refused_and_of_an_artifact_without_one_is_read(own_copy, tmp_path):
    _, folder = own_copy()
    session = Session.open(folder)
    session.history(["item-1", "item-2"])
    session.save(tmp_path / "state")
    assert Session.open(folder, state=tmp_path / "state").source == "state"
    with_table(folder, made_up())
    with pytest.raises(UserError, match="of another artifact"):
        Session.open(folder, state=tmp_path / "state")
    again = Session.open(folder, state=tmp_path / "state", history=["item-1", "item-2"])
    assert again.source == "history" and again.clicks == 2


def test_the_hidden_states_are_still_of_the_last_l_clicks(artifact):
    session = Session.open(artifact[0])
    session.history([TOKENS[1 + n % 9] for n in range(50)])
    assert len(session.hidden_states().hidden_states) == 7 == len(session.recent_rows())


def test_evidence_of_the_cloud_takes_the_tables_place(artifact):
    folder, _ = artifact
    session = Session.open(folder)
    given = {"base": 1.0, "per_log_click": 0.0, "scale": 0.01, "corrector": "c" * 32, "items": "d" * 32}
    session.artifact.manifest = replace(session.artifact.manifest, trust=given)
    session.history(["item-1", "item-2", "item-5"])
    alone = session.artifact.targets.scores(session.user_vector, np.arange(ITEMS))
    ranking = session.rank(TOKENS[1:], evidence=Evidence({"item-9": 0.5}, 3, "c" * 32))
    said = dict(zip(ranking.items, ranking.scores, strict=True))
    for row in range(1, ITEMS):
        expected = alone[row] + (np.arcsinh(50) if row == 9 else 0)
        assert said[TOKENS[row]] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_click_that_fails_leaves_the_scores_as_they_were(artifact, monkeypatch):
    folder, _ = artifact
    session = Session.open(folder)
    session.history(["item-1", "item-2"])
    before = session.rank_all(ITEMS)

    def fails(*_):
        raise UserError("no")

    for call in (lambda: session.click("item-4"), lambda: session.history(["item-4", "item-6"])):
        with monkeypatch.context() as patch:
            patch.setattr("recbole_cocorr.device.reader.Reader.click", fails)
            patch.setattr("recbole_cocorr.device.reader.Reader.from_start", fails)
            patch.setattr("recbole_cocorr.device.reader.Reader.go_on", fails)
            with pytest.raises(UserError, match="no"):
                call()
        assert session.rank_all(ITEMS) == before


def said_by(folder) -> dict[tuple[str, str], float]:
    """What a click on one token says for another one."""
    artifact = Artifact(folder)
    token = artifact.vocabulary.token
    rows, columns, weights = artifact.neighbours.entries()
    pairs = zip(rows.tolist(), columns.tolist(), weights.tolist(), strict=True)
    return {(token(row), token(column)): weight for row, column, weight in pairs}


def test_another_catalogue_keeps_the_rows_of_its_items(artifact):
    folder, _ = artifact
    before, session = said_by(folder), Session.open(folder)
    tokens = ["new", *[t for t in reversed(TOKENS[1:]) if t != "item-6"]]
    width = session.artifact.manifest.width
    update_catalogue(folder, tokens, np.random.default_rng(0).random((len(tokens), width), np.float32))
    assert said_by(folder) == {pair: weight for pair, weight in before.items() if "item-6" not in pair}
    again = Session.open(folder)
    assert again.artifact.manifest.neighbours == session.artifact.manifest.neighbours
    again.history(["new", "item-5", "item-8"])
    assert len(again.rank_all(ITEMS).items) == len(tokens)


def test_a_model_without_a_state_has_a_table_too(own_copy):
    _, folder = own_copy("SASRec")
    corrector = corrector_of(with_table(folder, made_up()), 0.9)
    session, rows = Session.open(folder), [1, 2, 2, 9, 5, 8, 1, 4, 4, 30]
    session.history(tokens_of(rows))
    check(session.rank_all(ITEMS), expected_of(folder, corrector, session, rows, TOKENS[1:]))
