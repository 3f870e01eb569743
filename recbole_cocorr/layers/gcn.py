"""The global correction network (GCN) of the cloud, and how the device applies what it sends."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from recbole_cocorr.layers.gru import Steps, is_fast, recurrence

# Added to the divisor of eq. 14.
MOMENT_EPS = 1e-6
# Width of the correction networks' hidden layers.
CORRECTION_WIDTH = 64


class Correction(NamedTuple):
    """What the cloud sends: A^ and B^, not yet normalised.

    With H = 4, K = 10, f = 16 these are 1,040 float32 numbers, 4,160 bytes, per user.

    Attributes
    ----------
    attention : torch.Tensor, shape [B, H, K, K]
        A^; the device reads its lower triangle.
    bias : torch.Tensor, shape [B, H, K, f]
        B^.
    """

    attention: torch.Tensor
    bias: torch.Tensor


def _moments(x: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (n - 1) of the masked entries of the last axis; 0 for a lone entry.

    The deviation's gradient is 0, not NaN, where all entries are alike.
    """
    if mask is None:
        count = torch.tensor(float(x.shape[-1]), dtype=x.dtype, device=x.device)
        mean = x.mean(dim=-1, keepdim=True)
        centred = x - mean
    else:
        count = mask.sum(dim=-1, keepdim=True).to(x.dtype)
        mean = (x * mask).sum(dim=-1, keepdim=True) / count.clamp_min(1)
        centred = (x - mean) * mask
    variance = centred.square().sum(dim=-1, keepdim=True) / (count - 1).clamp_min(1)
    varied = variance > 0
    deviation = torch.where(varied, variance, torch.ones_like(variance)).sqrt() * varied
    return mean, deviation


def match_moments(source: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Bring ``source`` to the mean and deviation of ``target`` along the last axis (eq. 14).

    Parameters
    ----------
    source, target : torch.Tensor, shape [..., n]
    mask : torch.Tensor of bool, shape [..., n], optional
        Entries that count; the others come out as 0.

    Returns
    -------
    torch.Tensor, shape [..., n]
    """
    if source.dtype in (torch.float16, torch.bfloat16):  # squares of small numbers vanish in half precision
        source = source.float()
    source_mean, source_deviation = _moments(source, mask)
    target_mean, target_deviation = _moments(target, mask)
    matched = (source - source_mean) / (source_deviation + MOMENT_EPS) * target_deviation + target_mean
    return matched if mask is None else matched * mask


class CorrectionFusion(nn.Module):
    """The device's share of the correction: two learned scalars (eq. 15).

    A <- A + alpha A^, bbar <- bbar + beta B^, with A^ and B^ normalised by :func:`match_moments`. They
    start at 0 and 0.25.
    """

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(()))
        self.beta = nn.Parameter(torch.full((), 0.25))

    def fuse_attention(self, attention: torch.Tensor, sent: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Corrected A: zero outside ``mask``, the entries that a row may read."""
        return attention * mask + self.alpha * match_moments(sent, attention, mask)

    def fuse_bias(self, bias: torch.Tensor, sent: torch.Tensor) -> torch.Tensor:
        """Corrected bbar."""
        return bias + self.beta * match_moments(sent, bias)


class CorrectionNetwork(nn.Module):
    """One of the two networks of eq. 13: a GRU that pools X, then a three-layer bias-free MLP.

    Parameters
    ----------
    hidden_size : int
        Width d of X.
    output_size : int
    initializer_range : float
        Standard deviation of the linear layers; the GRU keeps torch's initialisation.
    """

    def __init__(self, hidden_size: int, output_size: int, initializer_range: float = 0.02):
        super().__init__()
        self.gru = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.fc1 = nn.Linear(hidden_size, CORRECTION_WIDTH, bias=False)
        self.fc2 = nn.Linear(CORRECTION_WIDTH, CORRECTION_WIDTH, bias=False)
        self.fc3 = nn.Linear(CORRECTION_WIDTH, output_size, bias=False)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.normal_(layer.weight, std=initializer_range)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Map X [B, L, d] with its real lengths [B] to [B, output_size].

        A row without a real step gives what its first, padded step gives.
        """
        steps, _ = self.gru(x)
        place = (lengths - 1).clamp_min(0).view(-1, 1, 1).expand(-1, 1, steps.shape[-1])
        return self.read(steps.gather(1, place).squeeze(1))

    def read(self, last: torch.Tensor) -> torch.Tensor:
        """Map the GRU's hidden state after the last real step [B, d] to [B, output_size]."""
        hidden = F.leaky_relu(self.fc1(last), 0.01)
        return self.fc3(F.leaky_relu(self.fc2(hidden), 0.01))


class GlobalCorrectionNetwork(nn.Module):
    """GCN: uploaded hidden states to a correction (eq. 13).

    Parameters
    ----------
    hidden_size, num_heads, mini_batch_size : int
        d, H and K.
    initializer_range : float
    """

    def __init__(self, hidden_size: int, num_heads: int, mini_batch_size: int, initializer_range: float = 0.02):
        super().__init__()
        width = hidden_size // num_heads
        self.attention_shape = (num_heads, mini_batch_size, mini_batch_size)
        self.bias_shape = (num_heads, mini_batch_size, width)
        self.attention_net = CorrectionNetwork(hidden_size, num_heads * mini_batch_size**2, initializer_range)
        self.bias_net = CorrectionNetwork(hidden_size, num_heads * mini_batch_size * width, initializer_range)

    @torch.compiler.disable  # torch compiles no GRU
    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Correction:
        """Compute the correction of X.

        Parameters
        ----------
        x : torch.Tensor, shape [B, L, d]
            X, padding at the end.
        lengths : torch.Tensor of int64, shape [B]

        Returns
        -------
        Correction
        """
        if is_fast(self.attention_net.gru, x):  # on real steps alone, which are packed once
            steps = Steps.of(lengths, x.shape[1])
            packed = steps.pack(x)
            attention, bias = (
                net.read(recurrence(packed, steps, net.gru).index_select(0, steps.last).to(x.dtype))
                for net in (self.attention_net, self.bias_net)
            )
        else:
            attention, bias = self.attention_net(x, lengths), self.bias_net(x, lengths)
        return Correction(attention.view(-1, *self.attention_shape), bias.view(-1, *self.bias_shape))
