"""Dual = primal = step = the naive loop: outputs, states and every gradient."""

import pytest
import torch

from recbole_cocorr.layers import Correction, TTTState
from tests.layers import assert_same, gradients, random_clicks, random_correction, random_layer, sources
from tests.reference.ttt_naive import naive_ttt

LONGEST = 33
FLOATS = ("W", "b", "S_W", "S_b", "keys", "scaled_grads")


def correct(corrected: bool, rows: int, layer) -> dict:
    """Keyword arguments of a correction, or none."""
    return dict(zip(("correction", "fusion"), random_correction(rows, layer), strict=True)) if corrected else {}


def weights_like(tensors, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in tensors]


def score(seed: int, *tensors: torch.Tensor) -> torch.Tensor:
    """A random linear function of tensors, the same for the same seed and shapes."""
    return sum((w * t).sum() for w, t in zip(weights_like(tensors, seed), tensors, strict=True))


def state_score(seed: int, state: TTTState) -> torch.Tensor:
    return score(seed, *(getattr(state, name) for name in FLOATS))


def pick(states: list[TTTState], lengths: torch.Tensor) -> TTTState:
    """Row r of the state after ``lengths[r]`` clicks."""
    per_row = [states[int(n)].index_select(torch.tensor([r])).to_dict() for r, n in enumerate(lengths)]
    return TTTState(**{name: torch.cat([row[name] for row in per_row]) for name in per_row[0]})


