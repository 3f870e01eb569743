"""How the device applies what the cloud sends (eqs. 14-15): bring it to the moments of the device's own, and add it."""

from typing import NamedTuple

import torch
from torch import nn

# Added to the divisor of eq. 14.
MOMENT_EPS = 1e-6


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

    def first(self, size: int) -> "Correction":
        """What the first ``size`` clicks of a mini-batch read of each other: A^ [B, H, R, R] and B^ [B, H, R, f]."""
        return Correction(self.attention[:, :, :size, :size], self.bias[:, :, :size])

    def at(self, slot: torch.Tensor) -> "Correction":
        """What one click of each row reads: A^ [B, H, 1, K] and B^ [B, H, 1, f] of its ``slot`` [B]."""
        index = slot.view(-1, 1, 1, 1)
        return Correction(*(t.gather(2, index.expand(-1, t.shape[1], 1, t.shape[3])) for t in self))

    def transposed(self) -> "Correction":
        """The same with heads before rows: [H, B, ...]."""
        return Correction(self.attention.transpose(0, 1), self.bias.transpose(0, 1))


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

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(()))
        self.beta = nn.Parameter(torch.full((), 0.25))

    def fuse_attention(self, attention: torch.Tensor, sent: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Corrected A: zero outside ``mask``, the entries that a row may read."""
        return attention * mask + self.alpha * match_moments(sent, attention, mask)

    def fuse_bias(self, bias: torch.Tensor, sent: torch.Tensor) -> torch.Tensor:
        """Corrected bbar."""
        return bias + self.beta * match_moments(sent, bias)

    def fuse(
        self, attention: torch.Tensor, bias: torch.Tensor, sent: Correction, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Corrected A and bbar (eqs. 14-15).

        Parameters
        ----------
        attention : torch.Tensor, shape [..., R, C]
            A of R queries and C keys.
        bias : torch.Tensor, shape [..., R, f]
            bbar.
        sent : Correction
            A^ and B^ of the same rows, in the same shapes.
        mask : torch.Tensor of bool, broadcastable to A
            The clicks that a query may read.
        """
        return self.fuse_attention(attention, sent.attention, mask), self.fuse_bias(bias, sent.bias)
