"""The item-item corrector against dense algebra, written out."""

import json
import random

import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import ItemItem, Trust
from recbole_cocorr.correctors.folder import load_corrector, save_corrector
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


@pytest.mark.parametrize("neighbours, decay", [(2, 0.7), (4, 0.9), (12, 1.0)])
def test_the_second_regression_is_of_each_click_on_those_before_it(neighbours, decay):
    users, items, n_items = clicks(3, count=150)
    l2, share = 2.0, 0.6
    first = ItemItem.fit(users, items, n_items, l2, neighbours, decay).weights.toarray()
    both = ItemItem.fit(users, items, n_items, l2, neighbours, decay, next_click=share).weights.toarray()
    X, Y = [], []
    for user in np.unique(users):
        sequence = items[users == user]
        for place, item in enumerate(sequence):
            row = np.zeros(n_items)
            for age, earlier in enumerate(sequence[:place][::-1][:10]):
                row[earlier] += decay**age
            X.append(row)
            Y.append(np.eye(n_items)[item])
    X, Y = np.array(X), np.array(Y)
    G, C = X.T @ X, X.T @ Y
    for item in range(1, n_items):
        others = [j for j in range(1, n_items) if j != item and C[j, item]]
        others.sort(key=lambda j: (-C[j, item] / (G[j, j] + l2), j))
        near = others[:neighbours]
        wanted = np.zeros(n_items)
        if near:
            wanted[near] = np.linalg.solve(G[np.ix_(near, near)] + l2 * np.eye(len(near)), C[near, item])
        np.testing.assert_allclose((both - first)[:, item], share * wanted, rtol=1e-3, atol=1e-5)


def test_the_second_regression_asks_for_each_users_order_alone():
    users, items, n_items = clicks(4)
    order = np.lexsort((np.arange(len(users)), np.random.default_rng(1).permutation(users.max() + 1)[users]))
    once, again = (
        ItemItem.fit(u, i, n_items, 2.0, 4, next_click=1) for u, i in ((users, items), (users[order], items[order]))
    )
    np.testing.assert_allclose(once.weights.toarray(), again.weights.toarray(), rtol=1e-5)
    back = ItemItem.fit(users[::-1], items[::-1], n_items, 2.0, 4, next_click=1)
    assert abs(once.weights - back.weights).max() > 0.01


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


ROWS = {"indptr": np.array([0, 0, 2, 3]), "indices": np.array([1, 2, 1], np.int32), "data": np.ones(3, np.float32)}


def write(path, content=None, **arrays):
    """An item-item file of three items as somebody may make it."""
    texts = {"format": FORMAT, "format_version": "1", "content": json.dumps(content or {"n_items": 3, "decay": 0.9})}
    save_file({k: v for k, v in {**ROWS, **arrays}.items() if v is not None}, path, metadata=texts)


@pytest.mark.parametrize(
    "arrays, said",
    [
        ({"data": np.array([1, np.nan, 1], np.float32)}, "data holds NaN or infinity"),
        ({"data": np.array([1, np.inf, 1], np.float32)}, "data holds NaN or infinity"),
        ({"data": np.ones(3)}, r"data is float64 \[3\]; it must be a row of float32"),
        ({"data": np.ones(3, np.int32)}, "data is int32"),
        ({"data": np.ones(3, bool)}, "data is bool"),
        ({"data": None}, "data is missing"),
        ({"data": np.ones((3, 1), np.float32)}, r"data is float32 \[3, 1\]"),
        ({"data": np.ones(2, np.float32)}, "its rows do not fit together"),
        ({"indices": np.array([1, 2, 1])}, "indices is int64"),
        ({"indices": np.array([-1, 2, 1], np.int32)}, "a column is not one of its 3 items"),
        ({"indices": np.array([1, 3, 1], np.int32)}, "a column is not one of its 3 items"),
        ({"indices": np.array([2, 1, 1], np.int32)}, "the columns of a row are not in ascending order"),
        ({"indices": np.array([1, 1, 1], np.int32)}, "the columns of a row are not in ascending order"),
        ({"indptr": np.array([0, 2, 0, 3])}, "its rows do not fit together"),
        ({"indptr": np.array([1, 1, 2, 3])}, "its rows do not fit together"),
        ({"indptr": np.array([0, 0, 2, 4])}, "its rows do not fit together"),
        ({"indptr": np.array([0, 2, 3])}, "its rows do not fit together"),
        ({"indptr": np.array([], np.int64)}, "its rows do not fit together"),
        ({"content": {"n_items": 0, "decay": 0.9}}, "n_items is 0"),
        ({"content": {"n_items": 10**12, "decay": 0.9}}, "n_items is 1000000000000"),
        ({"content": {"n_items": "3", "decay": 0.9}}, "n_items is '3'"),
        ({"content": {"n_items": 3, "decay": 1.5}}, "decay is 1.5"),
        ({"content": {"n_items": 3, "decay": 0}}, "decay is 0"),
        ({"content": {"n_items": 3}}, "decay is missing"),
        ({"content": [3]}, "it holds a list of 1"),
        ({"content": 10**4200}, "it holds a number of more than 60 digits"),
    ],
)
def test_rows_that_nobody_fitted(tmp_path, arrays, said):
    write(tmp_path / "m.safetensors", **arrays)
    with pytest.raises(UserError, match=rf"m\.safetensors.*{said}"):
        ItemItem.load(tmp_path / "m.safetensors")


