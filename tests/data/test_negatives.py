"""The protocol's negatives: never touched, distinct, uniform, the same for every model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.data.negatives import NegativeSampler, protocol_generator


@st.composite
def interactions(draw):
    num_users, num_items = draw(st.integers(2, 6)), draw(st.integers(2, 30))
    pairs = draw(
        st.lists(st.tuples(st.integers(1, num_users - 1), st.integers(1, num_items - 1)), min_size=1, max_size=60)
    )
    users, items = np.array(pairs).T
    return users, items, num_users, num_items


@given(interactions(), st.integers(1, 12), st.sampled_from(["uniform", "popularity"]), st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_untouched_distinct_and_as_many_as_there_are(data, num, distribution, seed):
    users, items, num_users, num_items = data
    sampler = NegativeSampler(users, items, num_users, num_items)
    rows = np.repeat(np.arange(1, num_users), 3)
    drawn = sampler.sample(rows, num, np.random.default_rng(seed), distribution)
    occurring = set(items.tolist())
    for user, row in zip(rows, drawn, strict=True):
        touched = set(items[users == user].tolist())
        allowed = set(range(1, num_items)) - touched
        if distribution == "popularity":
            allowed &= occurring
        real = row[row > 0].tolist()
        assert len(real) == len(set(real)) == min(num, len(allowed))
        assert set(real) <= allowed
        assert (row[len(real) :] == 0).all(), "padding stands at the end"


@given(interactions())
@settings(max_examples=100, deadline=None)
def test_item_of_rank_lists_the_allowed_items_in_order(data):
    users, items, num_users, num_items = data
    sampler = NegativeSampler(users, items, num_users, num_items)
    for user in range(1, num_users):
        allowed = sorted(set(range(1, num_items)) - set(items[users == user].tolist()))
        assert sampler.allowed[user] == len(allowed)
        ranks = np.arange(len(allowed))
        assert sampler.item_of_rank(np.full(len(allowed), user), ranks).tolist() == allowed
        every = np.arange(1, num_items)
        touched = sampler.touched(np.full(len(every), user), every)
        assert (touched == ~np.isin(every, allowed)).all()


@pytest.mark.parametrize(("num_items", "num"), [(40, 3), (9, 4)])  # the two ways of drawing
def test_every_allowed_item_is_equally_likely(num_items, num):
    sampler = NegativeSampler(np.array([1, 1]), np.array([2, 5]), 2, num_items)
    drawn = sampler.sample(np.ones(40_000, dtype=int), num, np.random.default_rng(0))
    count = np.bincount(drawn.ravel(), minlength=num_items)
    assert count[[0, 2, 5]].sum() == 0
    allowed = np.delete(count, [0, 2, 5])
    expected = 40_000 * num / len(allowed)
    assert np.abs(allowed - expected).max() < 5 * np.sqrt(expected)
    # ... also as a pair: no set is favoured by drawing repeats again
    first = np.bincount(drawn[:, 0], minlength=num_items)[1:]
    last = np.bincount(drawn[:, -1], minlength=num_items)[1:]
    assert np.abs(first - last).max() < 6 * np.sqrt(40_000 / len(allowed))


def test_popularity_is_followed():
    users = np.array([1] * 1 + [2] * 30 + [3] * 10)
    items = np.array([7] + [3] * 30 + [4] * 10)
    sampler = NegativeSampler(users, items, 4, 9)
    drawn = sampler.sample(np.ones(20_000, dtype=int), 1, np.random.default_rng(0), "popularity")
    share = np.bincount(drawn.ravel(), minlength=9) / 20_000
    assert share[3] == pytest.approx(0.75, abs=0.02)
    assert share[4] == pytest.approx(0.25, abs=0.02)


def test_the_generator_depends_on_dataset_seed_and_purpose_alone():
    def draw(*key):
        return protocol_generator(*key).integers(0, 1 << 30)

    assert draw("beauty", 1, 2, 0) == draw("beauty", 1, 2, 0)
    assert len({draw("beauty", 1, 2, 0), draw("yelp", 1, 2, 0), draw("beauty", 2, 2, 0), draw("beauty", 1, 2, 1)}) == 4