def on_real(output: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    real = torch.arange(output.shape[1]) < lengths[:, None]
    return output * real[..., None]


@pytest.mark.parametrize("corrected", [False, True], ids=["alone", "corrected"])
@pytest.mark.parametrize("size", range(1, 13))
def test_dual_equals_step_for_every_length(size, corrected):
    """L = 1 .. 33 against one walk of 33 steps: outputs, ragged states, and all gradients.

    The gradients of all lengths are compared in one sum: every term has random weights of its own, so a
    wrong one cannot be made up for by another.
    """
    layer = random_layer(8, 2, size, seed=size)
    x = random_clicks(2, LONGEST, 8)
    how = correct(corrected, 2, layer)
    named = sources(layer, x, **how)
    state = layer.initial_state(2)
    states, steps = [state], []
    for t in range(LONGEST):
        output, state = layer.step(x[:, t], state, **how)
        steps.append(output)
        states.append(state)
    walked = torch.stack(steps, dim=1)

    dual_loss, step_loss = 0.0, 0.0
    for length in range(1, LONGEST + 1):
        lengths = torch.tensor([length, (length * 7) % (length + 1)])
        plain = layer(x[:, :length], **how)
        output, after = layer(x[:, :length], lengths=lengths, return_state=True, **how)
        expected = pick(states, lengths)
        assert_same({"plain": plain}, {"plain": walked[:, :length]})
        assert_same({"output": on_real(output, lengths)}, {"output": on_real(walked[:, :length], lengths)})
        assert_same(after.to_dict(), expected.to_dict())
        dual_loss = dual_loss + score(length, plain, on_real(output, lengths)) + state_score(length, after)
        step_loss = step_loss + score(length, walked[:, :length], on_real(walked[:, :length], lengths))
        step_loss = step_loss + state_score(length, expected)
    assert_same(gradients(dual_loss, named), gradients(step_loss, named))


@pytest.mark.parametrize("corrected", [False, True], ids=["alone", "corrected"])
@pytest.mark.parametrize(
    ("hidden", "heads", "size", "length"),
    [(8, 2, 4, 11), (8, 2, 1, 3), (6, 1, 5, 5), (4, 2, 3, 7), (12, 3, 12, 7), (8, 4, 2, 1), (8, 1, 7, 15)],
)
def test_all_forms_equal_the_naive_loop(hidden, heads, size, length, corrected):
    layer = random_layer(hidden, heads, size, seed=length)
    lengths = torch.tensor([length, max(length - 2, 0), 0])
    x = random_clicks(3, length, hidden)
    how = correct(corrected, 3, layer)
    named = sources(layer, x, **how)
    expected, expected_state = naive_ttt(layer, x, lengths, **how)
    expected_output = torch.stack([torch.cat([o, o.new_zeros(length - len(o), hidden)]) for o in expected])
    expected_gradients = gradients(score(0, expected_output) + state_score(1, expected_state), named)
    for form in (
        lambda: layer(x, lengths=lengths, return_state=True, **how),
        lambda: layer.primal(x, lengths=lengths, **how),
    ):
        output, state = form()
        output = on_real(output, lengths)
        assert_same({"output": output}, {"output": expected_output})
        assert_same(state.to_dict(), expected_state.to_dict())
        assert_same(gradients(score(0, output) + state_score(1, state), named), expected_gradients)
    # Without a state and lengths the layer takes a path of its own.
    output = on_real(layer(x, **how), lengths)
    assert_same({"output": output}, {"output": expected_output})
    only_output = gradients(score(0, expected_output), named)
    assert_same(gradients(score(0, output), named), only_output)


def test_primal_is_a_walk_of_steps():
    layer, x = random_layer(8, 2, 3), random_clicks(2, 7, 8)
    output, state = layer.primal(x)
    running = layer.initial_state(2)
    for t in range(7):
        single, running = layer.step(x[:, t], running)
        assert torch.equal(single, output[:, t])
    assert_same(state.to_dict(), running.to_dict(), rtol=0)


# -- a state handed over -------------------------------------------------------------------------


@pytest.mark.parametrize("corrected", [False, True], ids=["alone", "corrected"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_state_may_be_handed_over_anywhere(size, corrected):
    """Every cut of 12 clicks, the rest by each form, gradients through the state included."""
    length = 12
    layer, x = random_layer(8, 2, size), random_clicks(2, length, 8)
    how = correct(corrected, 2, layer)
    named = sources(layer, x, **how)
    whole, end = layer(x, return_state=True, **how)
    assert_same({"output": whole}, {"output": layer(x, **how)})
    expected = gradients(score(0, whole) + state_score(1, end), named)
    for cut in range(length + 1):
        for rest in (layer.forward, layer.primal):
            head, state = layer(x[:, :cut], return_state=True, **how)
            how_rest = {**how, "return_state": True} if rest == layer.forward else how
            tail, after = rest(x[:, cut:], state=state, **how_rest)
            output = torch.cat([head, tail], dim=1)
            assert_same({"output": output}, {"output": whole})
            assert_same(after.to_dict(), end.to_dict())
            if cut in (1, 4, 5, 7):  # before, at and after the end of a mini-batch
                assert_same(gradients(score(0, output) + state_score(1, after), named), expected)


@pytest.mark.parametrize("corrected", [False, True], ids=["alone", "corrected"])
@pytest.mark.parametrize("size", [1, 3, 4])
def test_rows_may_stand_at_different_places_of_their_mini_batch(size, corrected):
    """Three ragged pieces in a row, by dual and primal in turn, against the naive loop over the joined clicks."""
    pieces = torch.tensor([[0, 3, 2], [1, 0, 5], [2, 4, 0], [3, 1, 1], [5, 5, 3], [4, 2, 4]])
    rows = len(pieces)
    layer, x = random_layer(8, 2, size), random_clicks(rows, 15, 8)
    how = correct(corrected, rows, layer)
    named = sources(layer, x, **how)
    expected, expected_state = naive_ttt(layer, x, pieces.sum(dim=1), **how)
    expected_loss = sum(score(row, output) for row, output in enumerate(expected)) + state_score(99, expected_state)

    state, done = None, torch.zeros(rows, dtype=torch.int64)
    outputs = [[] for _ in range(rows)]
    for piece, form in enumerate(("forward", "primal", "forward")):
        lengths = pieces[:, piece]
        longest = int(lengths.max())
        index = (done[:, None] + torch.arange(longest)).clamp_max(14)  # past the lengths: other clicks as padding
        clicks = x.gather(1, index[..., None].expand(-1, -1, 8))
        more = {"return_state": True} if form == "forward" else {}
        output, state = getattr(layer, form)(clicks, lengths=lengths, state=state, **more, **how)
        for row, n in enumerate(lengths.tolist()):
            outputs[row].append(output[row, :n])
        done = done + lengths
    assert torch.equal(state.position, pieces.sum(dim=1) % size)
    joined = [torch.cat(parts) for parts in outputs]
    assert_same(dict(enumerate(joined)), dict(enumerate(expected)))
    assert_same(state.to_dict(), expected_state.to_dict())
    loss = sum(score(row, output) for row, output in enumerate(joined)) + state_score(99, state)
    assert_same(gradients(loss, named), gradients(expected_loss, named))


@pytest.mark.parametrize("corrected", [False, True], ids=["alone", "corrected"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_gradient_of_the_state_handed_in(size, corrected):
    """The free parts of a state are W, b and each held click's key and lr G; the sums follow from them."""
    rows, heads, width = 4, 2, 4
    layer, x = random_layer(8, heads, size), random_clicks(rows, 7, 8)
    how = correct(corrected, rows, layer)
    position = torch.arange(rows) % size
    begun = (torch.arange(size) < position[:, None])[:, None, :, None]
    generator = torch.Generator().manual_seed(5)
    free = {
        name: torch.randn(rows, heads, *shape, generator=generator, dtype=torch.float64).requires_grad_()
        for name, shape in {"W": (width, width), "b": (width,), "keys": (size, width), "scaled": (size, width)}.items()
    }
    keys, scaled = free["keys"] * begun, free["scaled"] * begun
    state = TTTState(
        W=free["W"],
        b=free["b"],
        S_W=keys.transpose(-1, -2) @ scaled,
        S_b=scaled.sum(dim=2),
        position=position,
        keys=keys,
        scaled_grads=scaled,
    )
    named = {**sources(layer, x, **how), **{f"state.{n}": t for n, t in free.items()}}
    expected, expected_state = naive_ttt(layer, x, state=state, **how)
    expected = torch.stack(expected)
    expected_gradients = gradients(score(0, expected) + state_score(1, expected_state), named)
    assert float(expected_gradients["state.W"].abs().max()) > 0
    for output, after in (
        layer(x, state=state, return_state=True, **how),
        layer.primal(x, state=state, **how),
    ):
        assert_same({"output": output}, {"output": expected})
        assert_same(after.to_dict(), expected_state.to_dict())
        assert_same(gradients(score(0, output) + state_score(1, after), named), expected_gradients)
    assert_same({"output": layer(x, state=state, **how)}, {"output": expected})


def test_a_form_leaves_the_state_it_is_given_as_it_was():
    layer, x = random_layer(8, 2, 3), random_clicks(2, 4, 8)
    _, state = layer(x, return_state=True)
    before = {n: t.clone() for n, t in state.to_dict().items()}
    layer.step(x[:, 0], state)
    layer.primal(x, state=state)
    layer(x, state=state, return_state=True)
    assert_same(state.to_dict(), before, rtol=0)


# -- gradcheck -----------------------------------------------------------------------------------


@pytest.mark.parametrize("corrected", [False, True], ids=["alone", "corrected"])
@pytest.mark.parametrize(("size", "length"), [(1, 2), (2, 3), (4, 3)])
def test_gradcheck(size, length, corrected):
    """Autograd against finite differences in x, every parameter, the correction and its two scalars."""
    layer, x = random_layer(4, 1, size, seed=3), random_clicks(2, length, 4)
    how = correct(corrected, 2, layer)
    names = [n for n, _ in layer.named_parameters()]
    inputs = [x, *(p for _, p in layer.named_parameters())]
    if corrected:
        inputs += [*how["correction"], how["fusion"].alpha, how["fusion"].beta]

    class LayerAndFusion(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.fusion = layer, how.get("fusion")

        def forward(self, x, *sent):
            correction = Correction(*sent) if sent else None
            return self.layer(x, correction=correction, fusion=self.fusion)

    def run(x, *rest):
        weights = {f"layer.{n}": w for n, w in zip(names, rest, strict=False)}
        sent, scalars = rest[len(names) :][:2], rest[len(names) :][2:]
        weights |= {f"fusion.{n}": w for n, w in zip(("alpha", "beta"), scalars, strict=False)}
        return torch.func.functional_call(LayerAndFusion(), weights, (x, *sent))

    assert torch.autograd.gradcheck(run, inputs, atol=1e-6, rtol=1e-5)
