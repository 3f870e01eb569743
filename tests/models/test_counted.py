"""PopRecent, ItemKNN and EASE: against plain loops and RecBole's own classes, under every protocol."""

from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from recbole.model.general_recommender.itemknn import ComputeSimilarity

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.training.prepare import prepare
from recbole_cocorr.training.recommend import load_model
from tests.conftest import write_inter

DAY = 86_400


@pytest.fixture
def dated(tmp_path):
    """Fifty users over a hundred days of seconds since 1970, with repeats and equal times."""
    generator = np.random.default_rng(4)
    rows = [
        (f"u{generator.integers(50)}", f"i{generator.integers(1, 40)}", 900_000_000 + DAY * int(day))
        for day in np.sort(generator.integers(0, 100, size=900))
    ]
    return write_inter(tmp_path / "dated", "small", rows)


def trained(make_config, model, folder, **more):
    prepared = prepare(make_config(model, data_path=str(folder), **more))
    prepared.trainer.fit(prepared.data.train, prepared.data.valid)
    return prepared


@pytest.mark.parametrize("protocol", ["paper", "full", "time"])
@pytest.mark.parametrize("days", [[1], [30], [7, 3]])
def test_pop_recent_counts_the_training_clicks_of_the_last_days(make_config, dated, protocol, days):
    more = {"epochs": len(days), "eval_step": 0}
    model = trained(make_config, "PopRecent", dated, protocol=protocol, recent_days=days, **more).model
    rows = [line.split("\t") for line in (dated / "small/small.inter").read_text().splitlines()[1:]]
    if protocol == "time":
        cut = sorted(float(time) for *_, time in rows)[int(0.8 * len(rows))]
        learned = [(item, float(time)) for _, item, time in rows if float(time) < cut]
    else:
        by_user: dict[str, list] = {}
        for user, item, time in rows:
            by_user.setdefault(user, []).append((item, float(time)))
        assert min(map(len, by_user.values())) > 3
        learned = [click for clicks in by_user.values() for click in clicks[:-2]]
    last = max(time for _, time in learned)
    wanted = Counter(item for item, time in learned if time > last - days[-1] * DAY)
    prepared_items = model.training_data.field2id_token["item_id"]
    assert {str(t): int(c) for t, c in zip(prepared_items, model.item_count, strict=True) if c} == dict(wanted)
    assert model.counted_days == days[-1]


def test_validation_chooses_the_days(make_config, dated):
    prepared = trained(make_config, "PopRecent", dated, protocol="time", recent_days=[0.5, 200, 0.25], epochs=3)
    alone = {}
    for days in (0.5, 200, 0.25):
        one = trained(make_config, "PopRecent", dated, protocol="time", recent_days=[days], epochs=1)
        alone[days] = one.trainer.best_valid_score
    prepared.trainer.evaluate(prepared.data.test)
    assert len(set(alone.values())) > 1
    assert prepared.model.counted_days == max(alone, key=alone.get)


def test_pop_recent_refuses_positions_and_days_that_are_none(make_config, tmp_path):
    positions = [(f"u{u}", f"i{(u + k) % 9}", k) for u in range(9) for k in range(1, 7)]
    folder = write_inter(tmp_path / "positions", "small", positions)
    with pytest.raises(UserError, match="PopRecent needs real timestamps, and these are positions"):
        trained(make_config, "PopRecent", folder)
    for days in ([], [0], 7, ["a"], [True]):
        with pytest.raises(UserError, match=r"PopRecent cannot be built .* recent_days is"):
            prepare(make_config("PopRecent", recent_days=days))


def clicks(prepared):
    """Training clicks as RecBole's general recommenders read them: [users, items] of zeros and ones."""
    users, items = prepared.data.train.dataset.training_interactions()
    matrix = sparse.csr_matrix((np.ones(len(users), np.float32), (users, items)), (users.max() + 1, items.max() + 1))
    matrix.resize(matrix.shape[0], prepared.model.n_items)
    matrix.data[:] = 1.0
    return matrix


def scores_of(prepared, weights):
    """Every item's score as the sum over the distinct items of a history."""
    batch = next(prepared.data.test.batches())
    sums = [weights[np.unique(row[row > 0])].sum(axis=0) for row in batch.interaction["item_id_list"].numpy()]
    return batch, np.stack(sums)


@pytest.mark.parametrize("protocol", ["paper", "full", "time"])
def test_ease_is_the_ridge_regression_in_closed_form(make_config, dated, protocol):
    prepared = trained(make_config, "EASE", dated, protocol=protocol, reg_weight=20.0)
    gram = (clicks(prepared).T @ clicks(prepared)).toarray().astype(np.float64) + 20.0 * np.eye(prepared.model.n_items)
    inverse = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    batch, expected = scores_of(prepared, weights)
    assert torch.allclose(prepared.model.full_sort_predict(batch.interaction).double(), torch.from_numpy(expected))
    chosen = torch.from_numpy(expected).gather(1, batch.interaction["item_id"][:, None])[:, 0]
    assert torch.allclose(prepared.model.predict(batch.interaction).double(), chosen)


@pytest.mark.parametrize("protocol", ["paper", "full", "time"])
def test_item_knn_has_the_similarities_of_recbole(make_config, dated, protocol):
    """With fewer neighbours than items the choice among equals is free, so all are kept here, and few below."""
    prepared = trained(make_config, "ItemKNN", dated, protocol=protocol, k=100, shrink=3.0)
    _, similar = ComputeSimilarity(clicks(prepared), topk=100, shrink=3.0).compute_similarity()
    batch, expected = scores_of(prepared, similar.toarray().astype(np.float64))
    found = prepared.model.full_sort_predict(batch.interaction).double()
    assert torch.allclose(found, torch.from_numpy(expected), atol=1e-6)


def test_item_knn_keeps_the_nearest(make_config, dated):
    few, every = (trained(make_config, "ItemKNN", dated, k=k).model for k in (5, 100))
    nearest = every.similarities.sort(dim=1, descending=True).values[:, :5]
    assert torch.allclose(few.similarities, nearest) and (nearest[1:] > 0).any()
    assert few.neighbours.shape == (few.n_items, 5)


@pytest.mark.parametrize("model", ["PopRecent", "ItemKNN", "EASE"])
def test_a_checkpoint_recommends_what_the_trained_model_does(make_config, dated, model):
    prepared = trained(make_config, model, dated, protocol="time")
    prepared.trainer.evaluate(prepared.data.test)
    loaded = load_model(prepared.trainer.saved_model_file)
    tokens = prepared.data.dataset.field2id_token["item_id"]
    batch = next(prepared.data.test.batches()).interaction
    history = [str(tokens[i]) for i in batch["item_id_list"][0] if i]
    answer = loaded.recommend(history, k=3)
    assert answer.scores == sorted(prepared.model.full_sort_predict(batch)[0, 1:].tolist(), reverse=True)[:3]


def test_settings_that_do_not_fit_are_one_sentence(make_config):
    for model, more, sentence in (
        ("ItemKNN", {"knn_method": "user"}, "knn_method is 'user'"),
        ("ItemKNN", {"k": 0}, "k is 0"),
        ("ItemKNN", {"shrink": -1.0}, "shrink is -1.0"),
        ("EASE", {"reg_weight": 0.0}, "reg_weight is 0"),
    ):
        with pytest.raises(UserError, match=sentence):
            prepare(make_config(model, **more))
