"""Learn when a device asks for the cloud's scores, on validation rankings."""

import numpy as np

from recbole_cocorr.artifact.request_rule import RequestRule, certainty
from recbole_cocorr.base.errors import UserError

_STEPS = 20


def fit_request_rule(scores: np.ndarray, clicks: np.ndarray, gain: np.ndarray) -> RequestRule:
    """Regress what each ranking gained on what the device knew before it, by least squares.

    Parameters
    ----------
    scores : numpy.ndarray, shape [B, C]
        The device's own scores of each list; minus infinity where there is no candidate.
    clicks : numpy.ndarray of int, shape [B]
    gain : numpy.ndarray, shape [B]
        NDCG@10 with the cloud's answer less that without.

    Raises
    ------
    UserError
        If there is no list, or a number is not finite.
    """
    if len(scores) == 0:
        raise UserError("when to ask is learned on validation items, and no user has one")
    known = np.stack([np.ones(len(scores)), np.log(np.maximum(clicks, 1)), certainty(scores)], axis=1)
    if not (np.isfinite(known).all() and np.isfinite(gain).all()):
        raise UserError("a score is not finite, so when to ask cannot be learned")
    weights = np.linalg.lstsq(known, gain, rcond=None)[0]
    gains = np.quantile(known @ weights, np.linspace(0, 1, _STEPS + 1))
    return RequestRule(*map(float, weights), tuple(gains.tolist()))
