"""Clicks read one by one: the state in buffers that are bound to a graph once.

Most of a small graph's run is what surrounds it, so nothing is made anew for a click: no array, no dictionary of
inputs. A user vector is a view of one of two buffers; the next click writes into the other one, so that a click which
fails leaves the last user vector as it was.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device.artifact import Artifact

if TYPE_CHECKING:
    import onnxruntime


def steps_of(artifact: Artifact) -> "Steps | MiniBatchSteps":
    """What reads an artifact's clicks: by its ``click`` graph if it has one, else by ``step``."""
    return MiniBatchSteps(artifact) if "click" in artifact.manifest.graphs else Steps(artifact)


def check_finite(user: np.ndarray, artifact: Artifact) -> np.ndarray:
    """The user vector [d], if it is made of numbers."""
    if not math.isfinite(user.dot(user)):
        raise UserError(f"the item table of {artifact.folder} is damaged: a user vector is not finite")
    return user


class Bound:
    """A graph with its inputs and outputs bound to arrays."""

    def __init__(self, artifact: Artifact, name: str):
        import onnxruntime

        self.artifact = artifact
        self._value = onnxruntime.OrtValue.ortvalue_from_numpy
        self.graph = artifact.graph(name)
        self.run_bound = self.graph.run_with_iobinding
        # Made once: a run without options makes its own. The entry says that no graph of a GPU is to be captured;
        # without any, ONNX Runtime's Python raises and catches an error at every run, which takes longer than it.
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("gpu_graph_id", "-1")

    def run(self, binding: "onnxruntime.IOBinding") -> None:
        """Run on the arrays of a binding."""
        self.run_bound(binding, self._options)

    def bind(self, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> "onnxruntime.IOBinding":
        """Arrays by name; an OrtValue made of an array shares its memory."""
        value = self._value
        binding = self.graph.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, value(array))
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, value(array))
        return binding


class _Clicks(Bound):
    """What both kinds of steps have."""

    def __init__(self, artifact: Artifact, name: str):
        super().__init__(artifact, name)
        width = artifact.manifest.width
        self.item = np.zeros((1, width), np.float32)
        self.vector = self.item[0]  # where a click's item vector is put
        self.users = [np.zeros((1, width), np.float32) for _ in range(2)]
        self._user_vectors = [user[0] for user in self.users]

    def fold(self, state: np.ndarray) -> np.ndarray:
        """The state with its full mini-batch in W and b."""
        return self.artifact.graph("fold").run(None, {"state": state})[0]


class Steps(_Clicks):
    """The ``step`` graph: state in, state out, between two buffers."""

    def __init__(self, artifact: Artifact):
        super().__init__(artifact, "step")
        start = artifact.initial_state
        self.states = [start.astype(np.float32), start.astype(np.float32)]
        self._every = artifact.manifest.mini_batch
        self._slot = np.zeros((), np.int64)
        self._now = 0
        names = [o.name for o in self.graph.get_outputs()]
        self.bindings = []
        for before, after in ((0, 1), (1, 0)):
            inputs = {"item": self.item, "state": self.states[before]}
            if self._every:
                inputs["slot"] = self._slot
            self.bindings.append(
                self.bind(inputs, dict(zip(names, (self.users[after], self.states[after]), strict=True)))
            )

    def state(self) -> np.ndarray:
        """A copy of the state after the last click."""
        return self.states[self._now].copy()

    def set_state(self, state: np.ndarray) -> None:
        """Go on from a state."""
        self.states[self._now][...] = state

    def click(self, clicks: int) -> np.ndarray:
        """User vector [d] after a click on the item whose vector was put in, ``clicks`` having been read."""
        now, before = self._now, None
        if self._every:
            slot = clicks % self._every
            self._slot[...] = slot
            if clicks and not slot:
                before = self.states[now].copy()
                self.states[now][...] = self.fold(before)
        self.run_bound(self.bindings[now], self._options)
        try:
            user = check_finite(self._user_vectors[1 - now], self.artifact)
        except UserError:
            if before is not None:
                self.states[now][...] = before
            raise
        self._now = 1 - now
        return user


