"""A stock model with this package's layers is the same model."""

import pytest
import torch
from torch import nn

from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.layers.dropout import Dropout
from recbole_cocorr.layers.gru import GRU
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.fast_layers import use_fast_layers
from recbole_cocorr.training.trainer import Trainer


@pytest.mark.parametrize("name", ["GRU4Rec", "NARM", "SASRec"])
def test_a_training_step_gives_the_same_numbers(make_config, name):
    config = make_config(name)
    train, _, _ = data_preparation(config, create_dataset(config))
    plain, fast = (build_model(config, train.dataset).double() for _ in range(2))
    fast.load_state_dict(plain.state_dict())
    names = [n for n, _ in fast.named_parameters()]
    use_fast_layers(fast)
    assert [n for n, _ in fast.named_parameters()] == names
    kinds = {type(m) for m in fast.modules()}
    assert not kinds & {nn.Dropout, nn.GRU} and kinds & {Dropout, GRU}
    rows = next(iter(train))
    rows.update(type(rows)({"neg_item_id": rows["neg_items"][:, 0]}))
    losses = []
    for model in (plain, fast):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # the one thing that is drawn otherwise
        losses.append(model.calculate_loss(rows))
        losses[-1].backward()
    torch.testing.assert_close(*losses, rtol=1e-9, atol=1e-12)
    for (_, a), (_, b) in zip(plain.named_parameters(), fast.named_parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-12)


def test_the_trainer_puts_them_in_and_compiling_leaves_them_out(make_config):
    for compiled in (False, True):
        config = make_config("GRU4Rec", torch_compile=compiled)
        train, _, _ = data_preparation(config, create_dataset(config))
        model = build_model(config, train.dataset)
        Trainer(config, model)
        assert (type(model.gru_layers) is GRU) is not compiled


def test_subclasses_keep_their_own_code():
    class Mine(nn.Dropout):
        pass

    model = nn.Sequential(Mine(0.5), nn.Dropout(0.5))
    use_fast_layers(model)
    assert [type(m) for m in model] == [Mine, Dropout]
