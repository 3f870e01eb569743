"""Checkpoints with a checksum that is right and contents that are not: refused in one sentence, at once."""

import copy
import random

import numpy as np
import pytest
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.models.build_limit import BuildLimit
from recbole_cocorr.training.checkpoint import Checkpoint, load_checkpoint, load_weights, plain_config, save_checkpoint
from recbole_cocorr.training.recommend import load_model, recommender_from
from tests.device import TOKENS, make
from tests.training.test_checkpoint import small

NAN = float("nan")
EMBEDDING = "item_embedding.weight"
NAMES = ["CoCorrRec", "GRU4Rec", "SASRec", "Mamba4Rec", "BERT4Rec"]
_MADE: dict[str, Checkpoint] = {}


def made(name: str = "CoCorrRec") -> Checkpoint:
    """The checkpoint of a small model, to be changed at will."""
    if name not in _MADE:
        recommender = make(name)
        config = {k: v for k, v in plain_config(recommender.config).items() if k != "device"}
        _MADE[name] = Checkpoint("model", config, list(TOKENS), dict(recommender.model.state_dict()), 1)
    return copy.deepcopy(_MADE[name])


def use(checkpoint: Checkpoint) -> list[float]:
    """What everybody does with a checkpoint."""
    save_checkpoint("a.safetensors", checkpoint)
    return load_model("a.safetensors").recommend(TOKENS[3:6], k=3).scores


def refused(checkpoint: Checkpoint, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        use(checkpoint)
    assert "a.safetensors" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_an_honest_checkpoint_is_used(name):
    assert np.isfinite(use(made(name))).all()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"config": []}, "config is a list of 0; it must be an object"),
        ({"config": "x"}, "config is 'x'; it must be an object"),
        ({"config": {}}, "config.model is missing"),
        ({"config": {"a": [[[[[1] * 3]]]] * 2, "model": "os.system"}}, "config.model is 'os.system'; it must be"),
        ({"num_users": "x"}, "num_users is 'x'; it must be a whole number"),
        ({"num_users": -5}, "num_users is -5"),
        ({"num_users": 10**12}, "num_users is 1000000000000"),
        ({"num_users": 3.7}, "num_users is 3.7"),
        ({"num_users": True}, "num_users is True"),
        ({"epoch": "3"}, "epoch is '3'"),
        ({"metrics": [1, 2]}, "metrics is a list of 2"),
        ({"metrics": {"a": "b"}}, "metrics.a is 'b'; it must be a number"),
        ({"training": None}, "training is None; it must be an object"),
        ({"kind": "zzz"}, "kind is 'zzz'; it must be one of model, training"),
        ({"items": 5}, "vocabulary.items is 5; it must be a list of texts"),
        ({"items": {"a": 1}}, "vocabulary.items is an object of 1"),
        ({"items": list(range(40))}, "vocabulary.items is a list of 40; it must be a list of texts"),
        ({"items": [None] * 40}, "must be a list of texts"),
        ({"items": [[1]] * 40}, "must be a list of texts"),
        ({"items": []}, "cannot be built|has shape"),
        ({"items": ["[PAD]", "a"]}, r"has shape \(40, 16\), but the configuration makes it \(2, 16\)"),
        ({"items": ["[PAD]", *["a"] * 39]}, "vocabulary.items holds 'a' more than once"),
    ],
)
def test_parts_of_other_types(change, sentence):
    checkpoint = made()
    for name, value in change.items():
        setattr(checkpoint, name, value)
    refused(checkpoint, sentence)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"model": ["x"]}, "config.model is a list of 1; it must be a text"),
        ({"model": "../../x"}, "config.model is '../../x'"),
        ({"ITEM_ID_FIELD": []}, "config.ITEM_ID_FIELD is a list of 0"),
        ({"MAX_ITEM_LIST_LENGTH": 10**9}, "MAX_ITEM_LIST_LENGTH is 1000000000; it must be a whole number from 1 to"),
        ({"MAX_ITEM_LIST_LENGTH": -1}, "MAX_ITEM_LIST_LENGTH is -1"),
        ({"MAX_ITEM_LIST_LENGTH": "x"}, "MAX_ITEM_LIST_LENGTH is 'x'"),
        ({"MAX_ITEM_LIST_LENGTH": None}, "MAX_ITEM_LIST_LENGTH is None"),
        ({"num_layers": 10**7}, "a model far larger than the weights in the file"),
        ({"num_layers": 10**30}, "cannot be built with these settings"),
        ({"mini_batch_size": None, "MAX_ITEM_LIST_LENGTH": 20_000}, "a model far larger than the weights in the file"),
        ({"hidden_size": 2 * 10**9}, "a model far larger than the weights in the file|cannot be built"),
        ({"hidden_size": "x"}, "hidden_size is 'x'"),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"num_heads": [2]}, r"num_heads is \[2\]"),
        ({"mini_batch_size": 0}, "mini_batch_size is 0"),
        ({"inner_lr": NAN}, "inner_lr is nan; it must be a finite number"),
        ({"initializer_range": float("inf")}, "initializer_range is inf; it must be a finite number"),
        ({"dropout_prob": NAN}, "dropout_prob is nan"),
        ({"loss_type": {}}, "loss_type is {}"),
    ],
)
def test_settings_of_a_made_up_file(change, sentence):
    checkpoint = made()
    checkpoint.config.update(change)
    refused(checkpoint, sentence)


