"""A checkpoint comes back bit by bit, or the reader is told what is wrong with the file."""

import builtins
import json
import os
import pickle
import random
import signal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import recbole_cocorr.training.checkpoint as module
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.training.checkpoint import Checkpoint, load_checkpoint, load_weights, plain_config, save_checkpoint


def small(**changed) -> Checkpoint:
    weights = {"emb.weight": torch.arange(12.0).view(4, 3), "scale": torch.tensor(2.5)}
    values = {
        "kind": "model",
        "config": {"model": "CoCorrRec", "hidden_size": 3, "topk": [5, 10], "inner_lr": 0.1, "x": None},
        "items": ["[PAD]", "a", "b", "c"],
        "weights": weights,
        "num_users": 7,
        "epoch": 3,
        "metrics": {"ndcg@10": 0.1234},
    }
    return Checkpoint(**{**values, **changed})


def same_tensors(actual, expected):
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype, name
        assert actual[name].shape == tensor.shape, name
        # bit by bit: NaN is NaN, and -0.0 is not 0.0
        assert (
            actual[name]
            .contiguous()
            .reshape(-1)
            .view(torch.uint8)
            .equal(tensor.detach().contiguous().reshape(-1).view(torch.uint8))
        ), name


def same(actual: Checkpoint, expected: Checkpoint):
    for name in ("kind", "config", "items", "num_users", "epoch", "metrics", "training"):
        assert getattr(actual, name) == getattr(expected, name), name
    same_tensors(actual.weights, expected.weights)
    same_tensors(actual.tensors, expected.tensors)


# -- round trip ---------------------------------------------------------------------------------


@given(
    st.lists(st.text(st.characters()), max_size=8, unique=True),  # any character: line breaks, NUL, lone surrogates
    st.dictionaries(
        st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    ),
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), st.floats(allow_nan=False)),
)
@settings(max_examples=60, deadline=None)
def test_round_trip_of_any_text(tmp_path_factory, items, config, metrics):
    path = tmp_path_factory.mktemp("files") / "a.safetensors"
    checkpoint = small(items=items, config=config, metrics=metrics)
    save_checkpoint(path, checkpoint)
    same(load_checkpoint(path), checkpoint)


def test_round_trip_of_any_tensor(tmp_path):
    weights = {
        "half": torch.randn(3, 2).half(),
        "bfloat": torch.randn(3).bfloat16(),
        "double": torch.randn(2, 2, dtype=torch.float64),
        "special": torch.tensor([1e-45, 3e38, -0.0]),
        "bool": torch.tensor([True, False]),
        "number": torch.tensor(3),
        "none": torch.empty(0, 4),
        "transposed": torch.arange(6.0).view(2, 3).T,
        "every second": torch.arange(10.0)[::2],
        "parameter": nn.Parameter(torch.ones(2)),
        "name.with.model.inside": torch.ones(1),
    }
    training = {"cur_step": 2, "param_groups": [{"lr": 0.1, "betas": [0.9, 0.999], "params": [0, 1]}]}
    tensors = {"optimizer.0.step": torch.tensor(3.0), "rng.torch": torch.get_rng_state()[None]}
    checkpoint = small(kind="training", weights=weights, training=training, tensors=tensors)
    before = {k: v.clone() for k, v in weights.items()}
    save_checkpoint(tmp_path / "a.safetensors", checkpoint)
    same_tensors(weights, before)
    same(load_checkpoint(tmp_path / "a.safetensors"), checkpoint)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight


def test_tied_weights_come_back_tied(tmp_path):
    model = Tied()
    save_checkpoint(tmp_path / "a.safetensors", small(weights=dict(model.state_dict())))
    other = Tied()
    load_weights(other, load_checkpoint(tmp_path / "a.safetensors").weights, "a")
    assert other.first.weight is other.second.weight
    same_tensors(other.state_dict(), model.state_dict())


def test_any_reader_of_safetensors_can_look_inside(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", small(items=["[PAD]", "\u00fc", "x\ny"]))
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert set(file.keys()) == {"model.emb.weight", "model.scale", "vocabulary.items"}
        assert file.metadata()["format"] == "recbole_cocorr.training.checkpoint"
        assert json.loads(file.metadata()["content"])["epoch"] == 3
        assert json.loads(bytes(file.get_tensor("vocabulary.items"))) == ["[PAD]", "\u00fc", "x\ny"]


def test_settings_that_json_cannot_hold_are_left_out():
    settings_ = {
        "a": 1,
        "device": torch.device("cpu"),
        "b": [1, {"c": None}],
        "d": {1: 2},
        "e": [object()],
        "f": (1, "x"),
    }
    assert plain_config(settings_) == {"a": 1, "b": [1, {"c": None}], "f": (1, "x")}


# -- written whole or not at all ----------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_process_killed_in_the_middle_leaves_the_old_file(tmp_path, monkeypatch, moment):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, small(epoch=1))

    def killed(*arguments):
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            setattr(os, moment, killed)
            save_checkpoint(path, small(epoch=2))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert len(list(tmp_path.glob(".a.safetensors*"))) == 1, "killed after it had begun to write"
    same(load_checkpoint(path), small(epoch=1))


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, small(epoch=1))
    monkeypatch.setattr(os, "replace", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, small(epoch=2))
    assert [p.name for p in tmp_path.glob("*a.safetensors*")] == ["a.safetensors"]
    assert load_checkpoint(path).epoch == 1


