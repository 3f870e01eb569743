"""Users by the length of their history."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.experiments.history_bins import bin_starts, by_history


@settings(deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=300), st.integers(1, 40))
def test_bins_hold_every_user_once_and_enough_of_them(clicks, fewest):
    history = np.array(clicks)
    starts = bin_starts(history, fewest=fewest)
    assert starts == sorted(set(starts)) and starts[0] == history.min()
    place = np.searchsorted(starts, history, side="right")
    counts = np.bincount(place, minlength=len(starts) + 1)[1:]
    assert counts.sum() == len(history)
    assert len(starts) == 1 or counts.min() >= fewest


def test_means_and_intervals_by_hand():
    history = np.array([4, 4, 4, 9, 9, 30])
    values = np.array([0.0, 1.0, np.nan, 0.5, 0.5, 1.0])
    first, second = by_history(values, history, [4, 8, 20])
    assert (first.label, first.users, first.mean) == ("4", 2, 0.5)
    assert first.half_width == pytest.approx(12.7062 * 0.5, rel=1e-4)  # t with one degree of freedom
    assert (second.label, second.users, second.mean, second.half_width) == ("9", 2, 0.5, 0.0)


def test_labels_name_the_clicks_that_occur():
    (only,) = by_history(np.ones(3), np.array([6, 7, 6]), [6])
    assert only.label == "6–7"
