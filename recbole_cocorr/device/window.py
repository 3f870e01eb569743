"""The last L clicks read anew, from a grid of vectors that moves on by one row."""

import numpy as np

from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.steps import Bound, check_finite


class Window(Bound):
    """Exactly L clicks to a user vector, by the graph ``window`` or, for a model that keeps no state, ``prefill``."""

    def __init__(self, artifact: Artifact):
        super().__init__(artifact, "window" if "window" in artifact.manifest.graphs else "prefill")
        manifest = artifact.manifest
        self._grid = np.zeros((manifest.window, manifest.width), np.float32)
        self._rows: list[int] = []  # of which the grid holds the vectors
        self._user = np.zeros((1, manifest.width), np.float32)
        self._binding = self.bind({"items": self._grid}, {self.graph.get_outputs()[0].name: self._user})

    def read(self, rows: list[int]) -> np.ndarray:
        """User vector [d] after the clicks ``rows``, as many as the window holds."""
        grid, items = self._grid, self.artifact.items
        if self._rows and rows[:-1] == self._rows[1:]:
            grid[:-1] = grid[1:]
            items.put(rows[-1], grid[-1])
        else:
            grid[...] = items.vectors(np.array(rows, dtype=np.intp))
        self._rows = rows
        self.run(self._binding)
        return check_finite(self._user[0], self.artifact).copy()
