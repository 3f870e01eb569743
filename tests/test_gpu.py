"""On a GPU: the CPU's losses, gradients and metrics, mixed precision, a break in the middle, and Mamba's kernels."""

import copy

import pytest
import torch

from recbole_cocorr.layers import mamba
from tests.layers import random_clicks, random_correction, random_layer
from tests.layers.test_fast_paths import shaken
from tests.training.test_trainer import prepare

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

STILL = {"dropout_prob": 0.0, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
FIELD = {
    "CoCorrRec": {},
    "w/o GCN": {"use_gcn": False},
    "GRU4Rec": {},
    "SASRec": {},
    "DIN": {},
    "Mamba4Rec": {},
    "BERT4Rec": {},
}


@pytest.fixture(autouse=True)
def _whole_floats(monkeypatch):
    """cuDNN rounds a GRU's inputs to TF32 otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def prepared(make_config):
    """Trainer and loaders of a model of the field; none that it does not know is set."""

    def make(label: str, gpu: bool, **settings):
        name = "CoCorrRec" if label == "w/o GCN" else label
        return prepare(make_config(name, **{"use_gpu": gpu, "hidden_size": 16, **FIELD[label], **settings}))

    return make


def loss_and_gradients(trainer, loader):
    trainer._prepare(loader)
    trainer.model.train()  # cuDNN has no gradient of a GRU otherwise
    loader.set_epoch(0)
    rows = next(iter(loader.batches())).interaction.to(trainer.device)
    loss = trainer._objective(rows)
    names, parameters = zip(*trainer.model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return loss.item(), {n: g.cpu() for n, g in zip(names, found, strict=True) if g is not None}


@pytest.mark.parametrize("protocol", ["paper", "full"])
@pytest.mark.parametrize("label", [label for label in FIELD if label != "BERT4Rec"])  # whose masks are drawn
def test_loss_and_gradients_are_the_cpus(prepared, label, protocol):
    (here, loaders), (there, others) = (prepared(label, gpu, protocol=protocol, **STILL) for gpu in (False, True))
    assert {p.device.type for p in there.model.parameters()} == {"cuda"}
    shaken(here.model)
    there.model.load_state_dict(here.model.state_dict())
    loss, gradients = loss_and_gradients(here, loaders[0])
    on_gpu, found = loss_and_gradients(there, others[0])
    assert on_gpu == pytest.approx(loss, rel=1e-4)
    assert set(found) == set(gradients)
    for name, gradient in gradients.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(found[name], gradient, rtol=2e-3, atol=1e-3 * scale + 1e-7, msg=name)


@pytest.mark.parametrize("protocol", ["paper", "full"])
@pytest.mark.parametrize("label", FIELD)
def test_a_trained_model_has_the_same_metrics_on_both(prepared, label, protocol):
    trainer, (train, valid, test) = prepared(label, True, protocol=protocol)
    trainer.fit(train, valid, verbose=False, saved=False)
    on_gpu = trainer.evaluate(test, load_best_model=False)
    other, (_, _, rows) = prepared(label, False, protocol=protocol)
    other.model.load_state_dict(trainer.model.state_dict())
    for metric, value in other.evaluate(rows, load_best_model=False).items():
        assert on_gpu[metric] == pytest.approx(value, abs=5e-3), metric


@pytest.mark.parametrize("label", FIELD)
def test_mixed_precision_trains(prepared, label):
    """Half precision where autocast chooses it: the weights stay whole, and the loss is near the other's."""
    losses = []
    for amp in (False, True):
        trainer, (train, valid, _) = prepared(label, True, enable_amp=amp, enable_scaler=amp, **STILL)
        trainer.fit(train, valid, verbose=False, saved=False)
        losses.append(trainer.train_loss_dict[1])
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in trainer.model.parameters())
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


@pytest.mark.parametrize("label", ["CoCorrRec", "GRU4Rec"])
def test_a_resumed_training_draws_what_the_whole_one_drew(prepared, label):
    """Dropout on the GPU goes on with the numbers it would have drawn; sums there differ in their last bits."""
    whole, (train, valid, _) = prepared(label, True, epochs=3)
    whole.fit(train, valid, verbose=False)
    first, (train, valid, _) = prepared(label, True, epochs=1)
    first.fit(train, valid, verbose=False)
    rest, (train, valid, _) = prepared(label, True, epochs=3)
    rest.resume_checkpoint(first.training_state_file)
    rest.fit(train, valid, verbose=False)
    for epoch in (1, 2):
        assert rest.train_loss_dict[epoch] == pytest.approx(whole.train_loss_dict[epoch], rel=1e-4)


