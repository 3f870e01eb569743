"""Mamba the slow, obvious way: one row, one click, one channel after another. Only the parameters are used."""

import torch
from torch import Tensor

from recbole_cocorr.layers.mamba import Mamba


def naive_scan(u, delta, A, B, C, D=None, h=None):
    """Algorithm 2 of arXiv 2312.00752 with a loop over clicks: y [batch, L, channels] and the last h."""
    h = u.new_zeros(u.shape[0], *A.shape) if h is None else h
    outputs = []
    for t in range(u.shape[1]):
        a = torch.exp(delta[:, t, :, None] * A)
        h = a * h + delta[:, t, :, None] * B[:, t, None, :] * u[:, t, :, None]
        y = (h * C[:, t, None, :]).sum(-1)
        outputs.append(y if D is None else y + D * u[:, t])
    return torch.stack(outputs, dim=1), h


def naive_mamba(block: Mamba, clicks: Tensor) -> Tensor:
    """Figure 3 of the paper for one row [L, d_model]."""
    inner, rank, states = block.d_inner, block.dt_rank, block.d_state
    weight, bias = block.conv1d.weight, block.conv1d.bias
    xs, gates = [], []
    for click in clicks:
        both = block.in_proj.weight @ click
        xs.append(both[:inner])
        gates.append(both[inner:])
    h = clicks.new_zeros(inner, states)
    outputs = []
    for t in range(len(clicks)):
        seen = []
        for c in range(inner):
            total = bias[c]
            for back in range(min(block.d_conv, t + 1)):
                total = total + weight[c, 0, block.d_conv - 1 - back] * xs[t - back][c]
            seen.append(total * torch.sigmoid(total))
        x = torch.stack(seen)
        selected = block.x_proj.weight @ x
        step = torch.log1p(torch.exp(block.dt_proj.weight @ selected[:rank] + block.dt_proj.bias))
        B, C = selected[rank : rank + states], selected[rank + states :]
        h = torch.exp(-torch.exp(block.A_log) * step[:, None]) * h + torch.outer(step * x, B)
        y = (h @ C + block.D * x) * gates[t] * torch.sigmoid(gates[t])
        outputs.append(block.out_proj.weight @ y)
    return torch.stack(outputs)
