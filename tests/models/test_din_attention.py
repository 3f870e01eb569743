"""DIN's attention on real clicks against RecBole's padded one."""

import pytest
import torch
from recbole.model.layers import SequenceAttLayer

from recbole_cocorr.models.din.attention import SequenceAttention
from recbole_cocorr.models.fast_layers import use_fast_layers

STEPS, WIDTH = 7, 6


def make(activation: str = "Sigmoid", sizes=(24, 11, 5), **settings) -> SequenceAttLayer:
    torch.manual_seed(3)
    settings = {"softmax_stag": False, "return_seq_weight": False, **settings}
    return SequenceAttLayer(torch.arange(STEPS).view(1, -1), sizes, activation=activation, **settings).double()


def twins(**settings):
    slow, fast = make(**settings), make(**settings)
    use_fast_layers(fast)
    assert type(fast) is SequenceAttention
    return slow, fast


@pytest.mark.parametrize("lengths", [[7, 7, 7], [1, 4, 7], [1, 1, 1], [0, 3, 0], [0, 0, 0]])
@pytest.mark.parametrize("activation", ["Sigmoid", "relu", "tanh"])
def test_output_and_every_gradient_are_recboles(lengths, activation):
    slow, fast = twins(activation=activation)
    queries, keys = torch.randn(3, WIDTH).double(), torch.randn(3, STEPS, WIDTH).double()
    found = []
    for layer in (slow, fast):
        q, k = queries.clone().requires_grad_(), keys.clone().requires_grad_()
        out = layer(q, k, torch.tensor(lengths))
        (out * torch.arange(1, 3 * WIDTH + 1).view(3, 1, WIDTH)).sum().backward()
        # A parameter that no click reaches has no gradient or one of 0.
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in layer.parameters()]
        found.append([out.detach(), q.grad, k.grad, *grads])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("setting", ["softmax_stag", "return_seq_weight"])
def test_other_forms_are_left_to_recbole(setting):
    slow, fast = twins(**{setting: True})
    queries, keys, lengths = (
        torch.randn(3, WIDTH).double(),
        torch.randn(3, STEPS, WIDTH).double(),
        torch.tensor([2, 7, 4]),
    )
    assert torch.equal(slow(queries, keys, lengths), fast(queries, keys, lengths))


def test_padding_does_not_reach_the_answer():
    _, fast = twins()
    queries, keys, lengths = (
        torch.randn(3, WIDTH).double(),
        torch.randn(3, STEPS, WIDTH).double(),
        torch.tensor([2, 7, 4]),
    )
    out = fast(queries, keys, lengths)
    for row, length in enumerate(lengths):
        keys[row, length:] = torch.nan
    assert torch.equal(fast(queries, keys, lengths), out)


def test_din_trains_to_recboles_numbers(make_config):
    """A step of the whole model, as the trainer makes it, with and without the fast layer."""
    from recbole_cocorr.data.dataset import create_dataset
    from recbole_cocorr.data.loaders import data_preparation
    from recbole_cocorr.models.factory import build_model

    config = make_config("DIN")
    train, _, _ = data_preparation(config, create_dataset(config))
    rows = train.dataset[torch.arange(20)]
    losses = []
    for fast in (False, True):
        torch.manual_seed(0)
        model = build_model(config, train.dataset)
        if fast:
            use_fast_layers(model)
            assert type(model.attention) is SequenceAttention
        user, seq = rows[model.USER_ID], rows[model.ITEM_SEQ]
        out = model(user, seq, rows[model.ITEM_SEQ_LEN], rows[model.POS_ITEM_ID])
        out.square().sum().backward()
        losses.append([out.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(losses[0]) == len(losses[1])
    for a, b in zip(*losses, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
