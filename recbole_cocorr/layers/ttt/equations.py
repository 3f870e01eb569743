"""The equations of the layer, each written once; the letters are explained in :mod:`recbole_cocorr.layers.ttt`.

The forms differ in which clicks stand where, so every function takes any leading axes.
"""

from typing import NamedTuple

import torch

from recbole_cocorr.layers.correction import Correction, CorrectionFusion


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """``x``, in float32 where it is of half precision.

    The inner model sums and divides small numbers, where half precision loses them and float16 overflows.
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def token_steps(shares: torch.Tensor, token_scale: torch.Tensor) -> torch.Tensor:
    """tau_i = max(0, 1 / i + p_i), from ``shares`` 1 / i and p, both [K]."""
    return (shares + token_scale).clamp_min(0)


def learning_rates(gates: torch.Tensor, bias: torch.Tensor, base_rate: float) -> torch.Tensor:
    """lr of clicks, from their ``gates`` [..., H], the gates' bias [H] and base_lr / f."""
    return torch.sigmoid(gates + bias.to(gates.dtype)) * base_rate


def descend(start: torch.Tensor, step: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """``start`` after one step of gradient descent, start - tau * gradient.

    W' from W and S_W, b' and bbar from b and S_b, and the first two terms of Zbar from Q W and A g (eqs. 6-7).
    """
    return start - step * gradient


class InnerModel(NamedTuple):
    """The inner models of all heads at the start of a mini-batch.

    Attributes
    ----------
    W : torch.Tensor, shape [H, f, f] where all rows share it, or [H, B, f, f]
    b : torch.Tensor, shape [H, 1, 1, f] or [H, B, 1, f]
    """

    W: torch.Tensor
    b: torch.Tensor

    def read(self, x: torch.Tensor) -> torch.Tensor:
        """x W of x [H, B, R, f]: one product per head where all rows share W."""
        return x @ self.W if self.W.dim() == 4 else (x.flatten(1, 2) @ self.W).view(x.shape)

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """x W + b; of the keys, this is Z (eqs. 1-3)."""
        return self.read(x) + self.b

    def learn(self, step: torch.Tensor, keys: torch.Tensor, gradients: torch.Tensor) -> "InnerModel":
        """W' and b' after a mini-batch of ``keys`` and g [H, B, R, f]; ``step`` is tau_K (eqs. 6-7)."""
        W = self.W if self.W.dim() == 4 else self.W[:, None]
        return InnerModel(
            descend(W, step, outer_sum(keys, gradients)), descend(self.b, step, gradients.sum(dim=2, keepdim=True))
        )


def outer_sum(keys: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """S_W of some clicks: the sum of k^T g, [..., f, f], from both as [..., C, f]."""
    return keys.transpose(-1, -2) @ gradients


class Reading(NamedTuple):
    """What some queries read of their mini-batch.

    Attributes
    ----------
    product : torch.Tensor, shape [..., R, f]
        Q W.
    steps : torch.Tensor, broadcastable to [..., R, 1]
        tau of the queries' slots.
    attention : torch.Tensor, shape [..., R, C]
        Q K^T, of which A is what ``mask`` leaves.
    gradients : torch.Tensor, shape [..., C, f]
        g of the clicks.
    mask : torch.Tensor of bool, broadcastable to [..., R, C]
        The clicks that a query may read: its own and those before it.
    """

    product: torch.Tensor
    steps: torch.Tensor
    attention: torch.Tensor
    gradients: torch.Tensor
    mask: torch.Tensor


def mix(reading: Reading, b: torch.Tensor) -> torch.Tensor:
    """Zbar (eqs. 6-7) [..., R, f], from b at the start of the mini-batch.

    eta * A and eta act on the same gradients, so both are one product, with A + 1.
    """
    weights = (reading.attention + 1) * reading.mask
    return descend(reading.product + b, reading.steps, weights @ reading.gradients)


def mix_corrected(reading: Reading, bbar: torch.Tensor, sent: Correction, fusion: CorrectionFusion) -> torch.Tensor:
    """Zbar (eqs. 6-7) [..., R, f] with A and bbar corrected (eqs. 14-15), from bbar of the queries."""
    attention, bbar = fusion.fuse(reading.attention, bbar, sent, reading.mask)
    return descend(reading.product, reading.steps, attention @ reading.gradients) + bbar
