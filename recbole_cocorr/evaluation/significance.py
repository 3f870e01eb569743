"""Is one model better than another? A paired comparison per user, over the seeds both were trained with.

The units are users. A user's metric is first averaged over the user's test rows, of which there are several under
``targets_per_user: every``, and over the seeds that both models share, so that three seeds do not count as three users.
The two averages are subtracted: one number d per user. Under the protocol a user's
candidates depend on the seed and not on the model, so with shared seeds both models ranked the same lists. The effect
is the mean of d.

Its test is the paired t test on d (:func:`scipy.stats.ttest_1samp`), because

* the question is about the mean of the metric, which is what the tables print. Wilcoxon's signed-rank test asks about
  the median of a symmetric d and drops its zeros, and most users' d is exactly zero for a hit within k;
* with thousands of users the mean of d, which lies in [-1, 1], is normal to a good approximation although d itself is
  far from it, and the t test agrees with the randomisation test that flips the sign of d (the tests hold one to the
  other);
* p has no lower limit set by a number of random draws, so a correction for many comparisons loses nothing, and the
  same numbers give the confidence interval.

With a few dozen users the approximation is rough. What the test speaks about is other users of these trained models:
how far another training would move the difference is the spread over seeds, which is reported beside it and is not
part of p.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.evaluation.ranking import per_row

LEVEL = 0.05  # a p below it is called significant


@dataclass(frozen=True)
class UserMetrics:
    """Metrics of every user, of one trained model.

    Attributes
    ----------
    users : numpy.ndarray of str, shape [U]
        Sorted.
    values : dict of str to numpy.ndarray of float64, shape [U]
        Per metric, for example ``"ndcg@10"``; NaN where it is not defined for a user.
    """

    users: np.ndarray
    values: dict[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """One model against another on one metric.

    Attributes
    ----------
    model, baseline, metric : str
    seeds : tuple of int
        Those that both have.
    users : int
        For which the metric is defined in every run.
    difference, low, high : float
        Mean of model minus baseline over users, with its 95% confidence interval.
    per_seed : tuple of float
        The same difference within each seed.
    p : float
        Two-sided.
    adjusted : float
        p after Holm's correction, see :func:`corrected`; p itself before.
    """

    model: str
    baseline: str
    metric: str
    seeds: tuple[int, ...]
    users: int
    difference: float
    low: float
    high: float
    per_seed: tuple[float, ...]
    p: float
    adjusted: float

    @property
    def spread(self) -> float | None:
        """Standard deviation of the difference over seeds; None with one seed."""
        return float(np.std(self.per_seed, ddof=1)) if len(self.per_seed) > 1 else None

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``no difference`` at the level .05 after correction."""
        if self.adjusted >= LEVEL:
            return "no difference"
        return "better" if self.difference > 0 else "worse"


def user_metrics(users: Sequence[str], ranks: np.ndarray, metrics: Sequence[str]) -> UserMetrics:
    """Compute every user's metrics from the places of the test items.

    Parameters
    ----------
    users : sequence of str, length R
        The user of each test row.
    ranks : numpy.ndarray of int, shape [R, 3]
        As of :func:`recbole_cocorr.evaluation.ranking.rank_positive`.
    metrics : sequence of str
        Such as ``gauc``, ``ndcg@10``.
    """
    values: dict[str, np.ndarray] = {}
    for name in metrics:
        metric, _, k = name.partition("@")
        values[name] = user_means(users, per_row(ranks, [metric], [int(k)] if k else [1])[name])
    return UserMetrics(np.unique(np.asarray(users, dtype=str)), values)


def user_means(users: Sequence[str], values: np.ndarray) -> np.ndarray:
    """The mean over each user's rows, users sorted by name.

    Parameters
    ----------
    users : sequence of str, length R
    values : numpy.ndarray of float64, shape [R]
        NaN where it is not defined.

    Returns
    -------
    numpy.ndarray of float64, shape [U]
        NaN where it is defined in no row of the user.
    """
    names, user_of = np.unique(np.asarray(users, dtype=str), return_inverse=True)
    defined = np.isfinite(values)
    total = np.bincount(user_of[defined], values[defined], len(names))
    count = np.bincount(user_of[defined], minlength=len(names))
    return np.divide(total, count, out=np.full(len(names), np.nan), where=count > 0)


