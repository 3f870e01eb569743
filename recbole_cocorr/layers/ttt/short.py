"""The last position of sequences that are no longer than one mini-batch: the case of the paper, L = K.

All clicks then learn from the initial weights and meet only in the sum that the last query reads. So they are
laid one after another [N, d] without padding, whatever row they belong to; and with heads side by side in a row,
a product with the initial weights is one product with a block-diagonal matrix.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from recbole_cocorr.layers.gcn import Correction, CorrectionFusion
from recbole_cocorr.layers.ttt.inner_gradient import NORM_EPS, inner_gradient

if TYPE_CHECKING:
    from recbole_cocorr.layers.ttt.linear import TTTLinear

# Share of real clicks below which laying them out anew costs less than the padded ones.
_PACK_BELOW = 0.9


def last_of_one_mini_batch(
    ttt: "TTTLinear",
    x: torch.Tensor,
    last: torch.Tensor,
    correction: Correction | None,
    fusion: CorrectionFusion | None,
) -> torch.Tensor:
    """:meth:`TTTLinear.forward_last` for L <= K, on a CPU.

    Parameters
    ----------
    ttt : TTTLinear
    x : torch.Tensor, shape [B, L, d]
        X, cut to the longest row.
    last : torch.Tensor of int64, shape [B]
        Each row's last position.
    correction, fusion
        As for :meth:`TTTLinear.forward_last`.

    Returns
    -------
    torch.Tensor, shape [B, H, f]
        Float32 at least, before the output's norm and projection.
    """
    rows, width, size = x.shape
    heads, head = ttt.num_heads, ttt.head_width
    count = int(last.sum()) + rows
    even = count == rows * width
    real = None if even else torch.arange(width) <= last[:, None]  # [B, L]
    place = owner = None
    clicks = x.reshape(rows * width, size)
    if count < _PACK_BELOW * rows * width:
        place = real.flatten().nonzero().squeeze(1)
        owner = place.div(width, rounding_mode="floor")
        clicks = clicks.index_select(0, place)
        at_last = clicks.index_select(0, (last + 1).cumsum(0) - 1)
    else:
        at_last = x[:, -1] if even else x.gather(1, last.view(-1, 1, 1).expand(-1, 1, size)).squeeze(1)

    # An even number of columns, so that pairs of them can be read as complex numbers.
    gates = ttt.inner_lr_weight if heads % 2 == 0 else F.pad(ttt.inner_lr_weight, (0, 0, 0, 1))
    projected = ttt._whole(F.linear(clicks, torch.cat([ttt.k_proj.weight, ttt.v_proj.weight, gates])))
    queries = ttt._whole(F.linear(at_last, ttt.q_proj.weight))
    turns = ttt.turns(projected)
    with torch.autocast("cpu", enabled=False):
        keys, values, gates = projected.split([size, size, len(gates)], dim=1)
        if place is None:
            keys = _turn(keys.view(rows, width, size), turns[:width], heads).flatten(0, 1)
        else:
            keys = _turn(keys, turns[place % width], heads)  # [N, H, f]
        queries = _turn(queries, turns[last], heads)  # [B, H, f]
        W0, b0 = torch.block_diag(*ttt.W0.to(keys.dtype)), ttt.b0.to(keys.dtype)
        start = b0.flatten()
        prediction = torch.addmm(start, keys.flatten(1), W0).view_as(keys)
        values = values.unflatten(1, (heads, head))
        learned = inner_gradient(keys, values, prediction, ttt.inner_norm_weight, ttt.inner_norm_bias)
        rates = torch.sigmoid(gates[:, :heads] + ttt.inner_lr_bias.to(gates.dtype)) * (ttt.inner_lr / head)
        if place is None:
            keys = keys.view(rows, width, heads, head)
            attention = (keys * queries[:, None]).sum(dim=-1).flatten(0, 1)
            if real is not None:
                rates = rates * real.view(-1, 1)
        else:
            attention = (keys * queries.index_select(0, owner)).sum(dim=-1)  # [N, H]

        def gathered(weights: torch.Tensor) -> torch.Tensor:
            """Sum of each row's gradients G, weighted: [B, H, f]."""
            weighted = weights.unsqueeze(-1) * learned
            if place is None:
                return weighted.view(rows, width, heads, head).sum(dim=1)
            return weighted.new_zeros(rows, heads, head).index_add(0, owner, weighted)

        step = ttt.token_steps(keys)[last].view(-1, 1, 1)
        read = torch.addmm(start, queries.flatten(1), W0).view_as(queries)
        if correction is None:
            mixed = read - step * gathered((attention + 1) * rates)
        else:
            mixed = _corrected(attention, rates, gathered, step, read, b0, last, place, real, width, correction, fusion)
        normed = F.layer_norm(mixed, (head,), eps=NORM_EPS)
        return queries + torch.addcmul(ttt.inner_norm_bias, normed, ttt.inner_norm_weight)


def _turn(x: torch.Tensor, turns: torch.Tensor, heads: int) -> torch.Tensor:
    """RoPE of [..., N, d] by heads: [..., N, H, f]; a pair is a complex number, its rotation a product."""
    pairs = torch.view_as_complex(x.unflatten(-1, (heads, -1, 2)))
    return torch.view_as_real(pairs * turns[:, None]).flatten(-2)


def _corrected(attention, rates, gathered, step, read, start, last, place, real, width, correction, fusion):
    """Zbar with A and bbar fused with what the cloud sent (eqs. 14-15)."""
    rows, heads = read.shape[:2]
    if real is None:
        real = attention.new_ones(rows, width, dtype=torch.bool)
    if place is not None:
        attention = attention.new_zeros(rows * width, heads).index_copy(0, place, attention)
    row = last.view(-1, 1, 1, 1)
    sent, sent_bias = (c.gather(2, row.expand(-1, heads, 1, c.shape[3])).squeeze(2) for c in correction)
    fused = fusion.fuse_attention(attention.view(rows, width, heads).transpose(1, 2), sent[..., :width], real[:, None])
    fused = fused.transpose(1, 2).reshape(rows * width, heads)
    if place is not None:
        fused = fused.index_select(0, place)
    bias = start - step * gathered(rates)
    return read - start - step * gathered(fused * rates) + fusion.fuse_bias(bias, sent_bias)
