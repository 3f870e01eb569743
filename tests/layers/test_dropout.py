"""Dropout that draws whole words: chances, scale, independence, and when it is torch's."""

import pytest
import torch

from recbole_cocorr.layers.dropout import Dropout


@pytest.mark.parametrize("p", [0.001, 0.2, 0.5, 0.9])
def test_chance_and_mean(p):
    torch.manual_seed(0)
    n = 1_000_003
    out = Dropout(p)(torch.ones(n))
    dropped = float((out == 0).sum()) / n
    assert abs(dropped - p) < 5 * (p * (1 - p) / n) ** 0.5 + 1 / (1 << 16)
    kept = out[out != 0]
    assert torch.allclose(kept, kept[0].expand_as(kept)) and abs(float(kept[0]) - 1 / (1 - p)) < 2e-4 / (1 - p) ** 2
    assert abs(float(out.mean()) - 1) < 5 * (p / (1 - p) / n) ** 0.5


def test_four_decisions_come_from_one_word():
    torch.manual_seed(5)
    out = Dropout(0.25)(torch.ones(3, 7))
    torch.manual_seed(5)
    words = torch.empty(6, dtype=torch.int64).random_(-(1 << 63), None)
    least = torch.iinfo(torch.int16).min + (1 << 14)  # a quarter of all values lie below
    assert torch.equal(out != 0, (words.view(torch.int16)[:21] >= least).view(3, 7))


def test_neighbours_are_independent():
    torch.manual_seed(1)
    dropped = (Dropout(0.3)(torch.ones(400_000)) == 0).double()
    for lag in (1, 2, 3, 4, 5, 8):  # four decisions come from one word
        both = (dropped[:-lag] * dropped[lag:]).mean()
        assert abs(float(both) - 0.09) < 5 * (0.09 * 0.91 / 400_000) ** 0.5


def test_the_gradient_has_the_same_mask():
    torch.manual_seed(2)
    x = torch.randn(5, 7, 3, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.4)(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(gradient * x, out)


def test_the_seed_decides():
    x = torch.ones(3, 50)
    torch.manual_seed(3)
    one = Dropout(0.5)(x)
    torch.manual_seed(3)
    assert torch.equal(one, Dropout(0.5)(x)) and not torch.equal(one, Dropout(0.5)(x))


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-9])
def test_nothing_and_everything(p):
    x = torch.randn(4, 5)
    assert torch.equal(Dropout(p)(x), x * (p != 1.0))


def test_evaluation_and_no_rows():
    x = torch.randn(4, 5)
    assert Dropout(0.5).eval()(x) is x or torch.equal(Dropout(0.5).eval()(x), x)
    assert Dropout(0.5)(torch.empty(0, 5)).shape == (0, 5)


def test_a_transposed_input_keeps_its_values():
    torch.manual_seed(4)
    x = torch.arange(1.0, 13).view(3, 4).t()
    out = Dropout(0.5)(x)
    assert torch.equal(out[out != 0], (2 * x)[out != 0])
