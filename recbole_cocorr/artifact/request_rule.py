"""Whether a ranking is worth a request: what a device expects the cloud's scores to change; numpy alone."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recbole_cocorr.base.readers import Record

_WEIGHTS = ("base", "per_log_click", "per_certainty")
_MOST_WEIGHT, _MOST_GAINS = 1e6, 1001


def certainty(scores: np.ndarray) -> np.ndarray:
    """The share of the best candidate in the softmax of a list: 1 over the sum of exp(s - s of the best).

    Parameters
    ----------
    scores : numpy.ndarray, shape [..., C]
        The device's own scores, in any order; minus infinity where there is no candidate.

    Returns
    -------
    numpy.ndarray of float64, shape [...]
        From 1 / C, where all are equal, to 1.
    """
    scores = np.asarray(scores, dtype=np.float64)
    return 1 / np.exp(scores - scores.max(axis=-1, keepdims=True)).sum(axis=-1)


@dataclass(frozen=True)
class RequestRule:
    """Asks where the gain that is expected of the cloud's scores is among the largest.

    The expected gain in NDCG@10 is  base + per_log_click ln n + per_certainty c,  n the clicks of the history, c the
    :func:`certainty` of the device's own list.

    Attributes
    ----------
    base, per_log_click, per_certainty : float
    gains : tuple of float
        Expected gains of the validation rankings, as quantiles with equal steps, from the least to the largest.
    """

    base: float
    per_log_click: float
    per_certainty: float
    gains: tuple[float, ...]

    def expected_gain(self, scores: np.ndarray, clicks: np.ndarray | int) -> np.ndarray:
        """The gain [...] that scores are expected to bring to lists [..., C] after ``clicks`` [...] clicks."""
        return self.base + self.per_log_click * np.log(np.maximum(clicks, 1)) + self.per_certainty * certainty(scores)

    def threshold(self, share: float) -> float:
        """The expected gain that this share of the validation rankings exceeds; infinite for 0 and 1."""
        if not 0 < share < 1:
            return -np.inf if share >= 1 else np.inf
        return float(np.interp(1 - share, np.linspace(0, 1, len(self.gains)), self.gains))

    def asks(self, scores: np.ndarray, clicks: np.ndarray | int, share: float) -> np.ndarray:
        """Whether each list [..., C] is worth a request, if ``share`` of the rankings may have one."""
        return self.expected_gain(scores, clicks) > self.threshold(share)

    def described(self) -> dict[str, Any]:
        """What a file holds of it."""
        return {**asdict(self), "gains": list(self.gains)}

    @classmethod
    def of(cls, record: Record) -> "RequestRule":
        """The rule that a file holds.

        Raises
        ------
        UserError
            If a number is missing, too large, or the gains do not rise.
        """
        weights = [record.number(name, -_MOST_WEIGHT, _MOST_WEIGHT) for name in _WEIGHTS]
        gains = record.array("gains", (int, float))
        right = 2 <= len(gains) <= _MOST_GAINS and all(abs(g) <= _MOST_WEIGHT * 1000 for g in gains)  # no NaN either
        if not right or sorted(gains) != gains:
            raise record.refuse("gains", f"a list of 2 to {_MOST_GAINS} rising numbers")
        if set(record) != {*_WEIGHTS, "gains"}:
            raise record.refuse(next(k for k in record if k not in {*_WEIGHTS, "gains"}), "left out")
        return cls(*weights, tuple(map(float, gains)))
