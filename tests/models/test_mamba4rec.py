"""Mamba4Rec as a model: padding, click by click, losses, settings, and from training to a loaded checkpoint."""

import pytest
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.length_groups import length_groups
from recbole_cocorr.models.mamba4rec import network as mamba4rec
from recbole_cocorr.training.recommend import load_model
from recbole_cocorr.training.trainer import Trainer
from tests.layers.test_fast_paths import shaken


def prepared(make_config, **changed):
    config = make_config("Mamba4Rec", **changed)
    loaders = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    return config, loaders, build_model(config, loaders[0].dataset)


@pytest.mark.parametrize("layers", [1, 2])
def test_padding_is_never_seen_and_steps_are_the_pass(make_config, layers):
    _, _, model = prepared(make_config, num_layers=layers)
    model = shaken(model.double()).eval()
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([1, 4, 10, 7, 0])
    item_seq = torch.randint(1, model.n_items, (5, 10), generator=generator)
    other = torch.randint(1, model.n_items, (5, 10), generator=generator)
    real = torch.arange(10) < lengths[:, None]
    users = model(item_seq * real, lengths)
    torch.testing.assert_close(model(torch.where(real, item_seq, other), lengths)[:4], users[:4])
    state = model.initial_state(5)
    for t in range(10):
        vectors, state = model.step(item_seq[:, t], state)
        done = lengths == t + 1
        torch.testing.assert_close(vectors[done], users[done])


def test_rows_in_groups_of_similar_length_give_the_same(make_config, monkeypatch):
    _, _, model = prepared(make_config)
    model = shaken(model.double()).eval()
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(0, 6, (200,), generator=generator)
    lengths[:10] = 10
    item_seq = torch.randint(1, model.n_items, (200, 10), generator=generator)
    assert len(length_groups(lengths, 10)) > 1
    grouped = model(item_seq, lengths)
    gradient = torch.autograd.grad(grouped.square().sum(), list(model.parameters()))
    monkeypatch.setattr(mamba4rec, "length_groups", lambda *_: None)
    whole = model(item_seq, lengths)
    torch.testing.assert_close(grouped, whole)
    for a, b in zip(gradient, torch.autograd.grad(whole.square().sum(), list(model.parameters())), strict=True):
        torch.testing.assert_close(a, b)


def test_one_layer_has_no_residual_and_two_have(make_config):
    for layers in (1, 2):
        _, _, model = prepared(make_config, num_layers=layers)
        layer = model.layers[0].double().eval()
        torch.nn.init.zeros_(layer.mamba.out_proj.weight)
        x = torch.randn(2, 3, 64, dtype=torch.float64)
        alone = layer(x)
        # Without a residual nothing of x is left where the block says nothing.
        assert torch.allclose(alone[0], alone[1]) is (layers == 1)


def test_published_initial_values(make_config):
    _, _, model = prepared(make_config)
    block = model.layers[0].mamba
    assert (block.dt_proj.bias == 0).all() and (model.item_embedding.weight[0] == 0).all()
    for weight in (block.in_proj.weight, block.x_proj.weight, model.layers[0].feed_forward[0].weight):
        assert abs(float(weight.std()) - 0.02) < 0.002
    assert (block.d_state, block.d_conv, block.expand) == (32, 4, 2)


@pytest.mark.parametrize("loss_type", ["BCE", "BPR", "CE"])
def test_every_parameter_learns(make_config, loss_type):
    protocol = {"protocol": "full"} if loss_type == "CE" else {}
    _, (train, *_), model = prepared(make_config, loss_type=loss_type, **protocol)
    model.train()
    loss = model.calculate_loss(next(iter(train)))
    loss.backward()
    assert torch.isfinite(loss)
    # The step sizes' weights start where their gradient may be small, but none is left out.
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_trained_saved_and_loaded(make_config):
    config, (train, valid, test), model = prepared(make_config, epochs=2)
    trainer = Trainer(config, model)
    trainer.fit(train, valid)
    result = trainer.evaluate(test)
    assert 0 < result["ndcg@10"] < 1
    recommender = load_model(trainer.saved_model_file)
    history = [str(t) for t in train.dataset.field2id_token["item_id"][1:6]]
    best = recommender.recommend(history, k=3)
    assert len(best.items) == 3 and best.scores == sorted(best.scores, reverse=True)
    ids = torch.tensor([[*range(1, 6)] + [0] * 5])
    scores = trainer.model.eval()(ids, torch.tensor([5])) @ trainer.model.item_vectors().T
    assert abs(float(scores[0, 1:].max()) - best.scores[0]) < 1e-5


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"d_state": 0}, "d_state is 0; it must be a whole number of at least 1"),
        ({"num_layers": 1.5}, "num_layers is 1.5"),
        ({"dropout_prob": 1.0}, "dropout_prob is 1.0; it must be at least 0 and below 1"),
        ({"initializer_range": -1}, "initializer_range is -1"),
    ],
)
def test_settings_that_do_not_fit(make_config, changed, sentence):
    with pytest.raises(UserError, match="Mamba4Rec cannot be built with these settings: .*" + sentence):
        prepared(make_config, **changed)