@pytest.mark.parametrize(
    "name, key",
    [
        *(("GRU4Rec", key) for key in ("embedding_size", "hidden_size", "num_layers")),
        *(("SASRec", key) for key in ("hidden_size", "n_layers", "inner_size", "MAX_ITEM_LIST_LENGTH")),
        *(("BERT4Rec", key) for key in ("hidden_size", "n_layers", "inner_size", "MAX_ITEM_LIST_LENGTH")),
        *(("Mamba4Rec", key) for key in ("hidden_size", "num_layers", "d_state", "d_conv", "expand")),
    ],
)
@pytest.mark.parametrize("value", [10**7, 60_000, 10**30, -1, 0, "x", [1], None])
def test_sizes_of_other_models(name, key, value):
    checkpoint = made(name)
    checkpoint.config[key] = value
    refused(checkpoint, "a.safetensors")


def test_a_build_is_bounded_before_it_allocates():
    """Not by what it costs: an array of 4 TB, a million small ones, an outer product of two short rows."""
    with pytest.raises(ValueError, match="far larger"), BuildLimit(10, 1000):
        torch.zeros(1 << 40)
    with pytest.raises(ValueError, match="far larger"), BuildLimit(10, 1000):
        for _ in range(10**6):
            torch.zeros(1)
    with BuildLimit(10, 1000):
        column = torch.arange(1 << 20)[:, None]
    with pytest.raises(ValueError, match="far larger"), BuildLimit(10, 1000):
        column * column.T


def test_models_that_read_files_are_not_built(tmp_path):
    """RecBole's NeuMF unpickles the files that its settings name."""
    from tests.training.test_checkpoint import Malicious

    torch.save({"state_dict": Malicious(tmp_path / "marker")}, tmp_path / "mf.pth")
    path = str(tmp_path / "mf.pth")
    checkpoint = made()
    sizes = {"mf_embedding_size": 4, "mlp_embedding_size": 4, "mlp_hidden_size": [4], "dropout_prob": 0.0}
    checkpoint.config.update(model="NeuMF", use_pretrain=True, mf_pretrain_path=path, mlp_pretrain_path=path)
    checkpoint.config.update(sizes, mf_train=True, mlp_train=True)
    refused(checkpoint, "config.model is 'NeuMF'; it must be a sequential model")
    assert not (tmp_path / "marker").exists()


def test_a_setting_that_is_looked_at_late():
    checkpoint = made("SASRec")
    checkpoint.config["layer_norm_eps"] = "x"
    save_checkpoint("a.safetensors", checkpoint)
    with pytest.raises(UserError, match="SASRec cannot compute with its settings"):
        load_model("a.safetensors").recommend(TOKENS[3:6])


# -- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_weights_that_are_not_finite(name, value):
    checkpoint = made(name)
    which = sorted(checkpoint.weights)[-1]
    checkpoint.weights[which].view(-1)[-1] = value
    refused(checkpoint, f"a.safetensors: model.{which} holds NaN or infinity")


