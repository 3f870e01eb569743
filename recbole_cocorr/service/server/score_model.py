"""The cloud's half of a fitted corrector: scores of a user's candidates. numpy and scipy, no torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_cocorr.correctors.base import Corrector
from recbole_cocorr.correctors.folder import load_corrector
from recbole_cocorr.service.wire import encode_scores


@dataclass(frozen=True)
class ScoreQuery:
    """One request for scores.

    Attributes
    ----------
    clicked : numpy.ndarray of int64, shape [n]
        Rows of the last clicks, oldest first.
    candidates : numpy.ndarray of int64, shape [C]
    encoding : int
        How the scores are to be written.
    """

    clicked: np.ndarray
    candidates: np.ndarray
    encoding: int


@dataclass(frozen=True)
class ScoreModel:
    """A corrector, ready to score.

    Attributes
    ----------
    fingerprint : str
        Digest of the corrector, its catalogue included.
    corrector : Corrector
    """

    fingerprint: str
    corrector: Corrector

    @property
    def items(self) -> int:
        """Rows of the catalogue, padding included."""
        return self.corrector.n_items

    def correct(self, requests: list[ScoreQuery]) -> list[bytes]:
        """The scores of several users' candidates, in one pass.

        Parameters
        ----------
        requests : list of ScoreQuery

        Returns
        -------
        list of bytes
            As :func:`~recbole_cocorr.service.wire.encode_scores` makes them.
        """
        # Requests of different sizes share a matrix: the rest of a row is padding.
        candidates = np.zeros((len(requests), max(len(a.candidates) for a in requests)), np.int64)
        for row, a in zip(candidates, requests, strict=True):
            row[: len(a.candidates)] = a.candidates
        scores = self.corrector.scores([a.clicked for a in requests], candidates)
        return [encode_scores(row[: len(a.candidates)], a.encoding) for row, a in zip(scores, requests, strict=True)]


def load_score_model(folder: str | Path) -> ScoreModel:
    """Load a folder that ``fit-corrector`` wrote.

    Raises
    ------
    UserError
        If a file is missing, damaged or does not fit the other.
    """
    corrector, _, fingerprint = load_corrector(folder)
    return ScoreModel(fingerprint, corrector)
