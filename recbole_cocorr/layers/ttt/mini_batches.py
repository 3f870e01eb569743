"""A sequence as mini-batches of K projected clicks."""

from collections.abc import Iterator

import torch

from recbole_cocorr.layers.ttt.weights import Projections, TTTWeights

# Clicks of all rows that are projected at once where the sequence is longer than a mini-batch.
CLICKS_AT_ONCE = 2560


def mini_batches(weights: TTTWeights, x: torch.Tensor, with_queries: bool = True) -> Iterator[Projections]:
    """Yield the projections of one mini-batch of x [B, L, d] after another.

    Some mini-batches are projected together: enough that the products are large, few enough that the projections are
    still in the cache when they are read.
    """
    size = weights.mini_batch_size
    for segment in x.split(size * max(1, CLICKS_AT_ONCE // max(1, x.shape[0] * size)), dim=1):
        slots = torch.arange(segment.shape[1], device=x.device) % size
        yield from weights.project(segment, slots, with_queries).split(size)
