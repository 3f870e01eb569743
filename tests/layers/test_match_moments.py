"""Eq. 14: mean and deviation over the entries that count, and no others."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.layers import CorrectionFusion, match_moments
from tests.reference.ttt_naive import normalise


def rows_of(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0.7, 2.0, size=shape))


def masked_rows(seed: int, rows: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed + 1).random((rows, width)) < 0.6)


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 9999))
@settings(max_examples=80, deadline=None)
def test_moments_over_the_mask_alone(rows, width, seed):
    """Against numpy on the picked entries; what is outside the mask comes out as 0 and is not read."""
    source, target, mask = rows_of(seed, rows, width), rows_of(seed + 7, rows, width), masked_rows(seed, rows, width)
    matched = match_moments(source, target, mask)
    assert not matched[~mask].any()
    for row in range(rows):
        s, t, got = (a[row][mask[row]].numpy() for a in (source, target, matched))
        if len(s) == 0:
            continue
        deviation = [a.std(ddof=1) if len(a) > 1 else 0.0 for a in (s, t)]
        expected = (s - s.mean()) / (deviation[0] + 1e-6) * deviation[1] + t.mean()
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    noise = torch.where(mask, 0.0, 1e3 * rows_of(seed + 3, rows, width))
    again = match_moments(source + noise, target - noise, mask)
    torch.testing.assert_close(again, matched, rtol=1e-12, atol=1e-12)


@given(st.integers(2, 9), st.integers(0, 9999))
@settings(max_examples=40, deadline=None)
def test_result_has_the_moments_of_the_target(width, seed):
    source, target = rows_of(seed, 3, width), rows_of(seed + 1, 3, width)
    matched = match_moments(source, target)
    torch.testing.assert_close(matched.mean(-1), target.mean(-1), rtol=1e-9, atol=1e-9)
    spread = source.std(-1)
    torch.testing.assert_close(matched.std(-1), target.std(-1) * spread / (spread + 1e-6), rtol=1e-9, atol=1e-9)


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 9999))
@settings(max_examples=40, deadline=None)
def test_a_full_mask_is_no_mask(rows, width, seed):
    source, target = rows_of(seed, rows, width), rows_of(seed + 1, rows, width)
    full = torch.ones(rows, width, dtype=torch.bool)
    torch.testing.assert_close(match_moments(source, target, full), match_moments(source, target))


def test_deviation_is_the_n_minus_1_form():
    source, target = torch.tensor([[-1.0, 1.0]]).double(), torch.tensor([[3.0, 9.0]]).double()
    # Deviations are sqrt(2) and sqrt(18); with n the 1e-6 beside the divisor would weigh otherwise.
    expected = 6.0 + torch.tensor([[-1.0, 1.0]]).double() / (2**0.5 + 1e-6) * 18**0.5
    torch.testing.assert_close(match_moments(source, target), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_one_entry_takes_the_targets_mean_and_passes_finite_gradients(masked):
    source, target = (torch.tensor([[v, 5.0]], dtype=torch.float64, requires_grad=True) for v in (3.0, -2.0))
    if masked:
        matched = match_moments(source, target, torch.tensor([[True, False]]))
    else:
        matched = match_moments(source[:, :1], target[:, :1])
    assert matched[0, 0] == -2.0
    matched.sum().backward()
    assert source.grad.tolist() == [[0.0, 0.0]]
    assert target.grad.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("mask", [None, torch.ones(1, 3, dtype=torch.bool)], ids=["plain", "masked"])
def test_equal_entries_deviate_by_nothing(mask):
    """Source without spread: the target's mean. Target without spread: its mean too. Gradients stay finite."""
    flat, spread = torch.full((1, 3), 0.1, dtype=torch.float64), rows_of(0, 1, 3)
    for source, target in ((flat, spread), (spread, flat), (flat, flat)):
        source, target = source.clone().requires_grad_(), target.clone().requires_grad_()
        matched = match_moments(source, target, mask)
        torch.testing.assert_close(matched, target.mean(-1, keepdim=True).expand(1, 3), rtol=0, atol=1e-9)
        matched.square().sum().backward()
        assert torch.isfinite(source.grad).all() and torch.isfinite(target.grad).all()


def test_a_row_without_entries_is_zero():
    source, target = rows_of(0, 2, 4).requires_grad_(), rows_of(1, 2, 4).requires_grad_()
    matched = match_moments(source, target, torch.tensor([[False] * 4, [True] * 4]))
    assert not matched[0].any()
    matched.sum().backward()
    assert not source.grad[0].any() and not target.grad[0].any()


def test_gradcheck():
    source, target = rows_of(2, 3, 4).requires_grad_(), rows_of(3, 3, 4).requires_grad_()
    mask = torch.ones(3, 4, dtype=torch.bool).tril()
    assert torch.autograd.gradcheck(lambda s, t: match_moments(s, t, mask), (source, target))
    assert torch.autograd.gradcheck(match_moments, (source, target))


def test_half_precision_is_close_to_float32():
    """A fresh network sends numbers of about 5e-4, whose squares float16 does not hold (autocast on a GPU)."""
    source, target = rows_of(5, 500, 10).float() * 2.5e-4, rows_of(6, 500, 10).float()
    sent = source.to(torch.float16)
    expected = match_moments(sent.float(), target)
    torch.testing.assert_close(match_moments(sent, target).float(), expected, rtol=0.02, atol=0.02)


# -- fusion --------------------------------------------------------------------------------------


def test_the_fusion_starts_as_the_released_code_does():
    fusion = CorrectionFusion()
    assert (fusion.alpha.item(), fusion.beta.item()) == (0.0, 0.25)


def test_fused_attention_is_zero_where_a_row_may_not_read():
    """Row t of A has t entries, and its moments run over those."""
    fusion = CorrectionFusion().double()
    with torch.no_grad():
        fusion.alpha.fill_(-0.5)
    attention, sent = rows_of(0, 5, 5), rows_of(1, 5, 5)
    lower = torch.ones(5, 5, dtype=torch.bool).tril()
    fused = fusion.fuse_attention(attention, sent, lower)
    assert not fused[~lower].any()
    for t in range(1, 6):
        a, s = attention[t - 1, :t], sent[t - 1, :t]
        torch.testing.assert_close(fused[t - 1, :t], a - 0.5 * normalise(s, a), rtol=1e-12, atol=1e-12)


def test_fused_bias():
    fusion = CorrectionFusion().double()
    bias, sent = rows_of(0, 5, 4), rows_of(1, 5, 4)
    expected = torch.stack([b + 0.25 * normalise(s, b) for b, s in zip(bias, sent, strict=True)])
    torch.testing.assert_close(fusion.fuse_bias(bias, sent), expected, rtol=1e-12, atol=1e-12)
