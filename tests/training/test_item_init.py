"""Item embeddings that start from the training clicks: the vectors, what they may read, and who starts from them."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.item_item import ItemItem
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.experiments.runs import worker
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.training.checkpoint import load_checkpoint
from recbole_cocorr.training.item_init import spectral_vectors, start_items
from recbole_cocorr.training.run import objective_function, run
from tests.conftest import random_rows, write_inter
from tests.experiments.runs.test_worker import spec_of


def some_weights(size: int, seed: int, density: float = 0.05) -> sparse.csr_matrix:
    weights = sparse.random(size, size, density, random_state=seed, format="lil", dtype=np.float64)
    weights[0], weights[:, 0] = 0.0, 0.0
    weights.setdiag(0.0)
    return sparse.csr_matrix(weights, dtype=np.float32)


def obvious_gram(weights: sparse.csr_matrix, width: int) -> np.ndarray:
    """Products of the vectors with each other, which no rotation and no sign changes; scaled as the vectors are."""
    dense = weights.toarray().astype(np.float64)
    values, basis = np.linalg.eigh((dense + dense.T) / 2)
    largest = sorted(range(len(values)), key=lambda i: -abs(values[i]))[:width]
    gram = sum(abs(values[i]) * np.outer(basis[:, i], basis[:, i]) for i in largest)
    return gram


@pytest.mark.parametrize(("size", "width"), [(30, 8), (5, 8), (9, 8), (2, 3), (700, 8), (700, 300), (530, 64)])
def test_products_of_vectors_are_the_weights_largest_part(size, width):
    weights = some_weights(size, seed=size)
    vectors = spectral_vectors(weights, width, seed=3).astype(np.float64)
    wanted = obvious_gram(weights, min(width, size - 1))
    assert vectors.shape == (size, width)
    if wanted.any():
        found = vectors @ vectors.T
        scale = np.trace(wanted) / np.trace(found)
        assert np.abs(found * scale - wanted).max() < 1e-5 * np.abs(wanted).max()


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 60), st.integers(1, 12), st.integers(0, 99))
def test_the_vectors_size_and_those_without_weights(size, width, seed):
    weights = sparse.lil_matrix(some_weights(size, seed, density=0.2))
    weights[1], weights[:, 1] = 0.0, 0.0
    vectors = spectral_vectors(sparse.csr_matrix(weights), width, seed)
    assert vectors.dtype == np.float32 and np.isfinite(vectors).all()
    assert not vectors[0].any() and not vectors[1].any()
    if weights.nnz:
        assert np.square(vectors[1:].astype(np.float64)).mean() == pytest.approx(1.0)


@pytest.mark.parametrize("size", [1, 4, 600])
def test_no_weights_at_all(size):
    assert not spectral_vectors(sparse.csr_matrix((size, size), dtype=np.float32), 8, 0).any()


def test_a_seed_turns_the_vectors_and_nothing_else():
    weights = some_weights(600, seed=1)
    one, again, other = (spectral_vectors(weights, 16, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.allclose(one, other, atol=0.1)
    assert np.allclose(one @ one.T, other @ other.T, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [60, 700])
def test_unclicked_items_only_scale_the_others_and_stay_zero(size):
    compact = some_weights(size, seed=2).tocoo()
    places = np.r_[0, 1 + np.sort(np.random.default_rng(0).choice(9_000, size - 1, replace=False))]
    entries = (compact.data, (places[compact.row], places[compact.col]))
    large = spectral_vectors(sparse.csr_matrix(entries, shape=(9_001, 9_001)), 8, 0)
    rest = np.setdiff1d(np.arange(9_001), places)
    assert not large[rest].any()
    assert np.square(large[1:].astype(np.float64)).mean() == pytest.approx(1.0, rel=1e-5)
    alone = spectral_vectors(compact.tocsr(), 8, 0) * np.sqrt(9_000 / (size - 1))
    assert np.allclose(large[places], alone, rtol=1e-3, atol=1e-3)


def peak_memory(work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_large_catalogue_costs_little_beside_its_result():
    users, items = np.repeat(np.arange(100), 8), np.random.default_rng(0).integers(1, 1_000_000, 800)
    weights = ItemItem.fit(users, items, 1_000_001, neighbours=50).weights
    # The numbers of a million rows' ends, some times over; a table of their neighbours is 200 MB.
    assert peak_memory(lambda: ItemItem.fit(users, items, 1_000_001, neighbours=50)) < 50e6
    # The result is 64 MB of float32; a solver's basis over all items would be 400 MB.
    assert peak_memory(lambda: spectral_vectors(weights, 16, 0)) < 150e6


# -- in a model --------------------------------------------------------------------------------------


def prepared(make_config, model="CoCorrRec", **given):
    config = make_config(model, **{"item_init": "item-item", **given})
    train, _, _ = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    return build_model(config, train.dataset), config, train.dataset


@pytest.mark.parametrize("model", ["CoCorrRec", "Mamba4Rec", "GRU4Rec", "SASRec", "BERT4Rec", "NARM"])
def test_the_vectors_are_added_to_the_models_own(make_config, model):
    network, config, dataset = prepared(make_config, model, item_init_std=0.7)
    before = network.item_embedding.weight.detach().clone()
    start_items(network, config, dataset)
    added = (network.item_embedding.weight.detach() - before)[: dataset.item_num]
    assert float(added[1:].square().mean().sqrt()) == pytest.approx(0.7, rel=1e-4)
    assert not added[0].any() and torch.equal(network.item_embedding.weight[0], before[0])
    assert torch.equal(network.item_embedding.weight[dataset.item_num :], before[dataset.item_num :])  # BERT4Rec's mask


def test_the_log_says_what_goes_on(make_config, caplog):
    network, config, dataset = prepared(make_config)
    caplog.set_level("INFO")
    start_items(network, config, dataset)
    said = [r.message for r in caplog.records if r.message.startswith("item_init: ")]
    assert [" training clicks on " in said[0], "eigenvectors" in said[1], " started in " in said[2]] == [True] * 3


def test_a_table_of_columns_has_the_vectors_where_its_items_are(make_config, tmp_path):
    rows = random_rows(60, 200, 3, 30)
    path = write_inter(tmp_path / "columns", "small", rows)
    lines = ["kind:token\titem_id:token", *(f"k{i % 3}\ti{i}" for i in range(1, 201))]
    (path / "small" / "small.item").write_text("\n".join(lines) + "\n")
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["kind", "item_id"]}
    network, config, dataset = prepared(make_config, "DIN", data_path=str(path), load_col=columns, item_init_std=0.7)
    layer = network.embedding_layer
    before = layer.token_embedding_table["item"].embedding.weight.detach().clone()
    start_items(network, config, dataset)
    added = layer.token_embedding_table["item"].embedding.weight.detach() - before
    start = dataset.num("kind") if layer.token_field_names["item"][0] == "kind" else 0
    items = added[start : start + dataset.item_num]
    assert float(items[1:].square().mean().sqrt()) == pytest.approx(0.7, rel=1e-4)
    assert float(added.square().sum()) == pytest.approx(float(items.square().sum()))


def test_random_leaves_the_model_as_it_is(make_config):
    network, _, dataset = prepared(make_config)
    before = network.item_embedding.weight.detach().clone()
    start_items(network, make_config(item_init="random"), dataset)
    assert torch.equal(network.item_embedding.weight, before)


def test_items_that_are_clicked_by_the_same_users_start_close_together(make_config, tmp_path):
    generator = np.random.default_rng(0)
    rows = []
    for user in range(200):  # two kinds of users, each with items of its own
        for clock, item in enumerate(generator.permutation(20)[:8]):
            rows.append((f"u{user}", f"i{item + 20 * (user % 2)}", clock))
    path = write_inter(tmp_path / "kinds", "small", rows)
    network, config, dataset = prepared(make_config, data_path=str(path), item_init_std=1.0)
    start_items(network, config, dataset)
    kind = torch.tensor([int(t[1:]) >= 20 for t in dataset.field2id_token["item_id"][1:]])
    vectors = torch.nn.functional.normalize(network.item_embedding.weight[1:].detach(), dim=1)
    likeness = (vectors @ vectors.T).fill_diagonal_(0)
    same = kind[:, None] == kind
    assert likeness[same].mean() > likeness[~same].mean() + 0.02


def held_out_changed(rows: list[tuple], by: int) -> list[tuple]:
    """The interactions, but each user's last two items (one, of three) are those ``by`` places on in the catalogue."""
    changed = []
    items = sorted({item for _, item, _ in rows})
    for user in sorted({user for user, _, _ in rows}):
        own = sorted((r for r in rows if r[0] == user), key=lambda r: r[2])
        held = 0 if len(own) < 3 else 1 if len(own) == 3 else 2
        for place, (name, item, time) in enumerate(own):
            other = items[(items.index(item) + by) % len(items)]
            changed.append((name, other if place >= len(own) - held else item, time))
    return changed


