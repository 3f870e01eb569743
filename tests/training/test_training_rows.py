"""Training on windows and on batches by length, as the trainer does it."""

import numpy as np
import pytest
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data import distributed
from recbole_cocorr.models.length_groups import ByLength
from recbole_cocorr.training.prepare import prepare

ALONE = {"use_gcn": False, "item_init": "random"}
SETTINGS = {"training_rows": "sequence", "train_batch_size": 16, "MAX_ITEM_LIST_LENGTH": 8, "epochs": 2}
MODELS = {"CoCorrRec": ALONE, "Mamba4Rec": {}, "SASRec": {}, "GRU4Rec": {}}


def fitted(config, file: str | None = None):
    prepared = prepare(config)
    if file:
        prepared.trainer.resume_checkpoint(file)
    prepared.trainer.fit(prepared.data.train, prepared.data.valid)
    return prepared


@pytest.mark.parametrize("loss_type", ["BCE", "CE"])
@pytest.mark.parametrize("name", MODELS)
def test_a_training_goes_down_and_is_evaluated_as_ever(make_config, name, loss_type):
    prepared = fitted(make_config(name, loss_type=loss_type, **{**SETTINGS, "epochs": 3}, **MODELS[name]))
    losses = prepared.trainer.train_loss_dict
    assert losses[2] < losses[0]
    result = prepared.trainer.evaluate(prepared.data.test)
    assert len(prepared.trainer.ranks["test"]) == len(prepared.data.test.users) and np.isfinite(result["ndcg@10"])


@pytest.mark.parametrize("name", MODELS)
def test_a_resumed_training_has_the_numbers_of_an_uninterrupted_one(make_config, name):
    more = {**SETTINGS, **MODELS[name], "batch_by_length": True, "softmax_sample_num": 20, "loss_type": "CE"}
    whole = fitted(make_config(name, **{**more, "epochs": 3}, checkpoint_dir="whole"))
    first = fitted(make_config(name, **{**more, "epochs": 1}, checkpoint_dir="parts"))
    rest = fitted(make_config(name, **{**more, "epochs": 3}, checkpoint_dir="parts"), first.trainer.training_state_file)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[key], value), key


@pytest.mark.parametrize(("setting", "value"), [("training_rows", "prefix"), ("batch_by_length", True)])
def test_other_rows_and_batches_are_not_gone_on_with(make_config, setting, value):
    first = fitted(make_config("SASRec", **{**SETTINGS, "epochs": 1}))
    other = prepare(make_config("SASRec", **{**SETTINGS, setting: value}))
    with pytest.raises(UserError, match=f"was trained with {setting}=.* this run has {setting}={value!r}"):
        other.trainer.resume_checkpoint(first.trainer.training_state_file)


@pytest.mark.parametrize("loss_type", ["BCE", "BPR", "CE"])
@pytest.mark.parametrize("name", ["CoCorrRec", "SASRec"])
def test_the_loss_of_a_batch_does_not_depend_on_its_split(make_config, monkeypatch, name, loss_type):
    still = {"dropout_prob": 0.0} if name == "CoCorrRec" else {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
    config = make_config(name, loss_type=loss_type, **{**SETTINGS, "train_batch_size": 5}, **MODELS[name], **still)
    prepared = prepare(config)
    losses = []
    for processes in (1, 2, 3, 7):
        monkeypatch.setattr(distributed, "world_size", lambda processes=processes: processes)
        total = 0.0
        for process in range(processes):
            monkeypatch.setattr(distributed, "rank", lambda process=process: process)
            prepared.trainer._prepare_training(prepared.data.train)
            part = next(prepared.data.train.batches())
            total += part.weight * prepared.trainer._objective(part.interaction).item()
        losses.append(total)
    assert losses[1:] == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_after_an_evaluation_windows_are_trained_on_too(make_config):
    prepared = prepare(make_config("SASRec", loss_type="CE", **SETTINGS))
    prepared.trainer.evaluate(prepared.data.test, load_best_model=False)
    prepared.trainer.fit(prepared.data.train, prepared.data.valid)
    direct = fitted(make_config("SASRec", loss_type="CE", **SETTINGS))
    assert prepared.trainer.train_loss_dict == direct.trainer.train_loss_dict


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("SASRec", {"training_rows": "window"}, "training_rows is 'window'; it must be prefix or sequence"),
        ("SASRec", {"training_rows": True}, "training_rows is True; it must be prefix or sequence"),
        ("SASRec", {"batch_by_length": "yes"}, "batch_by_length is 'yes'; it must be True or False"),
        ("SASRec", {"torch_compile": True}, "training_rows is sequence and torch_compile True"),
        ("SASRec", {"shuffle_history": True}, "training_rows is sequence and shuffle_history True"),
        ("BERT4Rec", {}, "training_rows is sequence, and transform mask_itemseq changes the histories"),
        ("DIN", {}, "training_rows is sequence, and DIN has a score or a loss"),
        ("NARM", {}, "training_rows is sequence, and NARM does not give, at each click"),
        ("CoCorrRec", {}, "training_rows is sequence, and the GCN corrects every click by the whole history"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(make_config, model, settings, words):
    with pytest.raises(UserError, match=words) as refused:
        fitted(make_config(model, **{**SETTINGS, "epochs": 1, **settings}))
    assert str(refused.value).count(". ") == 0


@pytest.mark.parametrize("loss_type", ["BCE", "CE"])
@pytest.mark.parametrize("name", ["CoCorrRec", "Mamba4Rec", "SASRec", "GRU4Rec", "Caser"])
def test_a_batch_by_length_leaves_out_padding_and_has_the_same_loss(make_config, monkeypatch, name, loss_type):
    more = {**MODELS.get(name, {}), "loss_type": loss_type, "train_batch_size": 64, "epochs": 1, "learning_rate": 0.0}
    for key in ("dropout_prob", "hidden_dropout_prob", "attn_dropout_prob"):
        more[key] = 0.0
    widths = []

    def spy(trainer):
        objective = trainer._objective

        def call(interaction, *sample):
            widths.append((interaction["item_id_list"].shape[1], int(interaction["item_length"].max())))
            return objective(interaction, *sample)

        return call

    def losses(**rows) -> float:
        prepared = prepare(make_config(name, MAX_ITEM_LIST_LENGTH=20, **more, **rows))
        trainer, train = prepared.trainer, prepared.data.train
        trainer._prepare_training(train)
        total, rows_read = 0.0, 0
        train.set_epoch(0)
        trainer._train_epoch(train, 0, loss_func=spy(trainer))
        trainer.model.eval()
        with torch.no_grad():
            for batch in train.batches():
                total += len(batch.interaction) * trainer._objective(batch.interaction).item()
                rows_read += len(batch.interaction)
        assert isinstance(getattr(trainer._scorer, "encode", None), ByLength) or name not in ("SASRec", "GRU4Rec")
        return total / rows_read

    assert losses() == pytest.approx(losses(batch_by_length=True), rel=1e-5)
    plain, cut = widths[: len(widths) // 2], widths[len(widths) // 2 :]
    assert {width for width, _ in plain} == {20}
    if name == "Caser":  # made for one length
        assert {width for width, _ in cut} == {20}
    else:
        assert all(width == longest for width, longest in cut) and len({width for width, _ in cut}) > 3
