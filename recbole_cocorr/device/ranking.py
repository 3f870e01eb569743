"""The items that a session puts first."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Ranking:
    """The items that a session puts first.

    Attributes
    ----------
    items : list of str
        Tokens, best first; among equal scores in the order in which they were given.
    scores : list of float
    unknown : list of str
        Candidates that are not in the catalogue; they were left out.
    """

    items: list[str]
    scores: list[float]
    unknown: list[str] = field(default_factory=list)


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Places of the k greatest scores, greatest first, equal ones in their order."""
    if k < len(scores) // 4:
        # Only what is at least the k-th greatest is sorted.
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= least)
        return places[np.argsort(-scores[places], kind="stable")][:k]
    return np.argsort(-scores, kind="stable")[:k]
