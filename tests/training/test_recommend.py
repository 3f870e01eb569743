"""A checkpoint alone recommends to a new user, with the scores that the trainer ranks by."""

import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.models.registry import find_model
from recbole_cocorr.training.checkpoint import load_checkpoint, save_checkpoint
from recbole_cocorr.training.recommend import Vocabulary, load_model
from tests.conftest import CHECKOUT
from tests.models.test_scoring import disturb
from tests.training.test_trainer import prepare


@pytest.fixture
def saved(make_config, small_data):
    """Write a checkpoint of an (almost) untrained model, delete its data; returns path, trainer and test loader."""

    def save(name="CoCorrRec", **settings):
        trainer, (_, _, test) = prepare(make_config(name, MAX_ITEM_LIST_LENGTH=6, **settings))
        disturb(trainer.model)
        trainer.model.eval()
        trainer._remember_vocabulary(test.dataset)
        trainer._save_checkpoint(0, verbose=False)
        shutil.rmtree(small_data)
        return trainer.saved_model_file, trainer, test

    return save


def history_of(test, row) -> list[str]:
    rows = test.dataset[torch.tensor([row])]
    ids = rows["item_id_list"][0, : int(rows["item_length"])]
    return test.dataset.field2id_token["item_id"][ids.numpy()].tolist()


@pytest.mark.parametrize("name", ["CoCorrRec", "GRU4Rec", "SASRec", "BERT4Rec", "NARM", "HGN"])
@torch.no_grad()
def test_scores_are_those_that_the_trainer_ranks_by(saved, name):
    path, trainer, test = saved(name)
    recommender = load_model(path)
    rows = test.dataset[torch.arange(len(test.dataset))]
    if name == "HGN":
        rows.interaction["user_id"][:] = 0  # the new user is none of those it knows
    expected = trainer.model.full_sort_predict(rows)
    tokens = test.dataset.field2id_token["item_id"].tolist()
    for row in range(0, 60, 7):
        result = recommender.recommend(history_of(test, row), k=1000)
        assert len(result.items) == len(tokens) - 1
        assert result.scores == sorted(result.scores, reverse=True)
        scores = dict(zip(result.items, result.scores, strict=True))
        ours = torch.tensor([scores[token] for token in tokens[1:]])
        torch.testing.assert_close(ours, expected[row, 1:], rtol=1e-4, atol=1e-5)


def test_candidates_and_the_whole_catalogue_agree(saved):
    path, _, test = saved()
    recommender = load_model(path)
    everything = recommender.recommend(history_of(test, 3), k=1000)
    candidates = everything.items[50:20:-3]
    some = recommender.recommend(history_of(test, 3), k=4, candidates=[*candidates, candidates[-1]])
    assert some.items == sorted(candidates, key=everything.items.index)[:4]
    whole = dict(zip(everything.items, everything.scores, strict=True))
    assert some.scores == pytest.approx([whole[item] for item in some.items], abs=1e-5)


def test_k_is_how_many_at_most(saved):
    path, _, test = saved()
    recommender, history = load_model(path), history_of(test, 0)
    whole = recommender.recommend(history, k=1000).items
    for k in (1, 10, np.int64(3)):
        assert recommender.recommend(history, k=k).items == whole[:k]
    assert len(recommender.recommend(history).items) == 10


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", None, True])
def test_a_k_that_is_no_number_of_items(saved, k):
    path, _, test = saved()
    with pytest.raises(UserError, match=rf"k is {k!r}; it must be a whole number of at least 1"):
        load_model(path).recommend(history_of(test, 0), k=k)


def test_what_the_user_has_had_can_be_left_out(saved):
    path, _, _ = saved()
    recommender = load_model(path)
    tokens = recommender.vocabulary.items[1:]
    history = tokens[:20]  # longer than the six clicks that the model reads
    whole = recommender.recommend(history, k=1000).items
    left = recommender.recommend(history, k=1000, exclude_history=True).items
    assert left == [token for token in whole if token not in history]
    few = recommender.recommend(history, candidates=tokens[10:25], exclude_history=True, k=1000).items
    assert sorted(few) == sorted(tokens[20:25])
    assert recommender.recommend(history, candidates=tokens[:5], exclude_history=True).items == []


