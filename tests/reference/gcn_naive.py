"""The networks of eq. 13, one row and one real step at a time."""

import torch
from torch import Tensor, nn

from recbole_cocorr.layers import Correction, GlobalCorrectionNetwork


def gru_last(gru: nn.GRU, steps: Tensor) -> Tensor:
    """Hidden state after the steps [n, d], from zeros; torch's layout of the three gates (r, z, n)."""
    hidden = steps.new_zeros(gru.hidden_size)
    for x_t in steps:
        of_x = (gru.weight_ih_l0 @ x_t + gru.bias_ih_l0).chunk(3)
        of_h = (gru.weight_hh_l0 @ hidden + gru.bias_hh_l0).chunk(3)
        r = torch.sigmoid(of_x[0] + of_h[0])
        z = torch.sigmoid(of_x[1] + of_h[1])
        n = torch.tanh(of_x[2] + r * of_h[2])
        hidden = (1 - z) * n + z * hidden
    return hidden


def mlp(network: nn.Module, hidden: Tensor) -> Tensor:
    def leaky(t: Tensor) -> Tensor:
        return torch.where(t > 0, t, 0.01 * t)

    hidden = leaky(network.fc1.weight @ hidden)
    hidden = leaky(network.fc2.weight @ hidden)
    return network.fc3.weight @ hidden


def naive_gcn(gcn: GlobalCorrectionNetwork, x: Tensor, lengths: Tensor) -> Correction:
    """A^ and B^ of X [B, L, d]; a row without a real step is read as one with its first position."""
    real = [row[: max(int(n), 1)] for row, n in zip(x, lengths, strict=True)]
    attention = [mlp(gcn.attention_net, gru_last(gcn.attention_net.gru, steps)) for steps in real]
    bias = [mlp(gcn.bias_net, gru_last(gcn.bias_net.gru, steps)) for steps in real]
    return Correction(
        torch.stack(attention).reshape(-1, *gcn.attention_shape), torch.stack(bias).reshape(-1, *gcn.bias_shape)
    )
