"""The device's state: saved and read back, refused when it does not fit."""

import io

import pytest
import torch

from recbole_cocorr.layers import TTTState
from tests.layers import assert_same, random_clicks, random_layer


def some_state(rows: int = 3) -> TTTState:
    layer = random_layer(8, 2, 4)
    _, state = layer(random_clicks(rows, 6, 8), lengths=torch.arange(1, rows + 1), return_state=True)
    return state


def test_saved_and_read_back_it_goes_on_alike():
    layer, state, x = random_layer(8, 2, 4), some_state(), random_clicks(3, 5, 8, seed=7)
    file = io.BytesIO()
    torch.save(state.detach().to_dict(), file)
    file.seek(0)
    restored = TTTState.from_dict(torch.load(file, weights_only=True))
    assert_same(restored.to_dict(), state.to_dict(), rtol=0)
    assert torch.equal(layer(x, state=restored), layer(x, state=state))


def test_the_first_state_is_the_learned_start():
    layer = random_layer(8, 2, 4)
    state = layer.initial_state(3)
    for row in range(3):
        assert torch.equal(state.W[row], layer.W0) and torch.equal(state.b[row], layer.b0)
    for name in ("S_W", "S_b", "keys", "scaled_grads", "position"):
        assert not getattr(state, name).any(), name
    TTTState.from_dict(state.to_dict())


def test_size_does_not_depend_on_the_history():
    layer, x = random_layer(64, 4, 10, dtype=torch.float32), random_clicks(1, 200, 64, dtype=torch.float32)

    def size(state: TTTState) -> int:
        return sum(t.numel() * t.element_size() for t in state.to_dict().values())

    sizes = {size(layer(x[:, :n], return_state=True)[1]) for n in (0, 1, 9, 10, 57, 200)}
    # W and its sum, b and its sum, 10 keys and gradients (all float32), and the position (int64)
    assert sizes == {4 * (2 * 4 * 16 * 16 + 2 * 4 * 16 + 2 * 10 * 64) + 8}


def test_rows_can_be_selected():
    state = some_state()
    chosen = state.index_select(torch.tensor([2, 0]))
    for name, tensor in chosen.to_dict().items():
        assert torch.equal(tensor, getattr(state, name)[[2, 0]]), name


def test_another_type_leaves_the_position_whole():
    moved = some_state().to(torch.float32)
    assert moved.position.dtype == torch.int64
    assert {t.dtype for n, t in moved.to_dict().items() if n != "position"} == {torch.float32}


def test_detached_state_carries_no_gradient():
    assert some_state().W.requires_grad
    assert not any(t.requires_grad for t in some_state().detach().to_dict().values())


@pytest.mark.parametrize("name", ["W", "b", "S_W", "S_b", "position", "keys", "scaled_grads"])
def test_from_dict_names_what_is_missing(name):
    tensors = some_state().to_dict()
    del tensors[name]
    with pytest.raises(ValueError, match=rf"lacks {name};"):
        TTTState.from_dict(tensors)


@pytest.mark.parametrize("name", ["W", "b", "S_W", "S_b", "position", "scaled_grads"])
def test_from_dict_refuses_a_shape_that_does_not_fit(name):
    tensors = some_state().to_dict()
    for wrong in (tensors[name][:2], tensors[name][..., :0], tensors[name][None]):
        with pytest.raises(ValueError, match=name):
            TTTState.from_dict({**tensors, name: wrong})


def test_from_dict_refuses_keys_of_another_rank():
    tensors = some_state().to_dict()
    with pytest.raises(ValueError, match="keys"):
        TTTState.from_dict({**tensors, "keys": tensors["keys"][0]})


@pytest.mark.parametrize("position", [torch.tensor([0, 1, 4]), torch.tensor([-1, 0, 0]), torch.tensor([0.0, 1.0, 2.0])])
def test_from_dict_refuses_a_position_outside_the_mini_batch(position):
    with pytest.raises(ValueError, match="position"):
        TTTState.from_dict({**some_state().to_dict(), "position": position})


@pytest.mark.parametrize(("hidden", "heads", "size", "rows"), [(8, 2, 4, 2), (8, 2, 5, 3), (8, 4, 4, 3), (12, 2, 4, 3)])
def test_a_layer_refuses_the_state_of_another_layer_or_batch(hidden, heads, size, rows):
    state, layer, x = some_state(), random_layer(hidden, heads, size), random_clicks(rows, 2, hidden)
    for call in (layer.forward, layer.primal):
        with pytest.raises(ValueError, match="keys"):
            call(x, state=state)
    with pytest.raises(ValueError, match="keys"):
        layer.step(x[:, 0], state)
