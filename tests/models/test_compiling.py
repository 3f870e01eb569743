"""``torch_compile``: the same numbers, and on without it where there is no compiler."""

import shutil

import pytest
import torch

from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.training.trainer import Trainer


def prepared(config):
    train, _, _ = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    trainer = Trainer(config, build_model(config, train.dataset))
    trainer._prepare(train)
    trainer.model.eval()
    return trainer, next(iter(train))


def loss_and_gradients(trainer, rows):
    loss = trainer._objective(rows)
    names, parameters = zip(*trainer.model.named_parameters(), strict=True)
    return loss.detach(), dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("name", ["CoCorrRec", "Mamba4Rec"])
def test_compiled_the_loss_and_gradients_are_the_same(make_config, name):
    short = {"MAX_ITEM_LIST_LENGTH": 3, "num_layers": 1}  # the graph grows with both, and the compiler is slow
    plain, compiled = (prepared(make_config(name, torch_compile=on, **short)) for on in (False, True))
    assert compiled[0].model.compiled_part in vars(compiled[0].model)
    loss, gradients = loss_and_gradients(*plain)
    fast_loss, fast_gradients = loss_and_gradients(*compiled)
    torch.testing.assert_close(fast_loss, loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(fast_gradients[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("name", ["CoCorrRec", "GRU4Rec"])
def test_without_a_compiler_a_warning_and_the_plain_model(make_config, monkeypatch, caplog, name):
    def broken(function):
        def fail(*args, **kwargs):
            raise torch._inductor.exc.InductorError(RuntimeError("no C++ compiler"), None)

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    with caplog.at_level("WARNING"):
        trainer, rows = prepared(make_config(name, torch_compile=True))
        loss = trainer._objective(rows)
    assert "torch_compile is left out, because compiling failed" in caplog.text
    assert caplog.text.count("torch_compile is left out") == 1, "said once"
    torch.testing.assert_close(loss, (lambda t: t[0]._objective(t[1]))(prepared(make_config(name))))