TYPES = [torch.int64, torch.int8, torch.bool, torch.complex64, torch.float64, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", [*TYPES, torch.float8_e4m3fn])
def test_weights_are_not_cast(dtype):
    checkpoint = made()
    checkpoint.weights[EMBEDDING] = checkpoint.weights[EMBEDDING].to(dtype)
    refused(checkpoint, rf"{EMBEDDING} is {str(dtype)[6:]}, but the model's is float32; weights are not cast")


def test_a_weight_of_another_type_leaves_the_model_alone():
    model = torch.nn.Linear(3, 2)
    before = copy.deepcopy(model.state_dict())
    for bad in (torch.ones(2, dtype=torch.int64), torch.tensor([1, NAN])):
        with pytest.raises(UserError, match="a: bias"):
            load_weights(model, {"weight": torch.zeros(2, 3), "bias": bad}, "a")
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_weights_that_are_too_large_are_not_ranked_by():
    checkpoint = made()
    checkpoint.weights["final_norm.weight"].fill_(3e38)
    checkpoint.weights[EMBEDDING][5:].fill_(3e38)
    checkpoint.weights[EMBEDDING][5:, ::2].fill_(-3e38)
    save_checkpoint("a.safetensors", checkpoint)
    with pytest.raises(UserError, match="the scores of CoCorrRec are no numbers"):
        load_model("a.safetensors").recommend(TOKENS[3:6])


# -- seeded trials --------------------------------------------------------------------------------

VALUES = [None, True, 0, -1, 3, 10**7, 10**18, 0.5, NAN, 1e308, "", "x", "\ud800", [], [[]], {}, {"a": {}}, [1, "x"]]


@pytest.mark.parametrize("seed", range(60))
def test_made_up_checkpoints_are_refused_or_used(seed):
    """Any value of any part replaced, a tensor swapped, cut or cast: a sentence, or scores that are numbers."""
    chance = random.Random(seed)
    checkpoint = made(chance.choice(NAMES))
    for _ in range(chance.randint(1, 3)):
        kind = chance.randrange(4)
        if kind == 0:
            checkpoint.config[chance.choice(sorted(checkpoint.config))] = chance.choice(VALUES)
        elif kind == 1:
            setattr(checkpoint, chance.choice(["num_users", "epoch", "metrics", "training"]), chance.choice(VALUES))
        elif kind == 2:
            at = chance.randrange(len(checkpoint.items))
            checkpoint.items[at : at + chance.randint(0, 2)] = [chance.choice(VALUES)]
        else:
            one, other = chance.sample(sorted(checkpoint.weights), 2)
            changes = [
                lambda t, other=other: checkpoint.weights[other].clone(),
                lambda t: t.flatten(),
                lambda t: t[..., :0],
                lambda t: t.double(),
                lambda t: t * NAN,
                lambda t: t * 1e30,
            ]
            checkpoint.weights[one] = chance.choice(changes)(checkpoint.weights[one])
    try:
        assert np.isfinite(use(checkpoint)).all()
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_checkpoints_are_refused(seed, tmp_path):
    """Two files of one model: bytes flipped, cut off, taken from the other, two stretches swapped."""
    chance = random.Random(seed)
    raw = []
    for number in range(2):
        checkpoint = small(epoch=number, weights={"emb.weight": torch.full((40, 3), float(number))})
        save_checkpoint(tmp_path / "a.safetensors", checkpoint)
        raw.append((tmp_path / "a.safetensors").read_bytes())
    damaged, other = bytearray(raw[0]), raw[1]
    low, high = sorted(chance.sample(range(len(damaged)), 2))
    kind = seed % 4
    if kind == 0:
        for _ in range(chance.randint(1, 20)):
            damaged[chance.randrange(len(damaged))] ^= chance.randint(1, 255)
    elif kind == 1:
        del damaged[low:]
    elif kind == 2:
        damaged[low:high] = other[low:high]
    else:
        size = chance.randint(1, 64)
        damaged[low : low + size], damaged[high : high + size] = raw[0][high : high + size], raw[0][low : low + size]
    (tmp_path / "a.safetensors").write_bytes(damaged)
    try:
        load_checkpoint(tmp_path / "a.safetensors")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert bytes(damaged) in raw


def test_the_vocabulary_may_hold_half_a_character():
    checkpoint = made()
    checkpoint.items = ["[PAD]", *(f"\ud800{i}" for i in range(1, 40))]
    save_checkpoint("a.safetensors", checkpoint)
    assert load_model("a.safetensors").recommend(["\ud8003"], k=1).items[0].startswith("\ud800")
    assert recommender_from(checkpoint, "a", "cpu").vocabulary.items == checkpoint.items
