"""The trust in the cloud: found again where it is known, and never in the way of the device."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import Trust


def made(base: float, per_log: float, rows: int = 6000, seed: int = 0):
    """Lists in which the first candidate is drawn with the probability that the model of the trust gives it."""
    generator = np.random.default_rng(seed)
    device = generator.normal(size=(rows, 6))
    cloud = np.where(generator.random((rows, 6)) < 0.5, 0, generator.exponential(0.05, (rows, 6)))
    clicks = generator.integers(1, 30, rows)
    utility = Trust(base, per_log).fuse(device, cloud, clicks)
    chosen = (utility + generator.gumbel(size=utility.shape)).argmax(axis=1)
    order = np.argsort(np.arange(6) != chosen[:, None], axis=1, kind="stable")
    return np.take_along_axis(device, order, 1), np.take_along_axis(cloud, order, 1), clicks


@pytest.mark.parametrize("base, per_log", [(1.0, 0.0), (2.0, -0.4), (0.5, 0.3)])
def test_it_is_found_again(base, per_log):
    found = Trust.fit(*made(base, per_log))
    assert found.base == pytest.approx(base, abs=0.15)
    assert found.per_log_click == pytest.approx(per_log, abs=0.08)


def test_noise_is_not_trusted():
    device, cloud, clicks = made(0.0, 0.0)
    found = Trust.fit(device, cloud, clicks)
    assert abs(found.base) < 0.15 and abs(found.per_log_click) < 0.08


def test_missing_candidates_do_not_count():
    device, cloud, clicks = made(1.0, 0.0, rows=500)
    wide = [np.concatenate([a, np.full((500, 2), 9.0)], axis=1) for a in (device, cloud)]
    real = np.arange(8)[None] < np.full((500, 1), 6)
    found = Trust.fit(*wide, clicks, real)
    wanted = Trust.fit(device, cloud, clicks)
    assert found.base == pytest.approx(wanted.base, abs=1e-2)


@settings(deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 10**6))
def test_without_an_answer_the_list_is_the_devices(base, per_log, clicks):
    device = np.random.default_rng(0).normal(size=(1, 5))
    assert np.array_equal(Trust(base, per_log).fuse(device, np.zeros((1, 5)), np.array([clicks])), device)


@settings(deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 10**6))
def test_more_evidence_never_lowers_a_score(base, per_log, clicks):
    cloud = np.linspace(-1, 1, 9)[None]
    fused = Trust(base, per_log).fuse(np.zeros((1, 9)), cloud, np.array([clicks]))
    assert (np.diff(fused[0]) >= 0).all()


def test_what_cannot_be_learned_from():
    with pytest.raises(UserError, match="no user has one"):
        Trust.fit(np.empty((0, 3)), np.empty((0, 3)), np.empty(0))
    bad = np.array([[0.0, np.nan]])
    with pytest.raises(UserError, match="not finite"):
        Trust.fit(bad, np.zeros((1, 2)), np.array([1]))
    worse = np.tile(np.array([[0.0, 1.0]]), (50, 1)) + np.random.default_rng(0).normal(size=(50, 2)) * 0.1
    with pytest.raises(UserError, match="add nothing to the cloud's; train the model longer"):
        Trust.fit(worse, np.zeros((50, 2)), np.ones(50, int))


def test_a_model_that_the_cloud_knows_better_is_not_called_worse_than_chance():
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(400, 5))
    device = 0.8 * evidence + rng.normal(size=evidence.shape) * 0.5
    order = np.argsort(device - 3 * evidence, axis=1)  # the chosen one first
    device, evidence = (np.take_along_axis(scores, order, axis=1) for scores in (device, evidence))
    assert (device.argmax(axis=1) == 0).mean() > 0.4, "alone it is better than one in five"
    with pytest.raises(UserError, match="own scores add nothing to the cloud's"):
        Trust.fit(device, np.sinh(evidence) * 0.01, np.ones(400, int))
