"""The dual form that goes on from a state and returns the next one.

The clicks are laid on a grid of whole mini-batches, each row shifted by its position in its current mini-batch; the
slots before that are filled from the state. A slot of the grid that holds no real click of its row learns nothing:
its g is 0.
"""

from typing import NamedTuple

import torch

from recbole_cocorr.layers.correction import Correction, CorrectionFusion
from recbole_cocorr.layers.ttt.dual import DualMixer
from recbole_cocorr.layers.ttt.equations import InnerModel, descend, outer_sum
from recbole_cocorr.layers.ttt.state import TTTState
from recbole_cocorr.layers.ttt.weights import Projections, TTTWeights


class Grid(NamedTuple):
    """Where the clicks of a batch stand on whole mini-batches.

    Attributes
    ----------
    clicks : torch.Tensor of int64, shape [B, grid]
        The click of each slot of the grid, negative before a row's first.
    start : torch.Tensor of int64, shape [B]
        The slot of each row's first click.
    lengths : torch.Tensor of int64, shape [B]
    size : int
        K.
    """

    clicks: torch.Tensor
    start: torch.Tensor
    lengths: torch.Tensor
    size: int

    @classmethod
    def of(cls, start: torch.Tensor, lengths: torch.Tensor, width: int, size: int) -> "Grid":
        """The grid of rows of these ``lengths``, padded to ``width``."""
        chunks = 1
        if len(start):
            ends = int((start + lengths).max()), int((start + width).max())
            chunks = max(1, *(-(-end // size) for end in ends))
        clicks = torch.arange(chunks * size, device=start.device) - start[:, None]
        return cls(clicks, start, lengths, size)

    def lay(self, x: torch.Tensor) -> torch.Tensor:
        """The clicks x [B, L, d] on the grid, [B, grid, d]; padding repeats a click."""
        rows, width, hidden = x.shape
        if not width:
            return x.new_zeros(rows, self.clicks.shape[1], hidden)
        return x[torch.arange(rows, device=x.device)[:, None], self.clicks.clamp(0, width - 1)]

    def project(self, weights: TTTWeights, x: torch.Tensor) -> Projections:
        """The projections of the clicks x [B, L, d] on the grid, with keys and rates 0 where there is no real one."""
        slots = torch.arange(self.clicks.shape[1], device=x.device) % self.size
        clicks = weights.project(self.lay(x), slots)
        real = ((self.clicks >= 0) & (self.clicks < self.lengths[:, None]))[None, :, :, None]
        rates = clicks.rates * real
        return clicks._replace(keys=clicks.keys * real, rates=rates)

    def take_back(self, heads: torch.Tensor, width: int) -> torch.Tensor:
        """[H, B, L, f] of what stands on the grid, [H, B, grid, f]."""
        slots = self.start[:, None] + torch.arange(width, device=heads.device)
        return heads.gather(2, slots[None, :, :, None].expand(len(heads), -1, -1, heads.shape[3]))

    def filled(self, chunk: int) -> torch.Tensor:
        """Slots [B] of a mini-batch that hold a click, an earlier one or a real one of this batch."""
        return (self.start + self.lengths - chunk * self.size).clamp(0, self.size)


class Running(NamedTuple):
    """A :class:`TTTState` with heads before rows, between two mini-batches of the grid."""

    inner: InnerModel
    S_W: torch.Tensor
    S_b: torch.Tensor
    keys: torch.Tensor
    gradients: torch.Tensor
    position: torch.Tensor

    @classmethod
    def of(cls, state: TTTState) -> "Running":
        W, b, S_W, S_b, keys, gradients = (
            t.transpose(0, 1) for t in (state.W, state.b, state.S_W, state.S_b, state.keys, state.scaled_grads)
        )
        return cls(InnerModel(W, b.unsqueeze(2)), S_W, S_b, keys, gradients, state.position)

    def state(self) -> TTTState:
        """The state, rows before heads."""
        return TTTState(
            W=self.inner.W.transpose(0, 1),
            b=self.inner.b.squeeze(2).transpose(0, 1),
            S_W=self.S_W.transpose(0, 1),
            S_b=self.S_b.transpose(0, 1),
            position=self.position,
            keys=self.keys.transpose(0, 1),
            scaled_grads=self.gradients.transpose(0, 1),
        )

    def after(
        self, keys: torch.Tensor, gradients: torch.Tensor, filled: torch.Tensor, steps: torch.Tensor
    ) -> "Running":
        """What follows a mini-batch of which ``filled`` [B] slots hold a click; ``steps`` is tau [K, 1].

        A full mini-batch becomes part of W and b. One that is begun is remembered. An empty one changes nothing.
        """
        full, begun = filled == keys.shape[2], (filled > 0) & (filled < keys.shape[2])
        S_W, S_b = outer_sum(keys, gradients), gradients.sum(dim=2)

        def where(rows: torch.Tensor, new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
            return torch.where(rows.view(1, -1, *[1] * (new.dim() - 2)), new, old)

        def remembered(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
            return where(full, torch.zeros_like(old), where(begun, new, old))

        W = where(full, descend(self.inner.W, steps[-1], S_W), self.inner.W)
        b = where(full, descend(self.inner.b, steps[-1], S_b.unsqueeze(2)), self.inner.b)
        return Running(
            InnerModel(W, b),
            remembered(S_W, self.S_W),
            remembered(S_b, self.S_b),
            remembered(keys, self.keys),
            remembered(gradients, self.gradients),
            torch.where(full, 0, torch.where(begun, filled, self.position)),
        )


def dual_from_state(
    weights: TTTWeights,
    x: torch.Tensor,
    lengths: torch.Tensor | None,
    state: TTTState | None,
    correction: Correction | None,
    fusion: CorrectionFusion | None,
) -> tuple[torch.Tensor, TTTState]:
    """O [B, L, d] of x [B, L, d] after ``state``, and the state after each row's ``lengths`` clicks."""
    rows, length = x.shape[:2]
    if state is None:
        state = weights.initial_state(rows)
    if lengths is None:
        lengths = torch.full((rows,), length, dtype=torch.int64, device=x.device)
    grid = Grid.of(state.position, lengths, length, weights.mini_batch_size)
    projections = grid.project(weights, x)
    mixer = DualMixer.of(weights, projections.keys, correction, fusion)
    running, outputs = Running.of(state), []
    with torch.autocast(x.device.type, enabled=False):
        for chunk, clicks in enumerate(projections.split(weights.mini_batch_size)):
            inner = running.inner
            gradients = weights.gradients(clicks, inner.predict(clicks.keys))
            if chunk == 0:  # the clicks of the state stand before the new ones
                clicks, gradients = clicks._replace(keys=clicks.keys + running.keys), gradients + running.gradients
            mixed = mixer.mix(inner, clicks, gradients, mixer.steps)
            outputs.append(weights.read_out(clicks.queries, mixed))
            running = running.after(clicks.keys, gradients, grid.filled(chunk), mixer.steps)
    joined = grid.take_back(torch.cat(outputs, dim=2), length)
    return weights.join_heads(joined.movedim(0, -2), x), running.state()
