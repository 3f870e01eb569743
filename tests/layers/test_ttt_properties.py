"""What must hold for any numbers: padding is not seen, the future is not seen, nothing becomes NaN."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.layers import Correction, TTTLinear
from recbole_cocorr.layers.ttt.inner_gradient import inner_gradient
from recbole_cocorr.layers.ttt.rope import apply_rope, rope_table
from tests.layers import assert_same, gradients, random_clicks, random_correction, random_layer, sources
from tests.reference.ttt_naive import layer_norm, naive_ttt, rope

CORRECTED = pytest.mark.parametrize("corrected", [False, True], ids=["alone", "corrected"])


def correct(corrected: bool, rows: int, layer) -> dict:
    return dict(zip(("correction", "fusion"), random_correction(rows, layer), strict=True)) if corrected else {}


# -- padding and causality -----------------------------------------------------------------------


@given(
    size=st.integers(1, 7),
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    corrected=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_padding_is_never_seen(size, lengths, corrected, seed):
    """Its content, or how much there is of it: real outputs, the state and all gradients stay."""
    layer = random_layer(8, 2, size, seed=seed)
    rows, lengths = len(lengths), torch.tensor(lengths)
    x = random_clicks(rows, 9, 8, seed=seed)
    real = (torch.arange(9) < lengths[:, None])[..., None]
    other = torch.where(real, x, 100 * torch.randn_like(x))
    longer = torch.cat([other, torch.randn(rows, 4, 8, dtype=x.dtype)], dim=1)
    how = correct(corrected, rows, layer)
    named = sources(layer, x, **how)
    found = []
    for padded in (x, other, longer):
        plain = layer(padded, **how)
        output, state = layer(padded, lengths=lengths, return_state=True, **how)
        loss = ((plain + 2 * output)[:, :9] * real).sin().sum() + sum((t**2).sum() for t in state.to_dict().values())
        grads = gradients(loss, named)
        assert not (grads["x"] * ~real).any(), "a gradient reaches the padding"
        found.append(
            {
                "plain": plain[:, :9] * real,
                "output": output[:, :9] * real,
                **state.to_dict(),
                **{f"d{n}": g for n, g in grads.items()},
            }
        )
    assert_same(found[1], found[0], rtol=1e-12)
    assert_same(found[2], found[0], rtol=1e-12)


@CORRECTED
@pytest.mark.parametrize("size", [1, 3, 5, 8])
def test_no_output_depends_on_a_later_click(size, corrected):
    """By the Jacobian: exactly zero above the diagonal, and on it and below not."""
    length = 8
    layer, x = random_layer(8, 2, size, clamped=False), random_clicks(1, length, 8)
    how = correct(corrected, 1, layer)
    _, started = layer(random_clicks(1, size - 1, 8, seed=9), return_state=True)
    for output in (layer(x, **how), layer(x, state=started, **how), layer.primal(x, **how)[0]):
        for t in range(length):
            (reach,) = torch.autograd.grad(output[0, t].square().sum(), x, retain_graph=True)
            assert not reach[0, t + 1 :].any()
            assert reach[0, t].any() and reach[0, 0].any()


def test_what_is_sent_is_read_row_by_row_and_never_above_the_diagonal():
    """Click i of a mini-batch reads the first i entries of row i of A^, and row i of B^."""
    layer, x = random_layer(8, 2, 4, clamped=False), random_clicks(1, 6, 8)
    how = correct(True, 1, layer)
    output = layer(x, **how)
    for t in range(6):
        grad_a, grad_b = torch.autograd.grad(output[0, t].square().sum(), how["correction"], retain_graph=True)
        row = t % 4
        read = torch.zeros(4, 4, dtype=torch.bool)
        read[row, : row + 1] = row > 0  # a lone entry is brought to the mean: what was sent drops out
        assert torch.equal(grad_a[0].abs().amax(dim=0) > 0, read)
        assert torch.equal(grad_b[0].abs().amax(dim=(0, 2)) > 0, torch.arange(4) == row)


def test_the_state_is_not_corrected():
    layer, x = random_layer(8, 2, 3), random_clicks(2, 7, 8)
    how = correct(True, 2, layer)
    for form in (lambda **k: layer(x, return_state=True, **k), lambda **k: layer.primal(x, **k)):
        corrected_output, corrected_state = form(**how)
        output, state = form()
        assert_same(corrected_state.to_dict(), state.to_dict(), rtol=0)
        assert not torch.allclose(corrected_output, output)


def test_rows_do_not_see_each_other():
    layer, x = random_layer(8, 2, 3), random_clicks(3, 7, 8)
    how = correct(True, 3, layer)
    (reach,) = torch.autograd.grad(layer(x, **how)[1].square().sum(), x)
    assert not reach[0].any() and not reach[2].any() and reach[1].any()


# -- no NaN --------------------------------------------------------------------------------------


def assert_finite(layer, x, how, lengths):
    for parameter in layer.parameters():
        parameter.grad = None
    x.grad = None
    plain = layer(x, **how)
    output, state = layer(x, lengths=lengths, return_state=True, **how)
    walked, _ = layer.primal(x, lengths=lengths, **how)
    again = layer(x, state=state, **how)
    outputs = (plain, output, walked, again)
    for result in (*outputs, *state.to_dict().values()):
        assert torch.isfinite(result).all()
    sum(o.float().square().sum() for o in outputs).backward()
    for name, parameter in [("x", x), *layer.named_parameters()]:
        assert torch.isfinite(parameter.grad).all(), name
    for sent in how.get("correction", ()):
        assert torch.isfinite(sent.grad).all()
    if how:
        assert torch.isfinite(how["fusion"].alpha.grad) and torch.isfinite(how["fusion"].beta.grad)
    return outputs


def short_histories(dtype: torch.dtype = torch.float32):
    """A full row, a one-click row, an empty row, and one whose clicks are all zero."""
    x = random_clicks(4, 5, 8, dtype=dtype).detach()
    lengths = torch.tensor([5, 1, 0, 5])
    x = x * (torch.arange(5) < lengths[:, None])[..., None]
    x[3] = 0
    return x.requires_grad_(), lengths


@CORRECTED
@pytest.mark.parametrize("size", [1, 2, 5, 9])
@pytest.mark.parametrize("trained", [False, True], ids=["fresh", "trained"])
def test_short_histories_are_finite(size, corrected, trained):
    """One click, none, zeros, and K = 1, from the initial weights (b0 = 0: LN of nothing) and from others."""
    layer = random_layer(8, 2, size, dtype=torch.float32) if trained else TTTLinear(8, 2, size)
    x, lengths = short_histories()
    assert_finite(layer, x, correct(corrected, 4, layer), lengths)


@CORRECTED
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_autocast_is_finite_and_near_float32(size, dtype, corrected):
    torch.manual_seed(0)
    layer = TTTLinear(8, 2, size)
    x, lengths = short_histories()
    how = correct(corrected, 4, layer)
    with torch.no_grad():
        exact = layer(x, **how)
    with torch.autocast("cpu", dtype=dtype):
        outputs = assert_finite(layer, x, how, lengths)
    for output in outputs[:2]:
        error = (output.float() - exact)[lengths == 5].norm() / exact[lengths == 5].norm()
        assert error < 0.05


@CORRECTED
@pytest.mark.parametrize("size", [1, 3])
def test_bfloat16_weights_are_finite_and_near_float32(size, corrected):
    torch.manual_seed(0)
    layer = TTTLinear(8, 2, size)
    x, lengths = short_histories()
    how = correct(corrected, 4, layer)
    with torch.no_grad():
        exact = layer(x, **how)
    half = copy.deepcopy(layer).to(torch.bfloat16)
    x_half = x.detach().to(torch.bfloat16).requires_grad_()
    if corrected:
        sent = Correction(*(t.detach().to(torch.bfloat16).requires_grad_() for t in how["correction"]))
        how = {"correction": sent, "fusion": how["fusion"].to(torch.bfloat16)}
    outputs = assert_finite(half, x_half, how, lengths)
    for output in outputs:
        assert output.dtype == torch.bfloat16
    error = (outputs[0].float() - exact)[lengths == 5].norm() / exact[lengths == 5].norm()
    assert error < 0.1


@CORRECTED
def test_identical_clicks_are_finite(corrected):
    """All keys alike, so rows of A deviate by 0, which a square root's gradient must survive."""
    layer = TTTLinear(8, 2, 4)
    with torch.no_grad():
        layer.k_proj.weight.zero_()  # A is 0 throughout
    x = torch.ones(2, 6, 8, requires_grad=True)
    assert_finite(layer, x, correct(corrected, 2, layer), torch.tensor([6, 3]))