def test_rows_that_somebody_fitted(tmp_path):
    write(tmp_path / "m.safetensors")
    assert ItemItem.load(tmp_path / "m.safetensors").weights.toarray().tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda c: c.update(format="x"), "is no trust file of recbole_cocorr"),
        (lambda c: c.update(format_version=1), "has trust file format 1.*run fit-corrector again"),
        (lambda c: c.update(trust=[]), "trust is a list of 0"),
        (lambda c: c["trust"].update(base="x"), "trust.base is 'x'"),
        (lambda c: c["trust"].update(base=float("nan")), "trust.base is nan"),
        (lambda c: c["trust"].update(base=1e9), "trust.base is 1000000000.0; it must be a finite number from"),
        (lambda c: c["trust"].update(scale=0.0), "a scale above 0"),
        (lambda c: c["trust"].update(more=1), "trust is an object of 4"),
        (lambda c: c.update(items=[1]), "items is a list of 1; it must be a list of texts"),
        (lambda c: c.update(fingerprint=None), "fingerprint is None"),
        (lambda c: c.update(corrector="x"), "is not the one that trust.json was written with"),
        (lambda c: c.update(items=["[PAD]"]), "is not the one that trust.json was written with"),
    ],
)
def test_trust_files_of_somebody_else(tmp_path, change, said):
    path = saved_folder(tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        load_corrector(tmp_path)


def saved_folder(folder):
    save_corrector(folder, ItemItem.fit(*clicks()), Trust(1.0, 0.5), [f"i{n}" for n in range(13)], "f" * 32, {})
    return folder / "trust.json"


@pytest.mark.parametrize("text", ["[" * 100_000, "", "{", '{"format": 1, "format": 2}', "\ud800"])
def test_trust_files_that_are_no_json(tmp_path, text):
    saved_folder(tmp_path).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=r"trust\.json"):
        load_corrector(tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_folders_are_refused_or_score_with_numbers(tmp_path, seed):
    """Bytes flipped, cut off, or taken from elsewhere in either file."""
    chance = random.Random(seed)
    saved_folder(tmp_path)
    path = tmp_path / chance.choice(["trust.json", "item_item.safetensors"])
    raw = bytearray(path.read_bytes())
    low, high = sorted(chance.sample(range(len(raw)), 2))
    if seed % 3 == 0:
        raw[low] ^= chance.randint(1, 255)
    elif seed % 3 == 1:
        del raw[low:]
    else:
        raw[low : low + 32] = raw[high : high + 32]
    path.write_bytes(raw)
    try:
        corrector, items, _ = load_corrector(tmp_path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert len(items) == corrector.n_items
        assert np.isfinite(corrector.scores([np.array([1, 2])], np.arange(13)[None])).all()


@pytest.mark.parametrize(
    "given_, said",
    [
        ({"l2": 0}, "corrector_l2 is 0"),
        ({"neighbours": 0}, "corrector_neighbours is 0"),
        ({"decay": 1.5}, "decay is 1.5"),
        ({"next_click": -1}, "corrector_next_click is -1"),
        ({"next_click": float("inf")}, "corrector_next_click is inf"),
    ],
)
def test_settings_that_do_not_fit(given_, said):
    with pytest.raises(UserError, match=said):
        ItemItem.fit(*clicks(), **given_)