# -- files that are none ------------------------------------------------------------------------


class Malicious:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


@pytest.mark.parametrize("writer", ["torch", "torch-legacy", "pickle"])
def test_a_pickle_is_named_and_never_run(tmp_path, monkeypatch, writer):
    path, marker = tmp_path / "model.pth", tmp_path / "marker"
    content = {"state_dict": {}, "config": Malicious(marker)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(UserError, match=r"model\.pth is not a readable safetensors file .*pickled .pth file.*not read"):
        load_checkpoint(path)
    assert not marker.exists()


def test_no_unpickler_is_ever_asked(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "a.safetensors", small())

    def forbidden(*arguments, **kw):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    monkeypatch.setattr(builtins, "eval", forbidden)
    same(load_checkpoint(tmp_path / "a.safetensors"), small())


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(UserError, match=r"there is no checkpoint .*none\.safetensors"):
        load_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match=r"is a folder; name the \.safetensors file in it"):
        load_checkpoint(tmp_path)


def test_a_foreign_safetensors_file(tmp_path):
    save_file({"x": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="is no checkpoint of recbole_cocorr"):
        load_checkpoint(tmp_path / "a.safetensors")
    save_file({"x": torch.ones(2)}, tmp_path / "b.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="is no checkpoint of recbole_cocorr"):
        load_checkpoint(tmp_path / "b.safetensors")


def test_a_newer_format_names_both_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FORMAT_VERSION", 2)
    monkeypatch.setattr(module, "__version__", "9.9")
    save_checkpoint(tmp_path / "a.safetensors", small())
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"checkpoint format '2', written by recbole_cocorr 9\.9; .*reads format 1"):
        load_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize("text", [b"", b"\x00", b"PK", b"hello, this is some text of no format", b"\xff" * 64])
def test_other_bytes(tmp_path, text):
    (tmp_path / "a.safetensors").write_bytes(text)
    with pytest.raises(UserError, match=r"a\.safetensors is not a readable safetensors file"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, small())
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="is not a readable safetensors file"):
            load_checkpoint(path)
    path.write_bytes(whole + b"\x00")
    with pytest.raises(UserError, match="is not a readable safetensors file"):
        load_checkpoint(path)


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, small())
    whole = path.read_bytes()
    chance = random.Random(0)
    sentences = set()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.safetensors ") as caught:
            load_checkpoint(path)
        sentences.add(str(caught.value).removeprefix(str(path)).split("(")[0][:12])
    assert " is damaged:" in sentences


@pytest.mark.parametrize("part", ["vocabulary.items", "content"])
def test_a_file_without_one_of_its_parts(tmp_path, part):
    """Well-formed, with a checksum that fits: somebody made it."""
    tensors = {"model.x": torch.ones(1), "vocabulary.items": torch.tensor(list(b"[]"), dtype=torch.uint8)}
    content = {"config": {}, "num_users": 0, "epoch": 0, "metrics": {}, "training": {}}
    texts = {"format": module.FORMAT, "format_version": "1", "kind": "model", "content": json.dumps(content)}
    if part in tensors:
        del tensors[part]
    else:
        texts["content"] = json.dumps({k: v for k, v in content.items() if k != "epoch"})
    texts["digest"] = module._digest(tensors, texts)
    save_file(tensors, tmp_path / "a.safetensors", metadata=texts)
    with pytest.raises(UserError, match=r"a\.safetensors(: epoch is missing| lacks its vocabulary)"):
        load_checkpoint(tmp_path / "a.safetensors")


# -- weights into a model -----------------------------------------------------------------------


def test_weights_that_do_not_fit_are_named():
    model = nn.Linear(3, 2)
    with pytest.raises(UserError, match=r"a\.safetensors lacks the weight 'bias' \(1 in all\) of Linear"):
        load_weights(model, {"weight": torch.ones(2, 3)}, "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors has the weight 'more', which Linear does not"):
        load_weights(model, {**model.state_dict(), "more": torch.ones(1)}, "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors: weight has shape \(3, 2\), but .* makes it \(2, 3\)"):
        load_weights(model, {**model.state_dict(), "weight": torch.ones(3, 2)}, "a.safetensors")


def test_a_refused_file_leaves_the_model_alone():
    model = nn.Linear(3, 2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(UserError):
        load_weights(model, {"weight": torch.zeros(2, 3), "bias": torch.zeros(5)}, "a")
    same_tensors(model.state_dict(), before)
