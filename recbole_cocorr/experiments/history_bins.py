"""Quality by the length of a user's history: does a model forget, and whom does it serve?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from recbole_cocorr.evaluation.significance import check_same_users, seed_average, standard_error, user_means
from recbole_cocorr.experiments.comparisons import metrics_per_user
from recbole_cocorr.experiments.runs.groups import Group

# Lowest number of clicks of each bin: fine where 5-core data has its users, doubling beyond.
EDGES = (1, 5, 6, 8, 11, 16, 21, 51, 101, 201, 501)


@dataclass(frozen=True)
class HistoryBin:
    """Users with between ``low`` and ``high`` clicks before the test item.

    Attributes
    ----------
    low, high : int
        The fewest and the most clicks of a user in it.
    users : int
    mean : float
        The mean of the metric over its users.
    half_width : float
        Half of the mean's 95% confidence interval (t distribution).
    """

    low: int
    high: int
    users: int
    mean: float
    half_width: float

    @property
    def label(self) -> str:
        """``6–7``, or ``5``."""
        return str(self.low) if self.low == self.high else f"{self.low}–{self.high}"


def bin_starts(history: np.ndarray, edges: Sequence[int] = EDGES, fewest: int | None = None) -> list[int]:
    """Lowest number of clicks of each bin, such that every bin holds enough users.

    Parameters
    ----------
    history : numpy.ndarray of int, shape [U]
    edges : sequence of int
    fewest : int, optional
        Users a bin must hold, else it joins the one below (the first joins the one above). By default 30, or 1% of the
        users where that is more.

    Returns
    -------
    list of int
        Ascending; one bin is left at least.
    """
    fewest = max(30, len(history) // 100) if fewest is None else fewest
    starts = [int(history.min()), *(e for e in edges if history.min() < e <= history.max())]
    while len(starts) > 1:
        bin_of = np.searchsorted(starts, history, side="right") - 1
        count = np.bincount(bin_of, minlength=len(starts))
        small = np.flatnonzero(count < fewest)
        if not len(small):
            break
        del starts[max(int(small[-1]), 1)]
    return starts


def by_history(values: np.ndarray, history: np.ndarray, starts: Sequence[int]) -> list[HistoryBin]:
    """Mean of a metric in each bin.

    Parameters
    ----------
    values : numpy.ndarray of float64, shape [U]
        NaN where it is not defined; such users are left out.
    history : numpy.ndarray of int, shape [U]
    starts : sequence of int
        Of :func:`bin_starts`.
    """
    defined = np.isfinite(values)
    values, history = values[defined], history[defined]
    bin_of = np.searchsorted(starts, history, side="right") - 1
    result = []
    for index in range(len(starts)):
        inside = values[bin_of == index]
        if len(inside) < 2:
            continue
        clicks = history[bin_of == index]
        error = standard_error(inside)
        half = float(stats.t.ppf(0.975, len(inside) - 1) * error)
        result.append(HistoryBin(int(clicks.min()), int(clicks.max()), len(inside), float(inside.mean()), half))
    return result


def history_bins(group: Group, metric: str) -> dict[str, list[HistoryBin]]:
    """A metric of every model by the length of history, each user's averaged over seeds first.

    Raises
    ------
    UserError
        If the runs tested different users.
    """
    per_user = {
        (label, seed): metrics
        for label, by_seed in group.runs.items()
        for seed, run in by_seed.items()
        if (metrics := metrics_per_user(run, [metric])) is not None
    }
    if not per_user:
        return {}
    check_same_users({f"{label} (seed {seed})": metrics for (label, seed), metrics in per_user.items()})
    (label, seed), _ = next(iter(per_user.items()))
    ranks = group.runs[label][seed].ranks
    history = user_means(ranks.users, np.asarray(ranks.history)).round().astype(int)
    starts = bin_starts(history)
    result = {}
    for label in group.runs:
        own = [metrics for (name, _), metrics in per_user.items() if name == label]
        if own:
            result[label] = by_history(seed_average(own, metric), history, starts)
    return result