def test_nothing_to_read():
    layer = random_layer(8, 2, 3)
    how = correct(True, 2, layer)
    empty = torch.zeros(2, 0, 8, dtype=torch.float64)
    output, state = layer(empty, return_state=True, **how)
    assert output.shape == layer(empty, **how).shape == layer.primal(empty, **how)[0].shape == (2, 0, 8)
    assert_same(state.to_dict(), layer.initial_state(2).to_dict(), rtol=0)
    no_rows = torch.zeros(0, 5, 8, dtype=torch.float64)
    assert layer(no_rows).shape == layer(no_rows, return_state=True)[0].shape == (0, 5, 8)


def test_an_empty_row_keeps_the_initial_state():
    layer, x = random_layer(8, 2, 3), random_clicks(2, 5, 8)
    for state in (
        layer(x, lengths=torch.tensor([0, 5]), return_state=True)[1],
        layer.primal(x, lengths=torch.tensor([0, 5]))[1],
    ):
        first = state.index_select(torch.tensor([0])).to_dict()
        assert_same(first, layer.initial_state(1).to_dict(), rtol=0)


def test_first_used_under_inference_mode_a_layer_can_still_be_trained():
    layer, x = random_layer(8, 2, 3), random_clicks(2, 5, 8)
    with torch.inference_mode():
        scored = layer(x)
    output = layer(x)
    output.sum().backward()
    assert_same({"output": output}, {"output": scored.clone()}, rtol=1e-12)


