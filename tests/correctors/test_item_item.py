"""The item-item corrector against dense algebra, written out."""

import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import ItemItem
from recbole_cocorr.correctors.item_item import FORMAT


def clicks(seed: int = 0, users: int = 40, items: int = 12, count: int = 200):
    generator = np.random.default_rng(seed)
    return generator.integers(1, users + 1, count), generator.integers(1, items + 1, count), items + 1


def table(users, items, n_items):
    found = np.zeros((users.max() + 1, n_items))
    found[users, items] = 1
    return found


@pytest.mark.parametrize("l2", [0.5, 100.0])
def test_with_all_neighbours_it_is_ease(l2):
    users, items, n_items = clicks()
    model = ItemItem.fit(users, items, n_items, l2=l2, neighbours=n_items)
    X = table(users, items, n_items)
    P = np.linalg.inv(X.T @ X + l2 * np.eye(n_items))
    ease = -P / np.diag(P)
    np.fill_diagonal(ease, 0)
    np.testing.assert_allclose(model.weights.toarray(), ease, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_each_item_is_a_ridge_regression_on_its_neighbours(neighbours):
    users, items, n_items = clicks(1)
    l2 = 2.0
    model = ItemItem.fit(users, items, n_items, l2=l2, neighbours=neighbours)
    X = table(users, items, n_items)
    G = X.T @ X
    for item in range(1, n_items):
        others = [j for j in range(1, n_items) if j != item and G[item, j]]
        others.sort(key=lambda j: (-G[item, j] / (G[j, j] + l2), j))
        near = others[:neighbours]
        wanted = np.zeros(n_items)
        wanted[near] = np.linalg.solve(G[np.ix_(near, near)] + l2 * np.eye(len(near)), G[near, item])
        np.testing.assert_allclose(model.weights[:, [item]].toarray()[:, 0], wanted, rtol=1e-4, atol=1e-6)


def test_order_and_repeats_of_the_interactions_do_not_matter():
    users, items, n_items = clicks(2)
    once = ItemItem.fit(users, items, n_items, neighbours=4).weights
    order = np.random.default_rng(0).permutation(2 * len(users))
    again = ItemItem.fit(np.r_[users, users][order], np.r_[items, items][order], n_items, neighbours=4).weights
    assert (once != again).nnz == 0


def test_blocks_change_nothing(monkeypatch):
    users, items, n_items = clicks(3, items=30, count=300)
    whole = ItemItem.fit(users, items, n_items, neighbours=7).weights.toarray()
    monkeypatch.setattr("recbole_cocorr.correctors.item_item._ITEMS", 4)
    monkeypatch.setattr("recbole_cocorr.correctors.item_item._SYSTEMS", 3)
    np.testing.assert_allclose(ItemItem.fit(users, items, n_items, neighbours=7).weights.toarray(), whole, rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(1, 12), max_size=6), max_size=5), st.floats(0.1, 1.0), st.integers(0, 3))
def test_scores_are_the_sum_over_clicks(histories, decay, seed):
    model = ItemItem(ItemItem.fit(*clicks(seed), l2=1.0, neighbours=5).weights, decay)
    candidates = np.random.default_rng(seed).integers(0, 13, (len(histories), 7))
    found = model.scores([np.array(h, dtype=np.int64) for h in histories], candidates)
    B = model.weights.toarray()
    for row, history in enumerate(histories):
        wanted = np.zeros(7)
        for age, item in enumerate(reversed(history)):
            wanted += decay**age * B[item, candidates[row]]
        np.testing.assert_allclose(found[row], wanted, rtol=1e-4, atol=1e-6)
    assert found.shape == candidates.shape


def test_many_rows_are_scored_as_one_by_one():
    model = ItemItem.fit(*clicks(), l2=1.0, neighbours=5)
    generator = np.random.default_rng(5)
    histories = [generator.integers(1, 13, generator.integers(0, 5)) for _ in range(2500)]
    candidates = generator.integers(1, 13, (2500, 4))
    together = model.scores(histories, candidates)
    for row in (0, 1023, 1024, 2047, 2048, 2499):
        alone = model.scores([histories[row]], candidates[row : row + 1])
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-5, atol=1e-7)


def test_an_item_without_company_says_nothing():
    model = ItemItem.fit(np.array([1, 1, 2]), np.array([1, 2, 3]), 5)
    assert model.weights[3].nnz == 0 and model.weights[:, [3]].nnz == 0 and model.weights[0].nnz == 0
    assert ItemItem.fit(np.empty(0, int), np.empty(0, int), 5).scores([np.array([1])], np.array([[2]]))[0, 0] == 0


def test_saved_and_loaded(tmp_path):
    model = ItemItem.fit(*clicks(), decay=0.7)
    model.save(tmp_path / "m.safetensors")
    again = ItemItem.load(tmp_path / "m.safetensors")
    assert again.decay == 0.7 and (again.weights != model.weights).nnz == 0


def test_a_file_of_something_else(tmp_path):
    with pytest.raises(UserError, match="there is no item-item file"):
        ItemItem.load(tmp_path / "none")
    (tmp_path / "m").write_bytes(b"PK\x03\x04 not this")
    with pytest.raises(UserError, match="not a readable safetensors"):
        ItemItem.load(tmp_path / "m")


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_file_is_refused_or_whole(tmp_path_factory, place, value):
    path = tmp_path_factory.mktemp("m") / "m.safetensors"
    model = ItemItem(sparse.csr_matrix(np.array([[0.0, 1.0], [0.5, 0.0]])))
    model.save(path)
    content = bytearray(path.read_bytes())
    assert FORMAT.encode() in content
    content[place % len(content)] = value
    path.write_bytes(content)
    try:
        ItemItem.load(path).scores([np.array([1])], np.array([[0, 1]]))
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "given_, said",
    [
        ({"l2": 0}, "corrector_l2 is 0"),
        ({"neighbours": 0}, "corrector_neighbours is 0"),
        ({"decay": 1.5}, "decay is 1.5"),
    ],
)
def test_settings_that_do_not_fit(given_, said):
    with pytest.raises(UserError, match=said):
        ItemItem.fit(*clicks(), **given_)
