"""The last real position of each row alone: all clicks are learned from, but only one query a row is read."""

from typing import NamedTuple

import torch

from recbole_cocorr.layers.correction import Correction, CorrectionFusion
from recbole_cocorr.layers.ttt.equations import InnerModel, Reading, descend, mix, mix_corrected
from recbole_cocorr.layers.ttt.mini_batches import mini_batches
from recbole_cocorr.layers.ttt.one_mini_batch import last_of_one_mini_batch
from recbole_cocorr.layers.ttt.weights import TTTWeights


class LastQueries(NamedTuple):
    """One query a row.

    Attributes
    ----------
    queries : torch.Tensor, shape [H, B, 1, f]
    slot : torch.Tensor of int64, shape [B]
    steps : torch.Tensor, shape [B, 1, 1]
        tau of that slot.
    sent : Correction, optional
        What the cloud sent for that slot, heads first.
    fusion : CorrectionFusion, optional
    """

    queries: torch.Tensor
    slot: torch.Tensor
    steps: torch.Tensor
    sent: Correction | None
    fusion: CorrectionFusion | None

    def mix(self, inner: InnerModel, keys: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """Zbar [H, B, 1, f] if the query's mini-batch is that of ``keys`` and g, both [H, B, R, f]."""
        size = keys.shape[2]
        seen = (torch.arange(size, device=keys.device) <= self.slot[:, None]).unsqueeze(1)  # [B, 1, R]
        product, attention = inner.read(self.queries), self.queries @ keys.transpose(-1, -2)
        reading = Reading(product, self.steps, attention, gradients, seen)
        if self.sent is None:
            return mix(reading, inner.b)
        bbar = descend(inner.b, self.steps, seen.to(gradients.dtype) @ gradients)
        sent = self.sent._replace(attention=self.sent.attention[..., :size])
        return mix_corrected(reading, bbar, sent, self.fusion)


def last(
    weights: TTTWeights,
    x: torch.Tensor,
    lengths: torch.Tensor,
    correction: Correction | None,
    fusion: CorrectionFusion | None,
) -> torch.Tensor:
    """O [B, d] of x [B, L, d] at the last of each row's ``lengths`` clicks; L is at least 1."""
    index = (lengths - 1).clamp_min(0)
    # Reading a number stops a GPU's queue, and breaks a compiled graph.
    readable = len(x) > 0 and not x.is_cuda and not torch.compiler.is_compiling()
    if readable:
        x = x[:, : int(index.max()) + 1]
        if x.shape[1] <= weights.mini_batch_size and x.device.type == "cpu":
            return weights.join_heads(last_of_one_mini_batch(weights, x, index, correction, fusion), x)
    return _last_of_many(weights, x, index, readable, correction, fusion)


def _last_of_many(
    weights: TTTWeights,
    x: torch.Tensor,
    index: torch.Tensor,
    readable: bool,
    correction: Correction | None,
    fusion: CorrectionFusion | None,
) -> torch.Tensor:
    """O [B, d] at position ``index`` [B]; where that is ``readable``, mini-batches in which no row ends mix nothing."""
    slot, chunk_of = index % weights.mini_batch_size, index // weights.mini_batch_size
    queries = weights.queries(x.gather(1, index.view(-1, 1, 1).expand(-1, 1, x.shape[2])), slot[:, None])
    steps = weights.token_steps(queries)
    sent = None if correction is None else correction.at(slot).transposed()
    last_queries = LastQueries(queries, slot, steps[slot].view(-1, 1, 1), sent, fusion)
    inner = weights.initial_model(queries)
    ends = set(chunk_of.tolist()) if readable else None
    mixed, left = None, x.shape[1]
    for chunk, clicks in enumerate(mini_batches(weights, x, with_queries=False)):
        with torch.autocast(x.device.type, enabled=False):
            gradients = weights.gradients(clicks, inner.predict(clicks.keys))
            if ends is None or chunk in ends:
                here = last_queries.mix(inner, clicks.keys, gradients)
                mixed = here if mixed is None else torch.where((chunk_of == chunk).view(-1, 1, 1), here, mixed)
            left -= clicks.keys.shape[2]
            if left:
                inner = inner.learn(steps[-1], clicks.keys, gradients)
    with torch.autocast(x.device.type, enabled=False):
        heads = weights.read_out(queries, mixed).squeeze(2)
    return weights.join_heads(heads.movedim(0, -2), x)