def test_compiled_the_loss_is_the_same(prepared):
    plain, compiled = (prepared("CoCorrRec", True, torch_compile=on, **STILL) for on in (False, True))
    loss, gradients = loss_and_gradients(plain[0], plain[1][0])
    fast, found = loss_and_gradients(compiled[0], compiled[1][0])
    assert "user_vectors" in vars(compiled[0].model)
    assert fast == pytest.approx(loss, rel=1e-4)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-2, atol=1e-5, msg=name)


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize(("length", "size"), [(1, 1), (7, 3), (10, 10), (23, 5)])
def test_the_ttt_layer_in_all_forms(length, size, corrected):
    """In float64: dual and step on the GPU are the CPU's dual, with every gradient and the state."""
    here = random_layer(8, 2, size)
    there = copy.deepcopy(here).cuda()
    x = random_clicks(3, length, 8)
    lengths = torch.tensor([length, 0, (length + 1) // 2])
    correction, fusion = random_correction(3, here) if corrected else (None, None)
    how = {"correction": correction, "fusion": fusion} if corrected else {}
    on_gpu = {
        k: (copy.deepcopy(v).cuda() if k == "fusion" else type(v)(*(p.cuda() for p in v))) for k, v in how.items()
    }
    output, state = here(x, lengths=lengths, return_state=True, **how)
    found, after = there(x.cuda(), lengths=lengths.cuda(), return_state=True, **on_gpu)
    real = (torch.arange(length) < lengths[:, None])[..., None]
    torch.testing.assert_close(found.cpu() * real, output * real, rtol=1e-9, atol=1e-11)
    for name, value in state.to_dict().items():
        torch.testing.assert_close(after.to_dict()[name].cpu(), value, rtol=1e-9, atol=1e-11, msg=name)
    ours, theirs = (
        torch.autograd.grad((y * r).square().sum(), list(layer.parameters()))
        for y, r, layer in ((output, real, here), (found, real.cuda(), there))
    )
    for (name, _), one, other in zip(here.named_parameters(), ours, theirs, strict=True):
        torch.testing.assert_close(other.cpu(), one, rtol=1e-8, atol=1e-10, msg=name)
    kept, steps = there.initial_state(3), []
    for t in range(length):
        y, kept = there.step(x[:, t].cuda(), kept, **on_gpu)
        steps.append(y)
    whole = there(x.cuda(), **on_gpu)
    torch.testing.assert_close(torch.stack(steps, dim=1), whole, rtol=1e-9, atol=1e-11)


@pytest.mark.skipif(mamba.fused_block() is None, reason="needs mamba-ssm and causal-conv1d")
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (3, 7), (2, 50), (4, 200)])
def test_mambas_kernels_are_the_plain_block(monkeypatch, rows, length):
    torch.manual_seed(0)
    block = shaken(mamba.Mamba(64, 32, 4, 2)).cuda()
    x = torch.randn(rows, length, 64, device="cuda", requires_grad=True)
    results = []
    calls = []
    monkeypatch.setattr(block, "_fused", lambda *a, kernel=block._fused: calls.append(1) or kernel(*a))
    for fused in (True, False):
        if not fused:
            monkeypatch.setattr(block, "is_fusable", lambda x: False)
        y = block(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *block.parameters()])))
    assert len(calls) == 1
    for name, one, other in zip(["y", "x", *dict(block.named_parameters())], *results, strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-3 * scale, msg=name)


@pytest.mark.skipif(mamba.fused_block() is None, reason="needs mamba-ssm and causal-conv1d")
def test_mambas_own_module_loads_our_weights():
    from mamba_ssm import Mamba as Theirs

    torch.manual_seed(0)
    ours = shaken(mamba.Mamba(64, 32, 4, 2)).cuda()
    theirs = Theirs(64, d_state=32, d_conv=4, expand=2).cuda()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 20, 64, device="cuda")
    scale = ours(x).abs().max().item()
    torch.testing.assert_close(theirs(x), ours(x), rtol=2e-3, atol=1e-3 * scale)