def test_no_held_out_click_is_read(make_config, tmp_path):
    rows = random_rows(60, 40, 1, 9)
    # A user each, with it alone, keeps an item's number the same in both.
    rows = [(f"a{i}", f"i{i}", i) for i in range(1, 41)] + [(u, i, t + 100) for u, i, t in rows]
    found = []
    for name, by in (("one", 0), ("other", 17)):
        path = write_inter(tmp_path / name, "small", held_out_changed(rows, by))
        network, config, dataset = prepared(make_config, data_path=str(path))
        start_items(network, config, dataset)
        tokens = dataset.field2id_token["item_id"].tolist()
        found.append(dict(zip(tokens, network.item_embedding.weight.detach().tolist(), strict=True)))
    assert found[0].keys() == found[1].keys()
    assert all(np.allclose(found[0][t], found[1][t], atol=1e-5) for t in found[0])


def test_the_training_clicks(make_config, small_data):
    config = make_config()
    train, *_ = data_preparation(config, create_dataset(config))
    users, items = train.dataset.training_interactions()
    tokens = train.dataset.field2id_token
    found = sorted((str(tokens["user_id"][u]), str(tokens["item_id"][i])) for u, i in zip(users, items, strict=True))
    rows = [line.split("\t") for line in (small_data / "small" / "small.inter").read_text().splitlines()[1:]]
    wanted = []
    for user in {row[0] for row in rows}:
        own = sorted((r for r in rows if r[0] == user), key=lambda r: float(r[2]))
        held = 2 if len(own) > 3 else 1 if len(own) == 3 else 0
        wanted += [(user, item) for _, item, _ in own[: len(own) - held]]
    assert found == sorted(wanted)


