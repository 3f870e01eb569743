"""Ranks and metrics: equal to RecBole's without ties, the expectation of a random order with them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.evaluation.ranking import per_row, rank_among_all, rank_positive, summarise
from tests.reference.recbole_metrics import recbole_result

METRICS = ["gauc", "ndcg", "hit", "mrr", "recall", "precision", "map"]


@given(st.integers(1, 9), st.integers(3, 40), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_equals_recbole_on_the_same_scores(rows, others, seed):
    scores = torch.from_numpy(
        np.random.default_rng(seed).permuted(np.tile(np.arange(others + 1, dtype=np.float32), (rows, 1)), axis=1)
    )
    topk = [1, 2, min(5, others), others]
    ours = summarise(rank_positive(scores).numpy(), METRICS, topk)
    theirs = recbole_result(scores, METRICS, topk)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1.01e-4), name


@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=5), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_ties_count_as_the_mean_over_all_orders(lists):
    """The slow, obvious way: every order of the candidates, a stable sort, the mean."""
    topk = [1, 2, 3]
    for row in lists:
        got = per_row(rank_positive(torch.tensor([row], dtype=torch.float32)).numpy(), METRICS, topk)
        places = []
        for order in itertools.permutations(range(len(row))):
            ranked = sorted(order, key=lambda i: -row[i])  # stable: equal scores keep the order drawn
            places.append(ranked.index(0) + 1)
        places = np.array(places)
        for k in topk:
            assert got[f"hit@{k}"][0] == pytest.approx((places <= k).mean())
            assert got[f"precision@{k}"][0] == pytest.approx((places <= k).mean() / k)
            assert got[f"ndcg@{k}"][0] == pytest.approx(np.where(places <= k, 1 / np.log2(places + 1), 0).mean())
            assert got[f"mrr@{k}"][0] == pytest.approx(np.where(places <= k, 1 / places, 0).mean())
        assert got["gauc"][0] == pytest.approx(((len(row) - places) / (len(row) - 1)).mean())


def test_a_model_that_scores_all_alike_gets_what_guessing_gets():
    result = summarise(rank_positive(torch.zeros(50, 101)).numpy(), ["hit", "gauc"], [10], 6)
    assert result["hit@10"] == pytest.approx(10 / 101, abs=1e-6)
    assert result["gauc"] == 0.5


def test_missing_candidates_do_not_count():
    scores = torch.tensor([[1.0, 5.0, 0.0, 9.0]])
    ranks = rank_positive(scores, torch.tensor([[True, True, False]]))
    assert ranks.tolist() == [[1, 0, 2]]


def test_infinite_scores_are_ordered_and_nan_is_refused():
    assert rank_positive(torch.tensor([[0.0, torch.inf, -torch.inf]])).tolist() == [[1, 0, 2]]
    with pytest.raises(ValueError, match="NaN"):
        rank_positive(torch.tensor([[torch.nan, 1.0]]))
    with pytest.raises(ValueError, match="NaN"):
        rank_positive(torch.tensor([[1.0, torch.nan]]))


def test_a_row_without_other_candidates_is_left_out_of_uauc():
    ranks = np.array([[0, 0, 0], [1, 0, 4]])
    assert summarise(ranks, ["gauc"], [5])["gauc"] == 0.75


@given(st.integers(1, 6), st.integers(2, 12), st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_ranks_among_all_items_are_those_of_a_list_of_candidates(rows, items, seed):
    generator = np.random.default_rng(seed)
    scores = torch.from_numpy(generator.integers(0, 4, (rows, items)).astype(np.float32))  # many ties
    positive = torch.from_numpy(generator.integers(1, items, rows))
    hidden = torch.from_numpy(generator.integers(0, [rows, items], (8, 2))).T
    for pairs in (None, (hidden[0], hidden[1])):
        others = torch.ones(rows, items, dtype=torch.bool)
        if pairs is not None:
            others[pairs] = False
        others[:, 0] = False
        others.scatter_(1, positive[:, None], False)
        expected = rank_positive(torch.cat([scores.gather(1, positive[:, None]), scores], dim=1), others)
        assert torch.equal(rank_among_all(scores, positive, pairs), expected)


def test_among_all_items_nan_is_refused_but_not_in_padding():
    scores = torch.zeros(2, 4)
    scores[0, 0] = torch.nan
    assert rank_among_all(scores, torch.tensor([1, 2])).tolist() == [[0, 2, 2], [0, 2, 2]]
    scores[1, 3] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        rank_among_all(scores, torch.tensor([1, 2]))
    infinite = torch.tensor([[0.0, torch.inf, -torch.inf, 1.0]])
    assert rank_among_all(infinite, torch.tensor([3])).tolist() == [[1, 0, 2]]