class MiniBatchSteps(_Clicks):
    """CoCorrRec's ``click`` graph, which reads the inner models and the running sums.

    Keys and gradients are written by the graph where the slot's rows lie, and make a state only when one is asked for.
    There is a binding for each slot and each of the two buffers of ``read``, made when it is first needed.
    """

    def __init__(self, artifact: Artifact):
        super().__init__(artifact, "click")
        blocks, _, f = artifact.initial_state.shape  # [layers H, f + 1 + 2 K, f]
        self._every = K = artifact.manifest.mini_batch
        heads, g = artifact.manifest.width // f, f + 1
        layers = blocks // heads
        # By head (0; [W; b]), and ([W; b]; S).
        self._inner = np.zeros((blocks, 2, g, f), np.float32)
        self.reads = [np.zeros_like(self._inner) for _ in range(2)]
        self._turned = np.zeros((K, layers, 2, heads, 2 * g), np.float32)
        self._grads = np.zeros((K, blocks, f), np.float32)
        # Views in the state's form.
        self._models = self._inner[:, 1]  # [layers H, f + 1, f]
        self._keys = self._turned[:, :, 1, :, :f].transpose(1, 2, 0, 3)  # [layers, H, K, f]
        self._grads_by_head = self._grads.transpose(1, 0, 2)  # [layers H, K, f]
        self._names = [o.name for o in self.graph.get_outputs()]
        self._slots = artifact.graph("slot")
        self.bindings: list[onnxruntime.IOBinding | None] = [None] * (2 * K)
        self.set_state(artifact.initial_state)

    def _binding(self, turn: int) -> "onnxruntime.IOBinding":
        slot, now = turn % self._every, turn % 2
        f = self._inner.shape[-1]
        of_slot = dict(zip(("turn", "form"), self._slots.run(None, {"slot": np.array([slot])}), strict=True))
        inputs = {"item": self.item, "inner": self._inner.reshape(-1, f), "read": self.reads[now].reshape(-1, f)}
        turned = self._turned[slot].reshape(-1, 2 * (f + 1))
        after = (self.users[1 - now], self.reads[1 - now].reshape(-1, f), turned, self._grads[slot])
        self.bindings[turn] = self.bind(inputs | of_slot, dict(zip(self._names, after, strict=True)))
        return self.bindings[turn]

    def state(self) -> np.ndarray:
        """The state after the last click."""
        blocks, K, f = self._grads_by_head.shape
        return np.concatenate([self._models, self._keys.reshape(blocks, K, f), self._grads_by_head], axis=1)

    def set_state(self, state: np.ndarray) -> None:
        """Go on from a state."""
        K, f = self._every, state.shape[2]
        models, keys, grads = state[:, : f + 1], state[:, f + 1 : f + 1 + K], state[:, f + 1 + K :]
        self._models[...] = models
        self._keys[...] = keys.reshape(self._keys.shape)
        self._grads_by_head[...] = grads
        for read in self.reads:
            read[:, 0] = models
            read[:, 1, :f] = keys.transpose(0, 2, 1) @ grads
            read[:, 1, f] = grads.sum(axis=1)

    def click(self, clicks: int) -> np.ndarray:
        """User vector [d] after a click on the item whose vector was put in, ``clicks`` having been read."""
        turn = clicks % (2 * self._every)
        kept = self._fold(turn % 2) if clicks and not turn % self._every else None
        self.run_bound(self.bindings[turn] or self._binding(turn), self._options)
        try:
            return check_finite(self._user_vectors[1 - turn % 2], self.artifact)
        except UserError:
            slot = turn % self._every
            self._turned[slot], self._grads[slot] = 0, 0
            for array, before in kept or ():
                array[...] = before
            raise

    def _fold(self, now: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """A full mini-batch becomes part of W and b; gives what was there before."""
        before = [(array, array.copy()) for array in (self._inner, self._turned, self._grads, self.reads[now])]
        after = self.fold(self.state())
        for array in (self._turned, self._grads, self.reads[now]):
            array.fill(0)
        self._models[...] = after[:, : self._models.shape[1]]
        self.reads[now][:, 0] = self._models
        return before
