"""The graphs of an artifact, run over one user's state."""

import numpy as np

from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.correction import Correction
from recbole_cocorr.device.steps import check_finite, steps_of
from recbole_cocorr.device.window import Window

# Clicks of a history that are read at once by a model that reads any number: bounds the memory of a long one.
_AT_ONCE = 1024


class Reader:
    """Clicks to user vectors.

    A failed call leaves the state as it was.

    Parameters
    ----------
    artifact : Artifact

    Attributes
    ----------
    recurrent : bool
        Whether the model keeps a state, so that a click can be read alone.
    """

    def __init__(self, artifact: Artifact):
        self.artifact = artifact
        self.recurrent = artifact.initial_state is not None
        self._every = artifact.manifest.mini_batch
        self._width = artifact.manifest.width
        self._window: Window | None = None
        # Clicks that were read without making their state, which few ask for.
        self._unread: list[int] = []
        if self.recurrent:
            self.steps = steps_of(artifact)
        else:
            artifact.graph("prefill")  # made now, not at the first click

    def state(self) -> np.ndarray:
        """The state after the last click; empty for a model without state."""
        if not self.recurrent:
            return np.zeros(0, np.float32)
        if self._unread:
            rows, self._unread = self._unread, []
            self._go_on(rows, 0, self.artifact.initial_state)
        return self.steps.state()

    def set_state(self, state: np.ndarray) -> None:
        """Go on from a state."""
        if self.recurrent:
            self.steps.set_state(state)
            self._unread = []

    def click(self, row: int, clicks: int) -> np.ndarray:
        """User vector [d] after one more click on ``row``, ``clicks`` having been read.

        It is a view of a buffer that the click after the next one writes into.
        """
        if self._unread:
            self.state()
        self.artifact.items.put(row, self.steps.vector)
        return self.steps.click(clicks)

    def from_start(self, rows: list[int]) -> np.ndarray:
        """User vector [d] after the clicks ``rows`` and no others; their state becomes the state."""
        if len(rows) == self.artifact.manifest.window and self._reads_windows():
            if self._window is None:
                self._window = Window(self.artifact)
            user = self._window.read(rows)
            self._unread = rows
            return user
        if not self.recurrent:
            (user,) = self.artifact.graph("prefill").run(None, {"items": self.vectors(rows)})
            return check_finite(user[0], self.artifact)
        return self._go_on(rows, 0, self.artifact.initial_state)

    def _reads_windows(self) -> bool:
        return not self.recurrent or "window" in self.artifact.manifest.graphs

    def go_on(self, rows: list[int], clicks: int) -> np.ndarray:
        """User vector [d] after the clicks ``rows``, ``clicks`` having been read before."""
        return self._go_on(rows, clicks, self.state())

    def _go_on(self, rows: list[int], clicks: int, state: np.ndarray) -> np.ndarray:
        graph = self.artifact.graph("prefill")
        at, user = 0, None
        while at < len(rows):
            if self._every:
                start = (clicks + at) % self._every
                part = rows[at : at + self._every - start]
                if start == 0 and clicks + at:
                    state = self.steps.fold(state)
                grid = np.zeros((self._every, self._width), np.float32)
                grid[start : start + len(part)] = self.vectors(part)
                feed = {"items": grid, "state": state, "start": np.array(start), "stop": np.array(start + len(part))}
            else:
                part = rows[at : at + _AT_ONCE]
                feed = {"items": self.vectors(part), "state": state}
            user, state = graph.run(None, feed)
            at += len(part)
        user = check_finite(user[0], self.artifact)
        self.set_state(state)
        return user

    def correct(self, row: int, clicks: int, correction: Correction) -> np.ndarray:
        """User vector [d] of the last of ``clicks`` clicks, on ``row``, with a correction."""
        feed = {
            "item": self.vectors([row]),
            "state": self.state(),
            "slot": np.array((clicks - 1) % self._every),
            "attention": correction.attention,
            "bias": correction.bias,
        }
        (user,) = self.artifact.graph("correct").run(None, feed)
        return check_finite(user[0], self.artifact)

    def vectors(self, rows: list[int]) -> np.ndarray:
        """Item vectors [n, d] of ``rows``, as a graph reads them."""
        return self.artifact.items.vectors(np.array(rows, dtype=np.intp))
