"""Layers whose every parameter has been moved off its start, and random inputs for them."""

import torch

from recbole_cocorr.layers import Correction, CorrectionFusion, TTTLinear


def random_layer(
    hidden: int, heads: int, size: int, seed: int = 0, dtype: torch.dtype = torch.float64, clamped: bool = True
) -> TTTLinear:
    """A layer with numbers of order 1, so that no term of the arithmetic is too small to show.

    ``clamped``: the third token of every mini-batch has the scale 0, as max(0, 1/3 + p) makes it.
    """
    generator = torch.Generator().manual_seed(seed)
    layer = TTTLinear(hidden, heads, size).to(dtype)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            spread = hidden**-0.5 if "proj" in name else 0.2 if name == "token_scale" else 0.5
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * spread
            keep = 1.0 if name in ("inner_norm_weight", "post_norm.weight") else 0.0
            parameter.copy_(noise + keep)
        least = 0.1 - 1 / torch.arange(1, size + 1)
        layer.token_scale.copy_(torch.maximum(layer.token_scale, least))
        if clamped and size > 2:
            layer.token_scale[2] = -1.0
    return layer


def random_clicks(rows: int, length: int, hidden: int, seed: int = 1, dtype: torch.dtype = torch.float64):
    """X [B, L, d], requires grad."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, length, hidden, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def random_correction(rows: int, layer: TTTLinear, seed: int = 2) -> tuple[Correction, CorrectionFusion]:
    """A correction for ``layer``, both parts require grad, and a fusion with alpha and beta off zero."""
    generator = torch.Generator().manual_seed(seed)
    heads, size, width = layer.num_heads, layer.mini_batch_size, layer.head_width
    parts = [
        torch.randn(rows, heads, size, last, generator=generator, dtype=torch.float64).to(layer.W0.dtype) * 0.3
        for last in (size, width)
    ]
    fusion = CorrectionFusion().to(layer.W0.dtype)
    with torch.no_grad():
        fusion.alpha.fill_(-0.5)
        fusion.beta.fill_(0.4)
    return Correction(*(p.requires_grad_() for p in parts)), fusion


def sources(layer: TTTLinear, x: torch.Tensor, correction=None, fusion=None) -> dict[str, torch.Tensor]:
    """Everything that a gradient can be asked for."""
    named = {**dict(layer.named_parameters()), "x": x}
    if correction is not None:
        named |= {"attention": correction.attention, "bias": correction.bias}
        named |= {f"fusion.{n}": p for n, p in fusion.named_parameters()}
    return named


def gradients(loss: torch.Tensor, named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gradient of ``loss`` by name; zeros where it does not depend on the tensor."""
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(named.items(), found, strict=True)}


def assert_same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], rtol: float = 1e-9) -> None:
    """Equal up to ``rtol`` times the largest entry of each tensor."""
    assert set(actual) == set(expected)
    for name, value in expected.items():
        scale = max(1.0, float(value.detach().abs().max())) if value.numel() else 1.0
        torch.testing.assert_close(
            actual[name], value, rtol=0, atol=rtol * scale, msg=lambda text, name=name: f"{name}: {text}"
        )
