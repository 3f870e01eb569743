"""One click of CoCorrRec in as few operations as possible: what a session runs that keeps the state in its own buffers.

The numbers are :class:`~recbole_cocorr.models.cocorrrec.graphs.Step`'s. On a device a click costs what it takes to
start its operations, so this graph differs in form:

* Heads lie side by side, and a product of all of them is one matrix product. A row that holds every head's vector and a
  1 after it becomes H rows, row h with head h's part and zeros elsewhere. Times the inner models, one below the other,
  that is each head's vector times its own W, plus its own b.
* Of the clicks of the mini-batch it reads their sum alone, S = sum_j [k_j, 1]^T G_j, [f + 1, f] for each head, so its
  cost does not depend on K:  Zbar = [q, 1] [W; b] - tau_i [q, 1] S. Each head's part of a row stands there twice, for
  [W; b] and for S: a query's as ([q, 1], -tau_i [q, 1]), a key's as (0, [k, 1]).
* What depends on the slot, the rotation and that form, is an input that a host makes once for each (:class:`Slot`).
* ``inner`` changes once in K clicks and is only read. Keys and gradients, which a fold and a correction need, are
  given out and not taken in again.
* G is not centred: a constant added to all entries of a head's Zbar is taken out by the LayerNorm that follows.

With g = f + 1, by head: ``inner`` (0; [W; b]) and ``read`` ([W; b]; S), both [H 2 g, f]. Layers stand one after another
along the first axis of every array.
"""

import torch
import torch.nn.functional as F
from torch import nn

from recbole_cocorr.layers.rms_norm import RMSNorm
from recbole_cocorr.layers.ttt.inner_gradient import NORM_EPS
from recbole_cocorr.models.cocorrrec.block_graph import first_norm, join_graph
from recbole_cocorr.models.cocorrrec.network import CoCorrRec


