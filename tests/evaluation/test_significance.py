"""Paired comparison per user: pairing, seeds, the test, the correction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.evaluation.significance import Comparison, compare, corrected, holm, user_metrics

METRICS = ["gauc", "ndcg@5", "ndcg@10", "hit@10"]


def ranks(generator: np.random.Generator, users: int, lift: float = 0.0) -> np.ndarray:
    higher = np.floor(100 * generator.random(users) ** (1 + lift)).astype(int)
    return np.stack([higher, np.zeros(users, int), np.full(users, 100)], axis=1)


def naive_holm(p: list[float]) -> list[float]:
    """Reject from the smallest on; an adjusted p is the smallest level at which its hypothesis is rejected."""
    result = []
    for own in p:
        worst = 0.0
        for step, other in enumerate(sorted(p)):
            if other > own:
                break
            worst = max(worst, (len(p) - step) * other)
        result.append(min(1.0, worst))
    return result


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_is_the_naive_one(p):
    assert holm(p) == pytest.approx(naive_holm(p), rel=1e-12, abs=0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_never_lowers_p_and_is_no_harder_than_bonferroni(p):
    adjusted = np.array(holm(p))
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-15).all()


def test_users_are_paired_by_token_whatever_their_order():
    generator = np.random.default_rng(0)
    users = [f"u{i}" for i in range(50)]
    table = ranks(generator, 50)
    shuffled = generator.permutation(50)
    a = user_metrics(users, table, METRICS)
    b = user_metrics([users[i] for i in shuffled], table[shuffled], METRICS)
    for c in compare("a", "b", {1: a}, {1: b}, METRICS):
        assert (c.difference, c.low, c.high, c.p) == (0, 0, 0, 1)
        assert c.verdict == "no difference"


def test_metrics_are_those_of_the_ranking():
    table = ranks(np.random.default_rng(3), 40)
    users = [f"{i:02}" for i in range(40)]
    mine = user_metrics(users, table, METRICS)
    theirs = per_row(table, ["gauc", "ndcg", "hit"], [5, 10])
    for name in METRICS:
        np.testing.assert_array_equal(mine.values[name], theirs[name])


def test_seeds_are_averaged_per_user_and_are_not_more_users():
    """Three copies of one run say no more than the run itself."""
    generator = np.random.default_rng(1)
    users = [f"u{i}" for i in range(300)]
    a, b = (user_metrics(users, ranks(generator, 300, lift), METRICS) for lift in (0.3, 0.0))
    once = compare("a", "b", {1: a}, {1: b}, METRICS)
    thrice = compare("a", "b", {1: a, 2: a, 3: a}, {1: b, 2: b, 3: b, 9: a}, METRICS)
    for one, three in zip(once, thrice, strict=True):
        assert three.seeds == (1, 2, 3)
        assert three.users == one.users == 300
        assert three.p == pytest.approx(one.p)
        assert (three.low, three.high) == pytest.approx((one.low, one.high))
        assert three.spread == pytest.approx(0)
        assert one.spread is None


def test_difference_and_spread_over_seeds_by_hand():
    users = ["a", "b", "c", "d"]
    zero, far = [0, 0, 10], [9, 0, 10]  # hit@5 of 1 and of 0
    first = user_metrics(users, np.array([zero, zero, zero, far]), ["hit@5"])
    second = user_metrics(users, np.array([zero, zero, far, far]), ["hit@5"])
    base = user_metrics(users, np.array([far, far, far, zero]), ["hit@5"])
    (found,) = compare("m", "b", {1: first, 2: second}, {1: base, 2: base}, ["hit@5"])
    # d per seed: (1, 1, 1, -1) and (1, 1, 0, -1); averaged: 1, 1, .5, -1
    assert found.per_seed == (0.5, 0.25)
    assert found.difference == pytest.approx(0.375)
    assert found.spread == pytest.approx(np.std([0.5, 0.25], ddof=1))
    assert found.p == pytest.approx(stats.ttest_1samp([1, 1, 0.5, -1], 0).pvalue)
    half = stats.t.ppf(0.975, 3) * np.std([1, 1, 0.5, -1], ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((0.375 - half, 0.375 + half))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("lift", [0.0, 0.05, 0.12])
def test_p_is_that_of_flipping_signs_at_random(metric, lift):
    """The slow twin: flip the sign of every user's difference at random, and count."""
    generator = np.random.default_rng(5)
    users = [f"u{i}" for i in range(2000)]
    a, b = (user_metrics(users, ranks(generator, 2000, x), METRICS) for x in (lift, 0.0))
    (found,) = compare("a", "b", {1: a}, {1: b}, [metric])
    d = a.values[metric] - b.values[metric]
    draws = np.abs([(generator.choice((-1, 1), len(d)) * d).mean() for _ in range(3000)])
    flipped = (1 + (draws >= abs(d.mean())).sum()) / 3001
    assert found.p == pytest.approx(flipped, abs=4 * np.sqrt(max(flipped, 1e-3) / 3000))


