"""Ranks with the cloud's scores in them, held against the slow way: every score of every item at once."""

import numpy as np
import pytest
import torch

from recbole_cocorr.correctors import ItemItem, Trust
from recbole_cocorr.data.clicks import histories, training_interactions
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.evaluation.ranking import rank_positive
from recbole_cocorr.models import scoring
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.training import corrected_lists as lists
from recbole_cocorr.training.corrected_lists import DRAWN, DeviceScores, Variant, ranks_under, trust_lists

TRUST = Trust(2.0, -0.3)


def prepared(make_config, model="GRU4Rec", **settings):
    config = make_config(model, **settings)
    train, valid, test = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    network = build_model(config, train.dataset).eval()
    users, items = training_interactions(valid.dataset)
    return network, valid, test, ItemItem.fit(users, items, test.dataset.item_num, l2=1.0)


@torch.no_grad()
def every_score(model, loader) -> np.ndarray:
    rows = loader.dataset[torch.arange(len(loader.users))]
    return model.full_sort_predict(rows).view(len(loader.users), -1).double().numpy()


def naive(scores, loader, hidden=()):
    """Ranks among all items, one row at a time."""
    positive = loader.dataset.inter_feat[loader.dataset.iid_field].numpy()
    found = []
    for row, item in enumerate(positive):
        gone = {0, item, *(hidden[row] if len(hidden) else ())}
        rest = [i for i in range(scores.shape[1]) if i not in gone]
        ordered = torch.from_numpy(scores[[row]][:, [item, *rest]])
        found.append(rank_positive(ordered).numpy()[0])
    return np.array(found)


@pytest.mark.parametrize("model", ["GRU4Rec", "CoCorrRec"])
@pytest.mark.parametrize("mask", [False, True])
def test_among_all_items(make_config, monkeypatch, model, mask):
    monkeypatch.setattr(scoring, "_CPU_SCORES_AT_ONCE", 1)  # sixteen rows at a time
    network, _, test, corrector = prepared(make_config, model, protocol="full", eval_mask_history=mask)
    own = histories(test)
    variants = {"none": Variant(None), "own": Variant(own), "cloud": Variant(own, device=False)}
    variants["stale"] = Variant(histories(test, 2))
    found = ranks_under(DeviceScores(network), test, corrector, TRUST, variants)
    device = every_score(network, test)
    everything = np.tile(np.arange(corrector.n_items), (len(own), 1))
    hidden = [set(h.tolist()) for h in own] if mask else ()
    for name, known in (("own", own), ("stale", variants["stale"].known)):
        clicks = np.array([len(h) for h in known])
        wanted = TRUST.fuse(device, corrector.scores(known, everything), clicks)
        np.testing.assert_array_equal(found[name], naive(wanted, test, hidden))
    np.testing.assert_array_equal(found["none"], naive(device, test, hidden))
    cloud = corrector.scores(own, everything).astype(np.float64)
    np.testing.assert_array_equal(found["cloud"], naive(cloud, test, hidden))
    assert (found["own"] != found["none"]).any()


def test_among_sampled_candidates(make_config):
    network, _, test, corrector = prepared(make_config)
    own = histories(test)
    found = ranks_under(DeviceScores(network), test, corrector, TRUST, {"none": Variant(None), "own": Variant(own)})
    candidates = test.candidates.numpy()
    device = np.take_along_axis(every_score(network, test), candidates.astype(np.int64), axis=1)
    clicks = np.array([len(h) for h in own])
    for name, scores in (("none", device), ("own", TRUST.fuse(device, corrector.scores(own, candidates), clicks))):
        wanted = rank_positive(torch.from_numpy(scores), test.candidates[:, 1:] > 0).numpy()
        assert (found[name] == wanted).mean() > 0.99  # float32 sums in another order


def test_all_scores_are_the_scores(make_config):
    _, _, test, corrector = prepared(make_config)
    own = [*histories(test), np.empty(0, dtype=np.int64)]
    everything = np.tile(np.arange(corrector.n_items), (len(own), 1))
    np.testing.assert_array_equal(corrector.all_scores(own).toarray(), corrector.scores(own, everything))
    assert corrector.all_scores([]).shape == (0, corrector.n_items)


@pytest.mark.parametrize("mask", [False, True])
def test_lists_drawn_from_the_catalogue(make_config, monkeypatch, mask):
    monkeypatch.setattr(lists, "_NUMBERS", 20 * (DRAWN + 1))
    _, valid, _, _ = prepared(make_config, protocol="full", eval_mask_history=mask)
    rows, candidates = trust_lists(valid)
    assert candidates.shape == (20, DRAWN + 1) and len(set(rows.tolist())) == 20  # bounded
    positive = valid.dataset.inter_feat["item_id"].numpy()[rows.numpy()]
    np.testing.assert_array_equal(candidates[:, 0], positive)
    others = candidates[:, 1:]
    assert not (others == positive[:, None]).any() and others.max() < valid.dataset.item_num
    assert (others > 0).mean() > 0.8
    clicked = histories(valid)
    held = [np.isin(row[row > 0], clicked[r]).any() for r, row in zip(rows.tolist(), others, strict=True)]
    assert any(held) != mask
    again = trust_lists(valid)
    np.testing.assert_array_equal(again[1], candidates)


def test_drawn_alternatives_lead_to_the_same_trust():
    """What the doc says of McFadden's result, on lists made by a logit: 60 of 400 alternatives are enough."""
    generator = np.random.default_rng(0)
    rows, items = 8000, 400
    device = generator.normal(size=(rows, items))
    cloud = np.where(generator.random((rows, items)) < 0.1, generator.exponential(0.05, (rows, items)), 0.0)
    clicks = generator.integers(1, 30, rows)
    utility = Trust(1.5, -0.2).fuse(device, cloud, clicks)
    chosen = (utility + generator.gumbel(size=utility.shape)).argmax(axis=1)
    drawn = generator.integers(0, items, (rows, 60))
    real = drawn != chosen[:, None]
    picked = np.concatenate([chosen[:, None], drawn], axis=1)
    found = Trust.fit(
        np.take_along_axis(device, picked, 1),
        np.take_along_axis(cloud, picked, 1),
        clicks,
        np.concatenate([np.ones((rows, 1), dtype=bool), real], axis=1),
    )
    assert (found.base, found.per_log_click) == (pytest.approx(1.5, abs=0.15), pytest.approx(-0.2, abs=0.07))
