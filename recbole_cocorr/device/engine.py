"""What a session computes, in rows of the item table: ONNX Runtime's graphs and numpy, for every model."""

import math
from collections import deque
from typing import Protocol

import numpy as np

from recbole_cocorr.artifact.evidence import fuse
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.correction import Correction
from recbole_cocorr.device.ranking import best
from recbole_cocorr.device.reader import Reader
from recbole_cocorr.device.running_scores import RunningScores
from recbole_cocorr.device.state import Snapshot


class Engine(Protocol):
    """One user's clicks and what follows from them; a call that fails leaves everything as it was.

    Attributes
    ----------
    clicks : int
    user : numpy.ndarray of float32, shape [d]
        After the last click; the next click may write into it.
    state_shape : tuple of int
    """

    clicks: int
    user: np.ndarray
    state_shape: tuple[int, ...]

    def click(self, row: int) -> None:
        """Read one click."""

    def read(self, rows: list[int]) -> None:
        """Read many clicks, after those already read."""

    def recent(self) -> list[int]:
        """Rows of the last M clicks, oldest first."""

    def scores(self, rows: list[int], neighbours: bool) -> np.ndarray:
        """Scores [n] of some rows, float32, with those of the neighbour table or without."""

    def best(self, k: int, exclude: list[int]) -> tuple[list[int], list[float]]:
        """Rows of the catalogue's best, at most k, and their scores."""

    def state(self) -> np.ndarray:
        """The model's state, a copy."""

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from what was saved."""

    def correct(self, correction: Correction) -> None:
        """Correct the user vector, until the next click."""


def most_recent(artifact: Artifact) -> int:
    """M, the clicks that a session remembers."""
    manifest = artifact.manifest
    return max(manifest.window, 0 if manifest.neighbours is None else manifest.neighbours["clicks"])


def refuse_damaged(scores: np.ndarray, artifact: Artifact) -> None:
    """Raise unless scores are numbers."""
    if not math.isfinite(float(scores.sum())) and not np.isfinite(scores).all():
        raise UserError(f"the item table of {artifact.folder} is damaged: a score is not finite")


class OnnxEngine:
    """:class:`Engine` on ONNX Runtime.

    Parameters
    ----------
    artifact : Artifact
    policy : {"carry", "window"}

    Raises
    ------
    UserError
        If onnxruntime is not installed.
    """

    def __init__(self, artifact: Artifact, policy: str):
        require("device", "onnxruntime")
        manifest = artifact.manifest
        self.artifact, self.policy = artifact, policy
        self.clicks, self.user = 0, np.zeros(manifest.width, np.float32)
        self._window = manifest.window
        self._neighbour_scores: RunningScores | None = None
        if artifact.neighbours is not None:
            settings = manifest.neighbours
            self._neighbour_scores = RunningScores(artifact.neighbours, settings["decay"], settings["clicks"])
        self._recent: deque[int] = deque(maxlen=most_recent(artifact))
        self.reader = Reader(artifact)
        # Whether a click is read alone: always, or while there are fewer than this.
        self._carries = self.reader.recurrent and policy == "carry"
        self._alone = self._window if self.reader.recurrent else 0
        self.state_shape = self.reader.state().shape

    def click(self, row: int) -> None:
        """Read one click."""
        clicks = self.clicks
        neighbours = self._neighbour_scores.row(row) if self._neighbour_scores else None
        if self._carries or clicks < self._alone:
            self.user = self.reader.click(row, clicks)
        else:
            self.user = self.reader.from_start([*self._recent, row][-self._window :])
        self._recent.append(row)
        if neighbours:
            self._neighbour_scores.add(neighbours, self._recent)
        self.clicks = clicks + 1

    def read(self, rows: list[int]) -> None:
        """Read many clicks, after those already read."""
        recent = [*self._recent, *rows]
        neighbours = self._neighbour_scores.rows(recent) if self._neighbour_scores else None
        if self._carries:
            self.user = self.reader.go_on(rows, self.clicks)
        else:
            self.user = self.reader.from_start(recent[-self._window :])
        self._recent.extend(rows)
        if neighbours:
            self._neighbour_scores.start(neighbours)
        self.clicks += len(rows)

    def recent(self) -> list[int]:
        """Rows of the last M clicks, oldest first."""
        return list(self._recent)

    def scores(self, rows: list[int], neighbours: bool) -> np.ndarray:
        """Scores [n] of some rows."""
        scores = self.artifact.targets.scores(self.user, np.array(rows, dtype=np.intp))
        if self.artifact.popular is not None:
            scores = scores + self.artifact.popular.at(rows)
        if neighbours and self._neighbour_scores:
            scores = self._with_neighbours(scores, self._neighbour_scores.at(rows))
        refuse_damaged(scores, self.artifact)
        return scores

    def best(self, k: int, exclude: list[int]) -> tuple[list[int], list[float]]:
        """Rows of the catalogue's best, and their scores."""
        scores = self.artifact.targets.all_scores(self.user)
        if self.artifact.popular is not None:
            scores[self.artifact.popular.items] += self.artifact.popular.weights
        if self._neighbour_scores:
            numbers, p = self._neighbour_scores.all()
            scores[numbers] = self._with_neighbours(scores[numbers], p)
        keep = np.ones(len(scores), dtype=bool)
        keep[[0, *exclude]] = False
        numbers = np.flatnonzero(keep)
        scores = scores[numbers]
        refuse_damaged(scores, self.artifact)
        places = best(scores, k)
        return numbers[places].tolist(), scores[places].tolist()

    def _with_neighbours(self, scores: np.ndarray, p: np.ndarray) -> np.ndarray:
        trust = self.artifact.manifest.neighbours
        fused = fuse(scores, p, self.clicks, trust["base"], trust["per_log_click"], trust["scale"])
        return fused.astype(np.float32)

    def state(self) -> np.ndarray:
        """The model's state."""
        return self.reader.state()

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from what was saved."""
        recent = snapshot.recent.tolist()
        if self._neighbour_scores:
            self._neighbour_scores.start(self._neighbour_scores.rows(recent))
        self.clicks, self.user = snapshot.clicks, snapshot.user
        self._recent = deque(recent, self._recent.maxlen)
        self.reader.set_state(snapshot.state)

    def correct(self, correction: Correction) -> None:
        """Correct the user vector."""
        # Those that the state was made of.
        clicks = self.clicks if self.policy == "carry" else min(self.clicks, self._window)
        self.user = self.reader.correct(self._recent[-1], clicks, correction)
