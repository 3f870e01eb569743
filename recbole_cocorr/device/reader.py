"""The graphs of an artifact, run over one user's state."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime

from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.correction import Correction
from recbole_cocorr.errors import UserError

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
        self._window = artifact.manifest.window if "window" in artifact.manifest.graphs else None
        self._read_window: Callable[[], None] | None = None
        # Clicks that were read without making their state, which few ask for.
        self._unread: list[int] = []
        if self.recurrent:
            self._bind()
        else:
            artifact.graph("prefill")  # made now, not at the first click

    def _bind(self) -> None:
        """Buffers and bindings made once: most of a small graph's run is what surrounds it."""
        start, graph = self.artifact.initial_state, self.artifact.graph("step")
        self._states = [start.astype(np.float32), start.astype(np.float32)]
        self._now = 0
        self._item = np.zeros((1, self._width), np.float32)
        self._out = np.zeros((1, self._width), np.float32)
        self._slot = np.zeros((), np.int64)
        # An OrtValue made of an array shares its memory.
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        states = [value(s) for s in self._states]
        item, out, slot = value(self._item), value(self._out), value(self._slot)
        outputs = [o.name for o in graph.get_outputs()]
        self._bindings = []
        for before, after in ((0, 1), (1, 0)):
            binding = graph.io_binding()
            binding.bind_ortvalue_input("item", item)
            binding.bind_ortvalue_input("state", states[before])
            if self._every:
                binding.bind_ortvalue_input("slot", slot)
            binding.bind_ortvalue_output(outputs[0], out)
            binding.bind_ortvalue_output(outputs[1], states[after])
            self._bindings.append(binding)
        self._run = graph.run_with_iobinding

    def _bind_window(self) -> None:
        graph = self.artifact.graph("window")
        self._grid = np.zeros((self._window, self._width), np.float32)
        binding = graph.io_binding()
        binding.bind_ortvalue_input("items", onnxruntime.OrtValue.ortvalue_from_numpy(self._grid))
        output = graph.get_outputs()[0].name
        binding.bind_ortvalue_output(output, onnxruntime.OrtValue.ortvalue_from_numpy(self._out))
        self._read_window = partial(graph.run_with_iobinding, binding)

    def state(self) -> np.ndarray:
        """The state after the last click; empty for a model that keeps none."""
        return self._current().copy() if self.recurrent else np.zeros(0, np.float32)

    def _current(self) -> np.ndarray:
        if self._unread:
            rows, self._unread = self._unread, []
            self._go_on(rows, 0, self.artifact.initial_state)
        return self._states[self._now]

    def set_state(self, state: np.ndarray) -> None:
        """Go on from a state."""
        if self.recurrent:
            self._states[self._now][...], self._unread = state, []

    def click(self, row: int, clicks: int) -> np.ndarray:
        """User vector [d] after one more click on ``row``, ``clicks`` having been read."""
        if self._unread:
            self._current()
        now, vector, table = self._now, self._item[0], self.artifact.items
        if table.scales is None:
            vector[...] = table.rows[row]
        else:
            np.multiply(table.rows[row], table.scales[row], out=vector)
        kept = None
        if self._every:
            slot = clicks % self._every
            self._slot[...] = slot
            if clicks and not slot:
                kept = self._states[now].copy()
                self._states[now][...] = self._fold(kept)
        self._run(self._bindings[now])
        try:
            user = self._finite(self._out[0])
        except UserError:
            if kept is not None:
                self._states[now][...] = kept
            raise
        self._now = 1 - now
        return user

    def from_start(self, rows: list[int]) -> np.ndarray:
        """User vector [d] after the clicks ``rows`` and no others; their state becomes the state."""
        if not self.recurrent:
            (user,) = self.artifact.graph("prefill").run(None, {"items": self._vectors(rows)})
            return self._finite(user[0])
        if len(rows) == self._window:
            if self._read_window is None:
                self._bind_window()
            self._grid[...] = self._vectors(rows)
            self._read_window()
            user = self._finite(self._out[0])
            self._unread = list(rows)
            return user
        return self._go_on(rows, 0, self.artifact.initial_state)

    def go_on(self, rows: list[int], clicks: int) -> np.ndarray:
        """User vector [d] after the clicks ``rows``, ``clicks`` having been read before."""
        return self._go_on(rows, clicks, self._current())

    def _go_on(self, rows: list[int], clicks: int, state: np.ndarray) -> np.ndarray:
        graph = self.artifact.graph("prefill")
        at, user = 0, None
        while at < len(rows):
            if self._every:
                start = (clicks + at) % self._every
                part = rows[at : at + self._every - start]
                if start == 0 and clicks + at:
                    state = self._fold(state)
                grid = np.zeros((self._every, self._width), np.float32)
                grid[start : start + len(part)] = self._vectors(part)
                feed = {"items": grid, "state": state, "start": np.array(start), "stop": np.array(start + len(part))}
            else:
                part = rows[at : at + _AT_ONCE]
                feed = {"items": self._vectors(part), "state": state}
            user, state = graph.run(None, feed)
            at += len(part)
        user = self._finite(user[0])
        self._states[self._now][...], self._unread = state, []
        return user

    def correct(self, row: int, clicks: int, correction: Correction) -> np.ndarray:
        """User vector [d] of the last click, on ``row``, with a correction."""
        feed = {
            "item": self._vectors([row]),
            "state": self._current(),
            "slot": np.array((clicks - 1) % self._every),
            "attention": correction.attention,
            "bias": correction.bias,
        }
        (user,) = self.artifact.graph("correct").run(None, feed)
        return self._finite(user[0])

    def _fold(self, state: np.ndarray) -> np.ndarray:
        (after,) = self.artifact.graph("fold").run(None, {"state": state})
        return after

    def _vectors(self, rows: list[int]) -> np.ndarray:
        return self.artifact.items.vectors(np.array(rows, dtype=np.intp))

    def _finite(self, user: np.ndarray) -> np.ndarray:
        if not math.isfinite(float(user @ user)):
            raise UserError(f"the item table of {self.artifact.folder} is damaged: a user vector is not finite")
        return user.copy()