def test_only_the_last_known_clicks_count_and_their_order(saved):
    path, _, _ = saved()
    recommender = load_model(path)
    tokens = recommender.vocabulary.items[1:]
    last = recommender.recommend(tokens[14:20], k=1000)
    assert recommender.recommend(tokens[:20], k=1000) == last
    scattered = recommender.recommend([*tokens[14:17], "no such item", *tokens[17:20]], k=1000)
    assert (scattered.items, scattered.scores) == (last.items, last.scores)
    assert recommender.recommend(tokens[19:13:-1], k=1000).scores != last.scores


def test_unknown_tokens_are_reported_once(saved, caplog):
    path, _, test = saved()
    recommender = load_model(path)
    history = ["x1", *history_of(test, 0), "x1"]
    known = recommender.vocabulary.items[5]
    with caplog.at_level(logging.WARNING):
        result = recommender.recommend(history, candidates=["x2", known, "x1", "x2"])
    assert result.items == [known]
    assert result.unknown == ["x1", "x2"]
    assert "2 unknown item tokens were left out: x1, x2" in caplog.text
    assert recommender.recommend(["x1", "x9", "x1"]).unknown == ["x1", "x9"]
    with pytest.raises(UserError, match="no candidate is an item that the model knows"):
        recommender.recommend(history, candidates=["x1"])
    with pytest.raises(UserError, match="no candidate"):
        recommender.recommend(history, candidates=[])
    with pytest.raises(UserError, match="is a list of tokens, not one string"):
        recommender.recommend("i1")


def test_the_padding_token_is_no_item(saved):
    path, _, test = saved()
    recommender = load_model(path)
    assert recommender.recommend(["[PAD]", *history_of(test, 0)]).unknown == ["[PAD]"]
    assert "[PAD]" not in recommender.recommend(history_of(test, 0), k=1000).items


def test_numbers_stand_for_their_tokens(saved):
    path, _, _ = saved()
    checkpoint = load_checkpoint(path)
    checkpoint.items = ["[PAD]", *map(str, range(100, 99 + len(checkpoint.items)))]
    save_checkpoint("numbers.safetensors", checkpoint)
    recommender = load_model("numbers.safetensors")
    assert recommender.recommend([101, 102], candidates=[103]).items == ["103"]


def test_the_gcn_can_be_left_out(saved):
    path, trainer, test = saved()
    history = history_of(test, 5)
    alone = load_model(path, use_gcn=False)
    assert not any(name.startswith("gcn") for name in alone.model.state_dict())
    trainer.model.use_gcn = False
    rows = test.dataset[torch.tensor([5])]
    expected = trainer.model.full_sort_predict(rows)[0].detach()
    result = alone.recommend(history, k=1000)
    best = [test.dataset.field2id_token["item_id"][i] for i in (expected[1:].argsort(descending=True) + 1).tolist()]
    assert result.items == best
    assert result.items != load_model(path).recommend(history, k=1000).items


def test_dropout_is_off_and_calls_do_not_disturb_each_other(saved):
    path, _, test = saved(dropout_prob=0.5)
    recommender = load_model(path)
    assert not recommender.model.training
    first = recommender.recommend(history_of(test, 1))
    recommender.recommend(history_of(test, 2), exclude_history=True)
    assert recommender.recommend(history_of(test, 1)) == first


def test_new_weights_are_read_by_the_next_call(saved):
    """Item vectors are kept between the calls of one evaluation, not for ever."""
    path, _, test = saved(target_transform="mlp")
    recommender = load_model(path)
    before = recommender.recommend(history_of(test, 1), k=1000)
    with torch.no_grad():
        recommender.model.item_embedding.weight.neg_()
    assert recommender.recommend(history_of(test, 1), k=1000).scores != before.scores


