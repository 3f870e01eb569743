"""Cross-entropy in blocks against torch's on the whole score matrix."""

import pytest
import torch
import torch.nn.functional as F

from recbole_cocorr.layers import softmax_loss
from recbole_cocorr.layers.softmax_loss import catalogue_cross_entropy, sampled_cross_entropy


def case(rows, items, width, dtype=torch.float64):
    generator = torch.Generator().manual_seed(rows * items)
    users = torch.randn(rows, width, generator=generator, dtype=dtype, requires_grad=True)
    table = torch.randn(items, width, generator=generator, dtype=dtype, requires_grad=True)
    bias = torch.randn(items, generator=generator, dtype=dtype, requires_grad=True)
    return users, table, torch.randint(items, (rows,), generator=generator), bias


@pytest.mark.parametrize("at_once", [1, 30, 1 << 22])
@pytest.mark.parametrize(("rows", "items", "width"), [(1, 1, 1), (7, 11, 3), (20, 6, 4)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_blocks_give_the_loss_and_gradients_of_the_whole(monkeypatch, at_once, rows, items, width, with_bias):
    monkeypatch.setattr(softmax_loss, "_SCORES_AT_ONCE", at_once)
    users, table, target, bias = case(rows, items, width)
    parts = [users, table, *([bias] if with_bias else [])]
    fast = catalogue_cross_entropy(users, table, target, bias if with_bias else None)
    slow = F.cross_entropy(users @ table.T + (bias if with_bias else 0), target)
    torch.testing.assert_close(fast, slow)
    for a, b in zip(torch.autograd.grad(fast * 3, parts), torch.autograd.grad(slow * 3, parts), strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        torch.testing.assert_close(
            catalogue_cross_entropy(users, table, target), F.cross_entropy(users @ table.T, target)
        )


def test_half_precision_and_autocast_keep_the_softmax_in_float32():
    users, table, target, _ = case(30, 500, 8, torch.float32)
    slow = F.cross_entropy(users @ table.T, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = catalogue_cross_entropy(users, table, target)
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast, slow, rtol=2e-2, atol=0)
    of_users, of_items = torch.autograd.grad(fast, (users, table))
    assert of_users.dtype == of_items.dtype == torch.float32 and of_items.abs().sum() > 0


def test_no_rows_and_large_scores():
    users, table, _, _ = case(1, 5, 2)
    assert catalogue_cross_entropy(users[:0], table, torch.empty(0, dtype=torch.int64)) == 0
    loss = catalogue_cross_entropy(users * 1e4, table * 1e4, torch.tensor([3]))
    assert torch.isfinite(loss) and all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (users, table)))


def test_a_sample_estimates_the_full_softmax_and_leaves_the_positive_out():
    """The denominator over many samples is the full one: that is what the correction is for."""
    users, table, target, _ = case(3, 40, 4)
    chance = torch.linspace(1, 5, 40, dtype=torch.float64)
    chance /= chance.sum()
    generator = torch.Generator().manual_seed(0)
    size = 200_000
    drawn = torch.multinomial(chance, size, replacement=True, generator=generator)
    with torch.no_grad():
        estimate = sampled_cross_entropy(
            users, table[target], table[drawn], target, drawn, (size * chance[drawn]).log()
        )
        truth = F.cross_entropy(users @ table.T, target)
    torch.testing.assert_close(estimate.double(), truth, rtol=1e-2, atol=0)
    alone = sampled_cross_entropy(
        users[:1], table[target[:1]], table[target[:1]], target[:1], target[:1], torch.zeros(1, dtype=torch.float64)
    )
    assert alone == 0, "a sampled positive does not count against itself"
