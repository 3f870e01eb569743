"""The last position of rows that are no longer than one mini-batch: the case of the paper, L = K.

All clicks then learn from the initial weights and meet only in the sum that the last query reads. So they are
laid one after another [N, d] without padding, whatever row they belong to; and with heads side by side in a row,
a product with the initial weights is one product with a block-diagonal matrix.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from recbole_cocorr.layers.correction import Correction, CorrectionFusion
from recbole_cocorr.layers.ttt.equations import at_least_float32, descend, learning_rates
from recbole_cocorr.layers.ttt.inner_gradient import NORM_EPS, inner_gradient
from recbole_cocorr.layers.ttt.weights import TTTWeights

# Share of real clicks below which laying them out anew costs less than the padded ones.
PACK_BELOW = 0.9


@dataclass
class Layout:
    """How the clicks of a batch stand one after another, [N, ...]: all B * L of them, or the real ones alone.

    Attributes
    ----------
    last : torch.Tensor of int64, shape [B]
        Each row's last position.
    width : int
        L.
    real : torch.Tensor of bool, shape [B, L], or None
        None where every position is real.
    index : torch.Tensor of int64, shape [N], or None
        Which of the B * L positions each click stands at; None where all of them stand there.
    owner : torch.Tensor of int64, shape [N], or None
        Each click's row, likewise.
    """

    last: torch.Tensor
    width: int
    real: torch.Tensor | None = None
    index: torch.Tensor | None = None
    owner: torch.Tensor | None = None

    @classmethod
    def of(cls, last: torch.Tensor, width: int) -> "Layout":
        """The layout that costs least."""
        rows = len(last)
        count = int(last.sum()) + rows
        if count == rows * width:
            return cls(last, width)
        real = torch.arange(width) <= last[:, None]
        if count >= PACK_BELOW * rows * width:
            return cls(last, width, real)
        index = real.flatten().nonzero().squeeze(1)
        return cls(last, width, real, index, index.div(width, rounding_mode="floor"))

    def lay(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The clicks [N, d] of x [B, L, d], and each row's last [B, d]."""
        clicks = x.reshape(-1, x.shape[2])
        if self.index is not None:
            clicks = clicks.index_select(0, self.index)
            return clicks, clicks.index_select(0, (self.last + 1).cumsum(0) - 1)
        if self.real is None:
            return clicks, x[:, -1]
        return clicks, x.gather(1, self.last.view(-1, 1, 1).expand(-1, 1, x.shape[2])).squeeze(1)

    def turn(self, keys: torch.Tensor, turns: torch.Tensor, heads: int) -> torch.Tensor:
        """RoPE of the keys [N, d] by heads: [N, H, f]."""
        if self.index is not None:
            return _turn(keys, turns[self.index % self.width], heads)
        return _turn(keys.view(len(self.last), self.width, -1), turns[: self.width], heads).flatten(0, 1)

    def attention(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """A [N, H]: each key [N, H, f] times its row's query [B, H, f]."""
        if self.index is not None:
            return (keys * queries.index_select(0, self.owner)).sum(dim=-1)
        keys = keys.view(len(self.last), self.width, *keys.shape[1:])
        return (keys * queries[:, None]).sum(dim=-1).flatten(0, 1)

    def without_padding(self, rates: torch.Tensor) -> torch.Tensor:
        """Rates [N, H], 0 on padding."""
        return rates if self.real is None or self.index is not None else rates * self.real.view(-1, 1)

    def sum_by_row(self, weights: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """Each row's sum [B, H, f] of G [N, H, f], weighted [N, H]."""
        weighted = weights.unsqueeze(-1) * gradients
        rows, shape = len(self.last), gradients.shape[1:]
        if self.index is None:
            return weighted.view(rows, self.width, *shape).sum(dim=1)
        return weighted.new_zeros(rows, *shape).index_add(0, self.owner, weighted)

    def by_position(self, attention: torch.Tensor) -> torch.Tensor:
        """A [B, H, L] of A [N, H]."""
        rows, heads = len(self.last), attention.shape[1]
        if self.index is not None:
            attention = attention.new_zeros(rows * self.width, heads).index_copy(0, self.index, attention)
        return attention.view(rows, self.width, heads).transpose(1, 2)

    def by_click(self, attention: torch.Tensor) -> torch.Tensor:
        """A [N, H] of A [B, H, L]."""
        clicks = attention.transpose(1, 2).reshape(-1, attention.shape[1])
        return clicks if self.index is None else clicks.index_select(0, self.index)

    def mask(self) -> torch.Tensor:
        """The real positions, [B, 1, L]."""
        real = self.real
        if real is None:
            real = torch.ones(len(self.last), self.width, dtype=torch.bool, device=self.last.device)
        return real[:, None]


def last_of_one_mini_batch(
    weights: TTTWeights,
    x: torch.Tensor,
    last: torch.Tensor,
    correction: Correction | None,
    fusion: CorrectionFusion | None,
) -> torch.Tensor:
    """The outputs of the heads at each row's last position, for L <= K, on a CPU.

    Parameters
    ----------
    weights : TTTWeights
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
    size, heads = weights.hidden_size, weights.num_heads
    layout = Layout.of(last, x.shape[1])
    clicks, at_last = layout.lay(x)
    # An even number of columns, so that pairs of them can be read as complex numbers.
    gates = weights.inner_lr_weight if heads % 2 == 0 else F.pad(weights.inner_lr_weight, (0, 0, 0, 1))
    columns = torch.cat([weights.k_proj.weight, weights.v_proj.weight, gates])
    projected = at_least_float32(F.linear(clicks, columns))
    queries = at_least_float32(F.linear(at_last, weights.q_proj.weight))
    turns = weights.turns(projected)
    with torch.autocast("cpu", enabled=False):
        keys, values, gates = projected.split([size, size, len(gates)], dim=1)
        keys = layout.turn(keys, turns, heads)  # [N, H, f]
        queries = _turn(queries, turns[last], heads)  # [B, H, f]
        W0, b0 = torch.block_diag(*weights.W0.to(keys.dtype)), weights.b0.to(keys.dtype)
        start = b0.flatten()

        def predict(rows: torch.Tensor) -> torch.Tensor:
            return torch.addmm(start, rows.flatten(1), W0).view_as(rows)

        gamma, beta = weights.inner_norm_weight, weights.inner_norm_bias
        gradients = inner_gradient(keys, values.unflatten(1, (heads, -1)), predict(keys), gamma, beta)
        rates = learning_rates(gates[:, :heads], weights.inner_lr_bias, weights.base_rate)
        attention, rates = layout.attention(queries, keys), layout.without_padding(rates)
        step = weights.token_steps(keys)[last].view(-1, 1, 1)
        read = predict(queries)  # Q W + b
        if correction is None:
            mixed = descend(read, step, layout.sum_by_row((attention + 1) * rates, gradients))
        else:
            bbar = descend(b0, step, layout.sum_by_row(rates, gradients))
            sent = correction.at(last)
            sent = Correction(sent.attention.squeeze(2)[..., : layout.width], sent.bias.squeeze(2))
            fused, bbar = fusion.fuse(layout.by_position(attention), bbar, sent, layout.mask())
            total = layout.sum_by_row(layout.by_click(fused) * rates, gradients)
            mixed = descend(read - b0, step, total) + bbar
        normed = F.layer_norm(mixed, (weights.head_width,), eps=NORM_EPS)
        return queries + torch.addcmul(beta, normed, gamma)


def _turn(x: torch.Tensor, turns: torch.Tensor, heads: int) -> torch.Tensor:
    """RoPE of [..., N, d] by heads: [..., N, H, f]; a pair is a complex number, its rotation a product."""
    pairs = torch.view_as_complex(x.unflatten(-1, (heads, -1, 2)))
    return torch.view_as_real(pairs * turns[:, None]).flatten(-2)
