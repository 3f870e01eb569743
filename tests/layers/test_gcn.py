"""The cloud's network: the naive loop over ragged rows, padding, and the two payloads."""

import pytest
import torch

from recbole_cocorr.layers import GlobalCorrectionNetwork
from tests.layers import assert_same, gradients, random_clicks
from tests.reference.gcn_naive import naive_gcn


def random_gcn(hidden: int, heads: int, size: int, dtype: torch.dtype = torch.float64) -> GlobalCorrectionNetwork:
    generator = torch.Generator().manual_seed(hidden)
    gcn = GlobalCorrectionNetwork(hidden, heads, size).to(dtype)
    with torch.no_grad():
        for parameter in gcn.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.5 * noise / parameter.shape[-1] ** 0.5 if parameter.dim() > 1 else 0.5 * noise)
    return gcn


@pytest.mark.parametrize(
    ("hidden", "heads", "size", "lengths"),
    [
        (8, 2, 3, [5, 1, 3, 0, 5, 4]),
        (12, 3, 1, [2, 7, 7]),
        (64, 4, 10, [10, 2]),
        (8, 1, 4, [1]),
        (8, 2, 2, [3, 3, 3]),
        (8, 2, 2, [6, 5, 6, 4]),  # nearly full: padded steps are not worth leaving out
        (8, 2, 2, [0, 0]),
    ],
)
def test_equals_the_naive_loop(hidden, heads, size, lengths):
    """Values and every gradient; rows in any order of length, an empty one among them or alone."""
    gcn = random_gcn(hidden, heads, size)
    x, lengths = random_clicks(len(lengths), max(*lengths, 2), hidden), torch.tensor(lengths)
    got, expected = gcn(x, lengths), naive_gcn(gcn, x, lengths)
    assert got.attention.shape == (len(lengths), heads, size, size)
    assert got.bias.shape == (len(lengths), heads, size, hidden // heads)
    assert_same(got._asdict(), expected._asdict())
    named = {**dict(gcn.named_parameters()), "x": x}
    losses = [(c.attention.sin().sum() + (2 * c.bias).sin().sum()) for c in (got, expected)]
    assert_same(gradients(losses[0], named), gradients(losses[1], named))


def test_each_part_has_its_own_network():
    gcn, x = random_gcn(8, 2, 3), random_clicks(2, 4, 8)
    sent = gcn(x, torch.tensor([4, 2]))
    named = dict(gcn.named_parameters())
    for part, network in (("attention", "attention_net."), ("bias", "bias_net.")):
        for name, grad in gradients(getattr(sent, part).square().sum(), named).items():
            assert bool(grad.any()) == name.startswith(network), (part, name)


@pytest.mark.parametrize("lengths", [[6, 1, 0, 3, 5], [6, 5, 6, 6, 5]], ids=["ragged", "nearly full"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_padding_is_never_seen(dtype, lengths):
    """An empty row is read as its first position, so that position is not padding here."""
    gcn, x = random_gcn(8, 2, 3, dtype), random_clicks(5, 6, 8, dtype=dtype)
    lengths = torch.tensor(lengths)
    read = (torch.arange(6) < lengths.clamp_min(1)[:, None])[..., None]
    noise = torch.where(read, x, 100 * torch.randn_like(x))
    longer = torch.cat([noise, torch.randn(5, 3, 8, dtype=dtype)], dim=1)
    expected = gcn(x, lengths)
    for padded in (noise, longer):
        assert_same(gcn(padded, lengths)._asdict(), expected._asdict(), rtol=1e-12 if dtype == torch.float64 else 1e-6)
    (reach,) = torch.autograd.grad(sum(t.square().sum() for t in expected), x)
    assert not (reach * ~read).any()
    assert (reach.abs().amax(dim=2) > 0).equal(read[..., 0])


def test_rows_do_not_see_each_other():
    gcn, x = random_gcn(8, 2, 3), random_clicks(4, 6, 8)
    lengths = torch.tensor([2, 6, 0, 4])
    whole = gcn(x, lengths)
    for row in range(4):
        alone = gcn(x[row : row + 1], lengths[row : row + 1])
        assert_same(alone._asdict(), {n: t[row : row + 1] for n, t in whole._asdict().items()}, rtol=1e-12)


def test_payloads_are_the_papers():
    """Table 5: 2.56 KB of hidden states up, 4.16 KB of correction down."""
    gcn = GlobalCorrectionNetwork(64, 4, 10)
    x = torch.randn(1, 10, 64)
    sent = gcn(x, torch.tensor([10]))
    assert x.numel() * x.element_size() == 2560
    assert sum(t.numel() * t.element_size() for t in sent) == 4160
    assert [tuple(t.shape) for t in sent] == [(1, 4, 10, 10), (1, 4, 10, 16)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_autocast_is_finite(dtype):
    gcn, x = random_gcn(8, 2, 3, torch.float32), random_clicks(3, 5, 8, dtype=torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        sent = gcn(x, torch.tensor([5, 1, 0]))
    assert all(torch.isfinite(t).all() for t in sent)
    sum(t.float().square().sum() for t in sent).backward()
    assert torch.isfinite(x.grad).all() and all(torch.isfinite(p.grad).all() for p in gcn.parameters())


def test_gradcheck():
    gcn, x = random_gcn(4, 1, 2), random_clicks(2, 3, 4)
    lengths = torch.tensor([3, 1])
    names = [n for n, _ in gcn.named_parameters() if "gru" in n or "fc1" in n]
    values = [dict(gcn.named_parameters())[n] for n in names]

    def run(x, *rest):
        return tuple(torch.func.functional_call(gcn, dict(zip(names, rest, strict=True)), (x, lengths)))

    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)