def test_the_catalogues_vectors_are_made_once(saved, monkeypatch):
    path, _, test = saved()
    recommender = load_model(path)
    made, own = [], recommender.model.item_vectors
    monkeypatch.setattr(
        recommender.model, "item_vectors", lambda items=None: (made.append(items is None), own(items))[1]
    )
    for row in range(3):
        recommender.recommend(history_of(test, row))
    assert sum(made) == 1


def test_a_training_state_holds_a_model_too(make_config):
    trainer, (train, valid, test) = prepare(make_config(epochs=1))
    trainer.fit(train, valid)
    recommender = load_model(trainer.training_state_file)
    assert recommender.recommend(history_of(test, 0)) == load_model(trainer.saved_model_file).recommend(
        history_of(test, 0)
    )
    assert recommender.metrics == trainer._valid_metrics
    assert recommender.config["model"] == "CoCorrRec"


# -- what cannot be loaded ----------------------------------------------------------------------


def test_a_setting_that_is_none(saved):
    path, _, _ = saved()
    with pytest.raises(UserError, match="has no setting 'use_gnc' that could be changed"):
        load_model(path, use_gnc=False)
    with pytest.raises(UserError, match="CoCorrRec cannot be built with these settings: num_heads is 0"):
        load_model(path, num_heads=0)
    with pytest.raises(UserError, match=r"has shape .* but the configuration makes it"):
        load_model(path, hidden_size=32)


def test_a_device_that_is_none(saved):
    path, _, _ = saved()
    with pytest.raises(UserError, match="there is no device 'gpu'"):
        load_model(path, device="gpu")


def test_a_model_that_is_not_installed(saved):
    path, _, _ = saved()
    checkpoint = load_checkpoint(path)
    checkpoint.config["model"] = "TheirModel"
    save_checkpoint("other.safetensors", checkpoint)
    with pytest.raises(UserError, match=r"other\.safetensors: config\.model is 'TheirModel'; it must be a"):
        load_model("other.safetensors")


def test_a_model_that_needs_its_data(saved, monkeypatch):
    path, _, _ = saved("GRU4Rec")

    def ask(self, config, dataset):
        dataset.field2type["item_id"]

    monkeypatch.setattr(find_model("GRU4Rec"), "__init__", ask)
    with pytest.raises(UserError, match=r"GRU4Rec cannot be loaded without its training data: it asks .*field2type"):
        load_model(path)


def test_the_vocabulary_knows_two_fields():
    vocabulary = Vocabulary({"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id"}, ["[PAD]", "a", "b"], 9)
    assert (vocabulary.num("item_id"), vocabulary.num("user_id")) == (3, 9)
    with pytest.raises(AttributeError, match="the field 'genre' of the training data"):
        vocabulary.num("genre")


def test_histories_are_laid_out_as_in_training(saved):
    path, _, test = saved()
    recommender = load_model(path)
    row = test.dataset[torch.arange(4)]
    histories = [r[:n].tolist() for r, n in zip(row["item_id_list"], row["item_length"], strict=True)]
    ours: Interaction = recommender.interaction([[7, 8, *histories[0]], *histories[1:]])
    full = row["item_length"] == 6
    assert full[0], "the first history fills its row, so what stands before it is cut off"
    assert torch.equal(ours["item_id_list"], row["item_id_list"])
    assert torch.equal(ours["item_length"], row["item_length"])


FORK = """
import os, sys, torch
torch.set_num_threads(2)
import recbole_cocorr.training.recommend
torch.randn(600, 600).exp().sum()  # torch's threads are running
child = os.fork()
if not child:
    torch.randn(600, 600).exp().sum()
    os._exit(0 if torch.get_num_threads() == 1 else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_child_does_not_wait_for_its_parents_threads():
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