def standard_error(values: np.ndarray) -> float:
    """Of the mean of some values; 0 with one."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def seed_average(runs: Sequence[UserMetrics], metric: str) -> np.ndarray:
    """Each user's metric averaged over runs with the same users, shape [U]."""
    return np.mean([run.values[metric] for run in runs], axis=0)


def check_same_users(runs: Mapping[str, UserMetrics]) -> None:
    """Refuse runs that tested different users.

    Parameters
    ----------
    runs : mapping of str to UserMetrics
        By the name an error calls them.

    Raises
    ------
    UserError
    """
    (first, reference), *rest = runs.items()
    for name, run in rest:
        if not np.array_equal(reference.users, run.users):
            lone = np.setxor1d(reference.users, run.users)
            raise UserError(
                f"{first} and {name} cannot be compared: {len(lone)} {'user was' if len(lone) == 1 else 'users were'} "
                f"tested by only one of them, for example {str(lone[0])!r}; compare runs on the same data set "
                "with the same filters"
            )


def compare(
    model: str,
    baseline: str,
    of_model: Mapping[int, UserMetrics],
    of_baseline: Mapping[int, UserMetrics],
    metrics: Sequence[str],
) -> list[Comparison]:
    """Compare two models, user by user.

    Parameters
    ----------
    model, baseline : str
        Their names.
    of_model, of_baseline : mapping of int to UserMetrics
        By seed; only seeds that both have are read.
    metrics : sequence of str

    Returns
    -------
    list of Comparison
        One per metric that is defined for at least two users; not yet corrected.

    Raises
    ------
    UserError
        If no seed is shared, or users differ.
    """
    seeds = tuple(sorted(set(of_model) & set(of_baseline)))
    if not seeds:
        raise UserError(f"{model} and {baseline} share no seed, so their users cannot be paired")
    check_same_users(
        {
            f"{name} (seed {seed})": runs[seed]
            for name, runs in ((model, of_model), (baseline, of_baseline))
            for seed in seeds
        }
    )
    result = []
    for metric in metrics:
        by_seed = np.stack([of_model[s].values[metric] - of_baseline[s].values[metric] for s in seeds])
        by_seed = by_seed[:, np.isfinite(by_seed).all(axis=0)]
        if by_seed.shape[1] < 2:
            continue
        p, low, high = _paired_t(by_seed.mean(axis=0))
        result.append(
            Comparison(
                model=model,
                baseline=baseline,
                metric=metric,
                seeds=seeds,
                users=by_seed.shape[1],
                difference=float(by_seed.mean()),
                low=low,
                high=high,
                per_seed=tuple(float(d) for d in by_seed.mean(axis=1)),
                p=p,
                adjusted=p,
            )
        )
    return result


def _paired_t(d: np.ndarray) -> tuple[float, float, float]:
    """Two-sided p and the 95% confidence interval of the mean of d, shape [U]."""
    if np.ptp(d) == 0:  # no variance, so t is not defined: the same for every user
        return (1.0 if d[0] == 0 else 0.0), float(d[0]), float(d[0])
    test = stats.ttest_1samp(d, 0.0)
    interval = test.confidence_interval(0.95)
    return float(test.pvalue), float(interval.low), float(interval.high)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction.

    The i-th smallest of m p-values becomes max over j <= i of (m - j + 1) p_(j), at most 1: the chance of one false
    finding among the m is then below the level, whatever the dependence between the tests.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    result = np.empty_like(values)
    result[order] = np.minimum(stepped, 1.0)
    return result.tolist()


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons with ``adjusted`` set by Holm's correction over all of them."""
    adjusted = holm([c.p for c in comparisons])
    return [dataclasses.replace(c, adjusted=a) for c, a in zip(comparisons, adjusted, strict=True)]