def test_users_without_other_candidates_are_left_out_of_uauc_alone():
    table = ranks(np.random.default_rng(2), 20)
    table[:3] = [0, 0, 0]
    run = user_metrics([f"u{i:02}" for i in range(20)], table, ["gauc", "hit@10"])
    table = np.roll(table[::-1], 3, axis=0)
    worse = user_metrics([f"u{i:02}" for i in range(20)], table, ["gauc", "hit@10"])
    uauc, hit = compare("a", "b", {1: run}, {1: worse}, ["gauc", "hit@10"])
    assert (uauc.users, hit.users) == (17, 20)


def test_a_difference_without_variance():
    users = [f"u{i}" for i in range(5)]
    best = user_metrics(users, np.array([[0, 0, 9]] * 5), ["hit@5"])
    worst = user_metrics(users, np.array([[9, 0, 9]] * 5), ["hit@5"])
    (up,) = compare("a", "b", {1: best}, {1: worst}, ["hit@5"])
    assert (up.difference, up.low, up.high, up.p) == (1, 1, 1, 0)
    assert up.verdict == "better"


def test_different_users_are_refused_in_one_sentence():
    table = ranks(np.random.default_rng(0), 3)
    a = user_metrics(["x", "y", "z"], table, METRICS)
    b = user_metrics(["x", "y", "w"], table, METRICS)
    with pytest.raises(UserError, match=r"A \(seed 1\) and B \(seed 1\) cannot be compared: 2 users .* 'w'"):
        compare("A", "B", {1: a}, {1: b}, METRICS)
    with pytest.raises(UserError, match="share no seed"):
        compare("A", "B", {1: a}, {2: a}, METRICS)


def test_a_user_of_several_rows_counts_once_with_their_mean():
    rng = np.random.default_rng(0)
    users, table = ["b", "a", "b", "c", "b", "a"], ranks(rng, 6)
    metrics = user_metrics(users, table, METRICS)
    alone = user_metrics(list("012345"), table, METRICS)
    assert metrics.users.tolist() == ["a", "b", "c"]
    for name in METRICS:
        of_row = alone.values[name]
        expected = [of_row[[1, 5]].mean(), of_row[[0, 2, 4]].mean(), of_row[3]]
        assert metrics.values[name] == pytest.approx(expected)
    (row,) = compare("m", "b", {1: metrics}, {1: metrics}, METRICS[:1])
    assert row.users == 3


def test_correction_is_over_all_comparisons_given():
    def one(p: float) -> Comparison:
        return Comparison("m", "b", "hit@5", (1,), 10, 0.1, 0.0, 0.2, (0.1,), p, p)

    assert [c.adjusted for c in corrected([one(0.04), one(0.01), one(0.03)])] == pytest.approx([0.06, 0.03, 0.06])
    assert [c.verdict for c in corrected([one(0.04), one(0.01)])] == ["better", "better"]
    assert [c.verdict for c in corrected([one(0.04), one(0.01), one(0.03)])] == [
        "no difference",
        "better",
        "no difference",
    ]
    assert corrected([]) == []