def _by_head(rows: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Rows [H, f, n], each head's followed by one row of ``last`` [H, n]: [H (f + 1), n]."""
    return torch.cat([rows, last[:, None]], dim=1).flatten(0, 1)


def _with_zeros(by_head: torch.Tensor, f: int, first: bool) -> torch.Tensor:
    """Rows [H g, f] and as many zeros, which stand first or last for each head: [H 2 g, f]."""
    rows = by_head.view(-1, f + 1, f)
    pieces = [torch.zeros_like(rows), rows] if first else [rows, torch.zeros_like(rows)]
    return torch.cat(pieces, dim=1).flatten(0, 1)


class _ClickLayer(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        ttt = layer.ttt
        H, f = ttt.num_heads, ttt.head_width
        self.heads, self.width = H, f
        self.norm, self.post_norm, self.o_proj = RMSNorm(layer.input_norm), ttt.post_norm, ttt.o_proj
        self.join = join_graph(layer)
        with torch.no_grad():
            gamma, beta = ttt.inner_norm_weight, ttt.inner_norm_bias
            zero, one = torch.zeros(H, H * f), torch.ones(H, 1)
            both = [_by_head(p.weight.view(H, f, -1), zero) for p in (ttt.q_proj, ttt.k_proj)]
            self.register_buffer("both", torch.cat(both))  # [2 H (f + 1), d]
            self.register_buffer("ones", _by_head(torch.zeros(H, f, 1), one).flatten().repeat(2))
            # From rows by head: k gamma + beta gamma, less v gamma; and q + beta.
            unit = torch.eye(f).expand(H, f, f)
            self.register_buffer("aim", _with_zeros(_by_head(unit * gamma[:, None], beta * gamma), f, True))
            self.register_buffer("shift", _with_zeros(_by_head(unit, beta), f, False))
            self.register_buffer("less_value", -(ttt.v_proj.weight.view(H, f, -1) * gamma[..., None]).flatten(0, 1))
            self.register_buffer("gate", ttt.inner_lr_weight.detach().clone())  # [H, d]
            self.register_buffer("gate_bias", ttt.inner_lr_bias.detach().reshape(H, 1).clone())
            self.register_buffer("gamma", gamma.detach().clone())  # [H, f]
            self.register_buffer("squared", gamma * gamma)

    def forward(
        self, x: torch.Tensor, inner: torch.Tensor, read: torch.Tensor, turn: torch.Tensor, form: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Output [1, d], ``read``, the turned queries and keys [2 H, 2 g] and sigmoid(gate) G [H, f]."""
        H, f, before = self.heads, self.width, x
        x = self.norm(x)
        turned = F.linear(x, self.both, self.ones).view(2 * H, f + 1) @ turn
        rows = turned.view(2, 1, -1) * form
        q, k = rows[0], rows[1]
        xhat, _, rstd = torch.native_layer_norm(k @ inner, [f], None, None, NORM_EPS)
        residual = xhat * self.squared + torch.addmm(F.linear(x, self.less_value).view(H, f), k, self.aim)
        gate = torch.sigmoid(torch.addmm(self.gate_bias, self.gate, x.T))
        grad = (residual - xhat * (residual * xhat).mean(dim=-1, keepdim=True)) * (rstd * gate)
        read = torch.addmm(read, k.T, grad)
        heads = torch.addmm(F.layer_norm(q @ read, (f,), eps=NORM_EPS) * self.gamma, q, self.shift)
        return self.join(before, self.o_proj(self.post_norm(heads.view(1, H * f)))), read, turned, grad


class Click(nn.Module):
    """One click: item vector [1, d], ``inner`` and ``read`` [layers H 2 g, f], and ``turn`` and ``form`` of the slot.

    Gives the user vector [1, d], ``read``, the turned queries and keys, each followed by a 1 and all that once more,
    [layers 2 H, 2 g], and sigmoid(gate) G [layers H, f].
    """

    def __init__(self, model: CoCorrRec) -> None:
        super().__init__()
        self.first_norm = first_norm(model)
        self.layers = nn.ModuleList(_ClickLayer(layer) for layer in model.layers)
        self.final_norm = RMSNorm(model.final_norm)

    def forward(
        self, item: torch.Tensor, inner: torch.Tensor, read: torch.Tensor, turn: torch.Tensor, form: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        x, after, count = self.first_norm(item), [], len(self.layers)
        by_layer = [(inner, read, form)]
        if count > 1:
            by_layer = zip(*(array.chunk(count) for array in (inner, read, form)), strict=True)
        for layer, (own_inner, own_read, own_form) in zip(self.layers, by_layer, strict=True):
            x, *others = layer(x, own_inner, own_read, turn, own_form)
            after.append(others)
        if count > 1:
            return self.final_norm(x), *(torch.cat(pieces) for pieces in zip(*after, strict=True))
        return self.final_norm(x), *after[0]


class Slot(nn.Module):
    """What :class:`Click` needs of a slot (int64 [1]): ``turn`` [g, 2 g] and ``form`` [layers 2, H, H 2 g]."""

    def __init__(self, model: CoCorrRec) -> None:
        super().__init__()
        ttt = model.layers[0].ttt
        H, f = ttt.num_heads, ttt.head_width
        with torch.no_grad():
            turns = F.pad(ttt.rotation_matrices(ttt.W0), (0, 1, 0, 1))
            turns[:, f, f] = 1  # a matrix leaves the 1 alone
            self.register_buffer("turns", turns)
            own = torch.block_diag(*torch.ones(H, 1, 2 * f + 2))  # [H, H 2 g]
            second = torch.arange(H * (2 * f + 2)) % (2 * f + 2) > f
            pieces = [torch.stack([own * ~second, own * second]) for _ in model.layers]
            self.register_buffer("base", torch.cat(pieces))
            # Added so many times: -tau of the layer at the queries' second places.
            at = [torch.stack([own * second, own * 0]) for _ in model.layers]
            self.register_buffer("at", torch.cat(at))
            less = [-layer.ttt.token_steps(ttt.W0) * layer.ttt.base_rate for layer in model.layers]
            self.register_buffer("less", torch.stack(less, dim=1).repeat_interleave(2, dim=1))  # [K, layers 2]

    def forward(self, slot: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rotation = self.turns.index_select(0, slot)[0]
        less = self.less.index_select(0, slot).view(-1, 1, 1)
        return torch.cat([rotation, rotation], dim=1), self.base + less * self.at