# -- who starts from them ----------------------------------------------------------------------------

FAR = {"item_init": "item-item", "item_init_std": 50.0, "learning_rate": 0.0}


def spread(checkpoint) -> float:
    return float(load_checkpoint(checkpoint).weights["item_embedding.weight"].std())


def test_a_run_starts_from_them(small_data, monkeypatch):
    monkeypatch.setattr("psutil.cpu_percent", lambda interval=None: 0.0)
    given = {"data_path": str(small_data), "use_gpu": False, "epochs": 1, "show_progress": False}
    assert spread(run("CoCorrRec", "small", None, {**given, **FAR}, overrides={})["saved_model_file"]) > 10
    plain = {**given, "learning_rate": 0.0}
    assert spread(run("CoCorrRec", "small", None, plain, overrides={})["saved_model_file"]) < 1


def test_a_search_starts_from_them(small_data, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "recbole_cocorr.training.prepare.start_items", lambda model, config, dataset: seen.append(model)
    )
    given = {"model": "CoCorrRec", "dataset": "small", "data_path": str(small_data), "use_gpu": False, "epochs": 1}
    objective_function(given, None)
    assert [type(model).__name__ for model in seen] == ["CoCorrRec"]


def test_a_benchmarks_run_starts_from_them(small_data, tmp_path):
    (tmp_path / "run").mkdir()
    spec = spec_of(small_data)
    worker.execute(spec_of(small_data, learning_rate=0.0, settings={**spec.settings, **FAR}), tmp_path / "run")
    assert spread(tmp_path / "run" / "model.safetensors") > 10


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        ("FPMC", {}, "item_init is 'item-item', which FPMC cannot have"),
        ("CoCorrRec", {"item_init": "ease"}, "item_init is 'ease'; it must be random or item-item"),
        ("CoCorrRec", {"item_init_std": -1}, "item_init_std is -1; it must be a number of at least 0"),
        ("CoCorrRec", {"item_init_std": "big"}, "item_init_std is 'big'; it must be a number of at least 0"),
    ],
)
def test_what_cannot_be_is_said(make_config, model, given, said):
    with pytest.raises(UserError, match=said.replace("'", ".")):
        network, config, dataset = prepared(make_config, model, **{"item_init": "item-item", **given})
        start_items(network, config, dataset)
