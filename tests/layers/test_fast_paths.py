"""The fast paths of the layers against their plain twins: value and every gradient."""

import pytest
import torch
from torch import nn

from recbole_cocorr.layers import CorrectionFusion, GlobalCorrectionNetwork, TTTLinear
from recbole_cocorr.layers.gru import is_fast
from recbole_cocorr.layers.ttt import last as last_form
from recbole_cocorr.layers.ttt import mini_batches
from recbole_cocorr.layers.ttt.inner_gradient import NORM_EPS, inner_gradient


def shaken(module: nn.Module) -> nn.Module:
    """No parameter at a special value such as 0 or 1, and large enough that every term counts."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.3)
    return module


def gradients(value: torch.Tensor, *of: torch.Tensor) -> list[torch.Tensor | None]:
    weight = torch.randn(value.shape, generator=torch.Generator().manual_seed(2), dtype=value.dtype)
    return torch.autograd.grad((value * weight).sum(), of, allow_unused=True)


def assert_same(a: list[torch.Tensor | None], b: list[torch.Tensor | None], atol: float = 1e-10) -> None:
    for one, other in zip(a, b, strict=True):
        zero = next(torch.zeros_like(t) for t in (one, other, torch.zeros(())) if t is not None)
        torch.testing.assert_close(zero if one is None else one, zero if other is None else other, rtol=1e-9, atol=atol)


def inner_loss(keys, values, z, gamma, beta):
    mean = z.mean(-1, keepdim=True)
    normed = (z - mean) / ((z - mean).square().mean(-1, keepdim=True) + NORM_EPS).sqrt() * gamma + beta
    return 0.5 * (normed - (values - keys)).square().sum()


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 2), (3, 2, 16)])
def test_the_inner_gradient_is_autograds_and_so_is_its_own_gradient(shape):
    generator = torch.Generator().manual_seed(0)
    heads = (shape[0], *[1] * (len(shape) - 2), shape[-1])
    parts = [
        torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True)
        for s in (shape, shape, shape, heads, heads)
    ]
    (slow,) = torch.autograd.grad(inner_loss(*parts), parts[2], create_graph=True)
    fast = inner_gradient(*parts)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    assert_same(gradients(fast, *parts), gradients(slow, *parts))
    assert torch.autograd.gradcheck(inner_gradient, parts)


def test_the_inner_gradient_of_equal_entries_is_finite():
    parts = [torch.zeros(2, 3, 4, requires_grad=True) for _ in range(3)]
    gamma, beta = torch.ones(2, 1, 4, requires_grad=True), torch.ones(2, 1, 4, requires_grad=True)
    value = inner_gradient(*parts, gamma, beta)
    assert all(torch.isfinite(g).all() for g in (value, *gradients(value, *parts, gamma, beta)))


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("shortest", ["none", "one less", "all"])
@pytest.mark.parametrize("heads", [2, 3])
@pytest.mark.parametrize(("length", "size"), [(1, 1), (7, 1), (5, 8), (10, 10), (11, 10), (23, 4), (12, 3)])
def test_the_last_position_alone_is_that_of_all_positions(length, size, heads, shortest, corrected):
    layer = shaken(TTTLinear(12, heads, size).double())
    fusion = shaken(CorrectionFusion().double())
    gcn = shaken(GlobalCorrectionNetwork(12, heads, size).double())
    generator = torch.Generator().manual_seed(3)
    # Packed without padding, padded because there is little of it, and without any.
    lengths = torch.full((9,), length)
    if shortest == "none":
        lengths = torch.cat([torch.tensor([0, 1, length]), torch.randint(1, length + 1, (6,), generator=generator)])
    elif shortest == "one less":
        lengths[4] = max(1, length - 1)
    x = torch.randn(9, length, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    place = (lengths - 1).clamp_min(0).view(-1, 1, 1).expand(-1, 1, 12)

    def correction():
        return {"correction": gcn(x, lengths), "fusion": fusion} if corrected else {}

    fast = layer.forward_last(x, lengths, **correction())
    slow = layer(x, **correction()).gather(1, place).squeeze(1)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    parameters = [x, *layer.parameters(), *fusion.parameters(), *gcn.parameters()]
    assert_same(gradients(fast, *parameters), gradients(slow, *parameters))


@pytest.mark.parametrize(("length", "short"), [(3, True), (4, True), (5, False)])
def test_what_fits_one_mini_batch_takes_the_short_way(monkeypatch, length, short):
    taken, real = [], last_form.last_of_one_mini_batch
    monkeypatch.setattr(last_form, "last_of_one_mini_batch", lambda *args: taken.append(1) or real(*args))
    TTTLinear(12, 3, 4).forward_last(torch.randn(2, 6, 12), torch.tensor([1, length]))
    assert bool(taken) is short


@pytest.mark.parametrize("at_once", [1, 30, 100])
def test_projecting_a_few_mini_batches_at_a_time_changes_nothing(monkeypatch, at_once):
    layer = shaken(TTTLinear(12, 3, 4).double())
    generator = torch.Generator().manual_seed(5)
    lengths = torch.tensor([23, 1, 8, 9, 0])
    x = torch.randn(5, 23, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    parameters = [x, *layer.parameters()]
    whole = layer(x), layer.forward_last(x, lengths)
    monkeypatch.setattr(mini_batches, "CLICKS_AT_ONCE", at_once)
    parts = layer(x), layer.forward_last(x, lengths)
    for a, b in zip(parts, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
        assert_same(gradients(a, *parameters), gradients(b, *parameters))


def test_the_last_position_needs_a_position():
    layer = TTTLinear(8, 2, 4)
    with pytest.raises(ValueError, match="at least one"):
        layer.forward_last(torch.zeros(2, 0, 8), torch.zeros(2, dtype=torch.int64))
    assert layer.forward_last(torch.zeros(0, 3, 8), torch.zeros(0, dtype=torch.int64)).shape == (0, 8)


def test_leaving_the_padding_out_of_the_gru_changes_nothing():
    gcn = shaken(GlobalCorrectionNetwork(8, 2, 4).double())
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(6, 9, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([2, 0, 9, 1, 3, 2])
    assert is_fast(gcn.bias_net.gru, x)
    fast = gcn(x, lengths)
    for name, net in (("attention", gcn.attention_net), ("bias", gcn.bias_net)):
        value = getattr(fast, name)
        slow = net(x, lengths).view(value.shape)
        torch.testing.assert_close(value, slow, rtol=1e-9, atol=1e-12)
        parameters = [x, *net.parameters()]
        assert_same(
            gradients(getattr(gcn(x, lengths), name), *parameters),
            gradients(net(x, lengths).view(value.shape), *parameters),
        )