# -- the token scale -----------------------------------------------------------------------------


def test_token_steps():
    layer = random_layer(8, 2, 3)
    with torch.no_grad():
        layer.token_scale.copy_(torch.tensor([0.25, -0.75, -1 / 3 + 0.5], dtype=torch.float64))
    expected = torch.tensor([1.25, 0.0, 0.5], dtype=torch.float64)
    assert_same({"tau": layer.token_steps(layer.W0)}, {"tau": expected}, rtol=1e-15)


@CORRECTED
@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_a_clamped_token_is_read_but_moves_nothing(place, corrected):
    """tau_i = max(0, 1/i + p_i) = 0: output i comes from the mini-batch's start, p_i has no gradient."""
    layer, x = random_layer(8, 2, 4, seed=4), random_clicks(1, 10, 8)
    with torch.no_grad():
        layer.token_scale.copy_(torch.tensor([0.1, -0.1, 0.05, -0.05]))
        layer.token_scale[place - 1] = -50.0
    how = correct(corrected, 1, layer)
    output, state = layer(x, return_state=True, **how)
    walked, walked_state = layer.primal(x, **how)
    expected, expected_state = naive_ttt(layer, x, **how)
    for got in (output, walked, layer(x, **how)):
        assert_same({"output": got[0]}, {"output": expected[0]})
        (scale,) = torch.autograd.grad(got.square().sum(), layer.token_scale, retain_graph=True)
        assert scale[place - 1] == 0 and (scale != 0).sum() == 3
    assert_same(state.to_dict(), expected_state.to_dict())
    assert_same(walked_state.to_dict(), expected_state.to_dict())
    if not corrected:
        (reach,) = torch.autograd.grad(output[0, place - 1].square().sum(), x, retain_graph=True)
        assert not reach[0, : place - 1].any() and reach[0, place - 1].any()
    if place == 4:  # the last token of a mini-batch decides what the next one starts from
        assert torch.equal(state.W[0], layer.W0) and torch.equal(state.b[0], layer.b0)


# -- the parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 4, 16])
def test_rope_turns_interleaved_pairs(width):
    x = random_clicks(2, 7, width).detach()
    position = torch.tensor([0, 1, 2, 3, 0, 5, 40])
    expected = torch.stack([torch.stack([rope(v, int(p)) for v, p in zip(r, position, strict=True)]) for r in x])
    assert_same({"x": apply_rope(x, position)}, {"x": expected}, rtol=1e-12)


def test_rope_table_is_for_even_widths():
    cos, sin = rope_table(5, 6)
    assert cos.shape == sin.shape == (5, 3)
    assert torch.equal(cos[0], torch.ones(3, dtype=torch.float64)) and not sin[0].any()
    with pytest.raises(ValueError, match="even"):
        rope_table(5, 3)


@given(st.integers(2, 9), st.integers(0, 999), st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_inner_gradient_is_autograds(width, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    k, v, z, gamma, beta = torch.randn(5, width, generator=generator, dtype=torch.float64)
    z = (z * scale).requires_grad_()
    loss = 0.5 * (layer_norm(z, gamma, beta) - (v - k)).square().sum()
    (expected,) = torch.autograd.grad(loss, z)
    got = inner_gradient(k, v, z, gamma, beta).detach()
    assert_same({"G": got}, {"G": expected}, rtol=1e-8)


# -- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((8, 3, 4), "multiple"),
        ((6, 2, 4), "even"),
        ((8, 2, 0), "at least 1"),
        ((0, 2, 4), "at least 1"),
        ((8, 0, 4), "at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        TTTLinear(*sizes)


def test_inputs_that_do_not_fit_are_refused():
    layer, x = random_layer(8, 2, 3), random_clicks(2, 5, 8)
    correction, fusion = random_correction(2, layer)
    state = layer.initial_state(2)
    for wrong in (x[0], x[:, :, :7], x[None]):
        for call in (layer.forward, layer.primal):
            with pytest.raises(ValueError, match="x has shape"):
                call(wrong)
    for wrong in (x, x[0, 0], x[:, 0, :7]):
        with pytest.raises(ValueError, match="x has shape"):
            layer.step(wrong, state)
    attention, bias = correction
    for sent, message in (
        (Correction(attention[:1], bias), "attention"),
        (Correction(attention[..., :2], bias), "attention"),
        (Correction(attention, bias[..., :2]), "bias"),
        (Correction(attention, bias[:, :1]), "bias"),
    ):
        for call in (layer.forward, layer.primal):
            with pytest.raises(ValueError, match=message):
                call(x, correction=sent, fusion=fusion)
        with pytest.raises(ValueError, match=message):
            layer.step(x[:, 0], state, sent, fusion)
    for call in (layer.forward, layer.primal):
        with pytest.raises(ValueError, match="fusion"):
            call(x, correction=correction)
