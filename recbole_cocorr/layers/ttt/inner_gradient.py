"""Gradient of the inner model's loss, and that gradient's own derivative, both in closed form.

The outer training differentiates through the inner step, so G needs a backward pass. Written out, it is two
of torch's fused LayerNorm kernels and a dozen element-wise operations, where autograd would record
and replay some forty.
"""

from typing import NamedTuple

import torch
from torch.autograd.function import FunctionCtx, once_differentiable

NORM_EPS = 1e-6


def inner_gradient(
    keys: torch.Tensor, values: torch.Tensor, prediction: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor
) -> torch.Tensor:
    """Gradient G of the inner loss with respect to Z.

    The loss is 1/2 || LN(Z) - (v - k) ||^2 with LN(Z) = gamma * xhat + beta, xhat = (Z - mean) / sigma.
    With r = (LN(Z) - (v - k)) * gamma:  G = (r - mean(r) - xhat * mean(r * xhat)) / sigma.

    Parameters
    ----------
    keys, values, prediction : torch.Tensor, shape [..., f]
        k, v and Z = k W + b, of one shape and type.
    gamma, beta : torch.Tensor, broadcastable to [..., f]

    Returns
    -------
    torch.Tensor, shape [..., f]
    """
    if torch.compiler.is_compiling():  # also torch.export: the compiler fuses, and knows these operations
        return _composed(keys, values, prediction, gamma, beta)
    gamma, beta = gamma.to(prediction.dtype), beta.to(prediction.dtype)
    if not torch.is_grad_enabled():
        return _fused(keys, values, prediction.contiguous(), gamma, beta).gradient
    return _InnerGradient.apply(keys, values, prediction, gamma, beta)


def _composed(
    keys: torch.Tensor, values: torch.Tensor, prediction: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor
) -> torch.Tensor:
    """G in plain operations."""
    centred = prediction - prediction.mean(dim=-1, keepdim=True)
    rstd = (centred.square().mean(dim=-1, keepdim=True) + NORM_EPS).rsqrt()
    xhat = centred * rstd
    residual = (xhat * gamma + (beta + keys - values)) * gamma
    pull = (residual * xhat).mean(dim=-1, keepdim=True)
    return (residual - residual.mean(dim=-1, keepdim=True) - xhat * pull) * rstd


def _project(grad: torch.Tensor, z: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor) -> torch.Tensor:
    """(y - mean(y) - xhat * mean(y * xhat)) / sigma: a LayerNorm's backward, one fused kernel."""
    norm = [z.shape[-1]]
    return torch.ops.aten.native_layer_norm_backward(grad, z, norm, mean, rstd, None, None, [True, False, False])[0]


class _Gradient(NamedTuple):
    """G, and what its derivative needs; all of the shape of Z but the mean and 1 / sigma, [..., 1]."""

    xhat: torch.Tensor
    mean: torch.Tensor
    rstd: torch.Tensor
    offset: torch.Tensor
    residual: torch.Tensor
    gradient: torch.Tensor


def _fused(
    keys: torch.Tensor, values: torch.Tensor, z: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor
) -> _Gradient:
    """G by torch's fused LayerNorm kernels."""
    xhat, mean, rstd = torch.native_layer_norm(z, [z.shape[-1]], None, None, NORM_EPS)
    offset = keys - values
    offset += beta
    residual = torch.addcmul(offset, xhat, gamma) * gamma
    return _Gradient(xhat, mean, rstd, offset, residual, _project(residual, z, mean, rstd))


def _to_shape(grad: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return grad.sum_to_size(like.shape)


class _InnerGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        keys: torch.Tensor,
        values: torch.Tensor,
        z: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
    ) -> torch.Tensor:
        z = z.contiguous()
        result = _fused(keys, values, z, gamma, beta)
        ctx.save_for_backward(z, *result, gamma, beta)
        return result.gradient

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        z, xhat, mean, rstd, offset, residual, gradient, gamma, beta = ctx.saved_tensors
        width = z.shape[-1]
        # G = P(r) / sigma with the symmetric P(y) = y - mean(y) - xhat mean(y xhat).
        grad = grad.contiguous()
        of_residual = _project(grad, z, mean, rstd)
        of_target = of_residual * gamma
        # What reaches xhat: through P, and through r = (gamma xhat + beta + k - v) gamma.
        pull_r = (residual * xhat).sum(dim=-1, keepdim=True) * (rstd / width)
        pull_g = (grad * xhat).sum(dim=-1, keepdim=True) * (rstd / width)
        of_xhat = of_target * gamma
        of_xhat -= grad * pull_r
        of_xhat -= residual * pull_g
        of_z = _project(of_xhat, z, mean, rstd)
        # ... and what reaches 1 / sigma.
        of_z -= xhat * ((grad * gradient).sum(dim=-1, keepdim=True) * (rstd / width))
        of_gamma = of_beta = None
        if ctx.needs_input_grad[3]:
            of_gamma = _to_shape(of_residual * torch.addcmul(offset, xhat, 2 * gamma), gamma)
        if ctx.needs_input_grad[4]:
            of_beta = _to_shape(of_target, beta)
        return of_target, -of_target if ctx.needs_input_grad[1] else None, of_z, of_gamma, of_beta
