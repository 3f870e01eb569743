"""The GRU with its gradient in closed form against torch's: outputs, last states and every gradient."""

import pytest
import torch
from torch import nn

from recbole_cocorr.layers.gru import GRU, Steps, is_fast, known_lengths
from tests.layers.test_fast_paths import assert_same, gradients, shaken


def pair(inputs: int, hidden: int, **options) -> tuple[GRU, nn.GRU]:
    """Ours and torch's with the same weights in float64."""
    ours = shaken(GRU(inputs, hidden, batch_first=True, **options).double())
    theirs = nn.GRU(inputs, hidden, batch_first=True, **options).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def sequences(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)


SHAPES = [(1, 1, 1, 1), (7, 9, 6, 5), (3, 2, 4, 4), (2, 11, 3, 8)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("rows", "length", "inputs", "hidden"), SHAPES)
def test_every_step_of_every_row(rows, length, inputs, hidden, layers, bias):
    ours, theirs = pair(inputs, hidden, num_layers=layers, bias=bias)
    x = sequences(rows, length, inputs)
    assert is_fast(ours, x)
    fast, slow = ours(x), theirs(x)
    for part in (0, 1):
        torch.testing.assert_close(fast[part], slow[part], rtol=1e-9, atol=1e-12)
        assert_same(
            gradients(ours(x)[part], x, *ours.parameters()), gradients(theirs(x)[part], x, *theirs.parameters())
        )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("lengths", [[3, 9, 1, 5, 5, 2], [1, 1, 1, 1, 1, 1], [9, 9, 9, 9, 9, 9], [0, 4, 9, 0, 7, 12]])
def test_real_steps_alone(lengths, layers, bias):
    ours, theirs = pair(4, 5, num_layers=layers, bias=bias)
    x, lengths = sequences(6, 9, 4), torch.tensor(lengths)
    real = (torch.arange(9) < lengths.clamp(1, 9)[:, None]).unsqueeze(-1)
    last = (lengths.clamp(1, 9) - 1).view(-1, 1, 1).expand(-1, 1, 5)

    def ragged():
        with known_lengths(ours, lengths):
            return ours(x)

    slow = theirs(x)[0]
    torch.testing.assert_close(ragged()[0], slow * real, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ragged()[1][-1], slow.gather(1, last).squeeze(1), rtol=1e-9, atol=1e-12)
    assert_same(gradients(ragged()[0], x, *ours.parameters()), gradients(theirs(x)[0] * real, x, *theirs.parameters()))
    assert ours.lengths is None, "forgotten afterwards"


def test_gradcheck():
    ours, _ = pair(3, 4)
    x = sequences(4, 5, 3)

    def ragged(x, *weights):
        with known_lengths(ours, torch.tensor([2, 5, 1, 4])):
            return torch.func.functional_call(ours, dict(zip(names, weights, strict=True)), (x,))

    names = [name for name, _ in ours.named_parameters()]
    assert torch.autograd.gradcheck(ragged, (x, *ours.parameters()))


def test_a_frozen_weight_has_no_gradient_and_leaves_the_others():
    ours, theirs = pair(3, 4)
    for gru in (ours, theirs):
        gru.weight_hh_l0.requires_grad_(False)
        gru.bias_ih_l0.requires_grad_(False)
    x = sequences(4, 5, 3)
    learning = [[p for p in gru.parameters() if p.requires_grad] for gru in (ours, theirs)]
    assert_same(gradients(ours(x)[0], x, *learning[0]), gradients(theirs(x)[0], x, *learning[1]))


def test_steps_stand_longest_row_first():
    steps = Steps.of(torch.tensor([2, 0, 3, 1]), 4)
    assert steps.rows == [4, 2, 1]
    assert steps.index.tolist() == [8, 0, 4, 12, 9, 1, 10]
    assert [int(steps.index[i]) for i in steps.last] == [1, 4, 10, 12]


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"batch_first": False}])
def test_other_kinds_are_torchs_own(options):
    options = {"batch_first": True, **options}
    ours, theirs = GRU(3, 4, **options), nn.GRU(3, 4, **options)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 3, requires_grad=True)
    assert not is_fast(ours, x)
    assert torch.equal(ours(x)[0], theirs(x)[0])
    state = torch.randn(2 if options.get("bidirectional") else 1, 2 if options["batch_first"] else 5, 4)
    assert torch.equal(ours(x, state)[0], theirs(x, state)[0])


def test_dropout_between_layers():
    ours, _ = pair(3, 4, num_layers=2, dropout=0.5)
    x = sequences(4, 5, 3)
    torch.manual_seed(0)
    once, again = ours(x)[0], ours(x)[0]
    assert not torch.equal(once, again)
    ours.eval()
    assert torch.equal(ours(x)[0], ours(x)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_the_weights_type(dtype):
    ours = GRU(3, 4, batch_first=True)
    x = torch.randn(2, 5, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype):
        out = ours(x.to(dtype))[0]
    assert out.dtype == torch.float32
    out.sum().backward()
    assert torch.isfinite(x.grad).all()
