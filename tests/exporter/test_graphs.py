"""The graphs' arithmetic, in eager torch, held to the layers that training uses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.models.cocorrrec import click_graph as click
from recbole_cocorr.models.cocorrrec import graphs as cocorrrec
from recbole_cocorr.models.device_graphs import graphs_of
from recbole_cocorr.models.mamba4rec import graphs as mamba_graphs
from recbole_cocorr.models.sasrec import graphs as sasrec_graphs
from tests.device import clicks, make, sent_to
from tests.reference.ttt_naive import naive_ttt

SIZES = pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
BLOCK = pytest.mark.parametrize("block", ["plain", "gated"])
LAYERS = pytest.mark.parametrize("layers", [1, 2])


def close(ours, expected):
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def read(model, rows):
    """User vectors after each click, and the states, by Step and Fold."""
    step, fold, state = cocorrrec.Step(model), cocorrrec.Fold(model), cocorrrec.initial_state(model)
    size, users, states = model.mini_batch_size, [], []
    for t, row in enumerate(rows):
        if t and t % size == 0:
            state = fold(state)
        user, state = step(model.item_embedding.weight[row][None], state, torch.tensor(t % size))
        users.append(user[0])
        states.append(state)
    return users, states


@SIZES
@LAYERS
@BLOCK
@torch.no_grad()
def test_click_by_click_equals_the_full_pass(size, layers, block):
    model = make(mini_batch_size=size, num_layers=layers, block=block).model
    rows = clicks(23)
    outputs = model.device_outputs(model.hidden_states(torch.tensor([rows])))[0]
    users, _ = read(model, rows)
    close(torch.stack(users), outputs)


def test_click_by_click_equals_the_slow_and_obvious_reading():
    model = make().model
    rows = clicks(11)
    with torch.no_grad():
        users, _ = read(model, rows)
        x = model.hidden_states(torch.tensor([rows]))
    outputs, _ = naive_ttt(model.layers[0].ttt, x)
    close(torch.stack(users), model.final_norm(outputs[0]).detach())


@SIZES
@LAYERS
@BLOCK
@torch.no_grad()
def test_a_history_at_once_equals_click_by_click(size, layers, block):
    model = make(mini_batch_size=size, num_layers=layers, block=block).model
    rows = clicks(17)
    users, states = read(model, rows)
    prefill, fold = cocorrrec.Prefill(model), cocorrrec.Fold(model)
    for cut in (1, 2, size, 5):
        state, at = cocorrrec.initial_state(model), 0
        while at < len(rows):
            start = at % size
            count = min(cut, size - start, len(rows) - at)
            if at and start == 0:
                state = fold(state)
            grid = torch.full((size, model.hidden_size), 3.0)  # what is no click is not read
            grid[start : start + count] = model.item_embedding.weight[rows[at : at + count]]
            user, state = prefill(grid, state, torch.tensor(start), torch.tensor(start + count))
            at += count
            close(user[0], users[at - 1])
            close(state, states[at - 1])


@pytest.mark.parametrize("window, size", [(1, 1), (1, 4), (2, 2), (7, 7), (7, 9)])
@BLOCK
@torch.no_grad()
def test_a_window_that_is_one_mini_batch_equals_the_full_pass(window, size, block):
    model = make(MAX_ITEM_LIST_LENGTH=window, mini_batch_size=size, block=block).model
    graph = cocorrrec.Window(model)
    for seed in range(4):
        rows = clicks(window, seed)
        expected = model.user_vectors(model.hidden_states(torch.tensor([rows])), torch.tensor([window]))
        close(graph(model.item_embedding.weight[rows]), expected)


def test_which_models_have_a_window_graph():
    assert "window" in graphs_of(make(mini_batch_size=None).model).graphs
    assert "window" in graphs_of(make(mini_batch_size=9).model).graphs
    assert "window" not in graphs_of(make(mini_batch_size=6).model).graphs
    assert "window" not in graphs_of(make(mini_batch_size=7, num_layers=2).model).graphs


@SIZES
@BLOCK
@torch.no_grad()
def test_a_correction_equals_the_corrected_full_pass(size, block):
    model = make(mini_batch_size=size, block=block).model
    rows = clicks(12)
    correct = cocorrrec.Correct(model)
    _, states = read(model, rows)
    for t, row in enumerate(rows):
        sent, _ = sent_to(model, t)
        x = model.hidden_states(torch.tensor([rows[: t + 1]]))
        expected = model.user_vectors(x, torch.tensor([t + 1]), sent)[0]
        item = model.item_embedding.weight[row][None]
        user = correct(item, states[t], torch.tensor(t % size), sent.attention[0], sent.bias[0])
        close(user[0], expected)
        assert (expected - model.user_vectors(x, torch.tensor([t + 1]))[0]).abs().max() > 1e-3


@given(st.lists(st.integers(1, 39), min_size=1, max_size=30), st.sampled_from([1, 2]))
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_mamba(rows, layers):
    model = make("Mamba4Rec", d_state=4, num_layers=layers).model.double()  # float32 rounds by 3e-4 in places
    step, whole = mamba_graphs.MambaStep(model), mamba_graphs.MambaRead(model)
    start = graphs_of(model).state.double()
    state = start
    for row in rows:
        user, state = step(model.item_embedding.weight[row][None], state)
    expected = model.forward(torch.tensor([rows]), torch.tensor([len(rows)]))
    close(user, expected)
    half = len(rows) // 2
    before = whole(model.item_embedding.weight[rows[:half]], start)[1] if half else start
    user, after = whole(model.item_embedding.weight[rows[half:]], before)
    close(user, expected)
    close(after, state)


@torch.no_grad()
def test_sasrec():
    model = make("SASRec").model
    graph = sasrec_graphs.SASRecRead(model)
    for count in range(1, 8):
        rows = clicks(count)
        padded = torch.zeros(1, 7, dtype=torch.int64)
        padded[0, :count] = torch.tensor(rows)
        close(graph(model.item_embedding.weight[rows]), model.forward(padded, torch.tensor([count])))


def test_a_model_of_several_layers_takes_no_correction():
    assert graphs_of(make(num_layers=2).model).correction is None
    assert "correct" not in graphs_of(make(use_gcn=False).model).graphs
    assert graphs_of(make().model).correction == {"attention": [2, 3, 3], "bias": [2, 3, 8]}


def test_only_a_transform_has_a_graph():
    assert "targets" not in graphs_of(make(target_transform="identity").model).graphs
    assert "targets" in graphs_of(make(target_transform="mlp").model).graphs


def test_other_models_are_refused():
    with pytest.raises(UserError, match="STAMP cannot be exported; the models that can are GRU4Rec, SASRec, "):
        graphs_of(make("STAMP", embedding_size=16).model)


@SIZES
@LAYERS
@BLOCK
@torch.no_grad()
def test_the_fast_click_equals_the_plain_step(size, layers, block):
    model = make(mini_batch_size=size, num_layers=layers, block=block).model
    plain, fast, slots = cocorrrec.Step(model), click.Click(model), click.Slot(model)
    state, H = cocorrrec.initial_state(model), 2
    f = state.shape[2]
    models = state[:, : f + 1]
    inner = torch.stack([torch.zeros_like(models), models], dim=1).reshape(-1, f)
    read = torch.stack([models, torch.zeros_like(models)], dim=1).reshape(-1, f)
    for slot, row in enumerate(clicks(size)):
        item = model.item_embedding.weight[row][None]
        user, state = plain(item, state, torch.tensor(slot))
        ours, read, turned, _ = fast(item, inner, read, *slots(torch.tensor([slot])))
        close(ours, user)
        keys = turned.view(layers, 2, H, -1)[:, 1, :, :f].reshape(-1, f)
        close(keys[:H], state[:H, f + 1 + slot])
