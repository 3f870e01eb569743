"""Numbers of a training: RecBole's for the same scores, chosen by validation, the same after a break."""

import copy
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data import data_preparation as recbole_preparation
from recbole.data.dataset import SequentialDataset
from recbole.trainer import Trainer as RecBoleTrainer
from recbole.utils import init_seed
from sklearn.metrics import roc_auc_score
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import EvalLoader, data_preparation
from recbole_cocorr.models import scoring
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.scoring import TwoWayScorer
from recbole_cocorr.training.checkpoint import load_checkpoint, save_checkpoint
from recbole_cocorr.training.recommend import load_model
from recbole_cocorr.training.run import run_recbole
from recbole_cocorr.training.trainer import Trainer
from tests.conftest import random_rows, write_inter
from tests.models.test_scoring import disturb
from tests.reference.recbole_metrics import recbole_result

FULL = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}


def prepare(config) -> tuple[Trainer, tuple]:
    """Trainer and loaders, seeded as a run seeds them."""
    init_seed(config["seed"], config["reproducibility"])
    loaders = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    return Trainer(config, build_model(config, loaders[0].dataset)), loaders


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """Data that can be learned: 80 users walk round a ring of 130 items, one step at a time."""
    generator = np.random.default_rng(0)
    rows = []
    for user in range(80):
        start = int(generator.integers(130))
        rows += [(f"u{user}", f"i{(start + step) % 130}", step) for step in range(int(generator.integers(5, 14)))]
    return write_inter(tmp_path / "ring", "ring", rows)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def same_bits(actual: dict, expected: dict) -> None:
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


# -- evaluation is RecBole's --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CoCorrRec", "GRU4Rec", "BERT4Rec", "HGN", "DIN"])
@torch.no_grad()
def test_sampled_ranking_gives_recboles_metrics(make_config, name):
    metrics = ["NDCG", "Hit", "MRR", "Recall", "Precision", "MAP", "GAUC"]
    config = make_config(name, metrics=metrics, topk=[1, 5, 10, 20], eval_batch_size=16, MAX_ITEM_LIST_LENGTH=5)
    trainer, (_, valid, test) = prepare(config)
    disturb(trainer.model)
    for loader in (valid, test):
        result = trainer.evaluate(loader, load_best_model=False)
        dataset = loader.dataset
        rows = loader.transform(dataset, dataset[torch.arange(len(dataset))])
        scores = []
        for column in range(101):  # the slow way: one candidate of every user after the other
            rows.interaction["item_id"] = loader.candidates[:, column].long()
            scores.append(trainer.model.predict(rows))
        expected = recbole_result(torch.stack(scores, dim=1), [m.lower() for m in metrics], [1, 5, 10, 20])
        assert set(result) == set(expected)
        for metric, value in expected.items():
            # A digit may fall either way where the mean ends in a five.
            assert result[metric] == pytest.approx(value, abs=1.01e-4), metric


@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec", "CoCorrRec"])
def test_full_ranking_is_that_of_recboles_own_trainer(make_config, name):
    metrics = ["NDCG", "Hit", "MRR", "Recall", "GAUC"]
    config = make_config(name, protocol="full", metrics=metrics, topk=[5, 10, 20], eval_batch_size=16)
    trainer, (_, valid, test) = prepare(config)
    disturb(trainer.model)
    stock = recbole_preparation(config, SequentialDataset(config))
    judge = RecBoleTrainer(config, trainer.model)
    for ours, theirs in ((valid, stock[1]), (test, stock[2])):
        result = trainer.evaluate(ours, load_best_model=False)
        expected = judge.evaluate(theirs, load_best_model=False)
        assert set(result) == set(expected)
        for metric, value in expected.items():
            assert result[metric] == pytest.approx(value, abs=1.01e-4), metric


@pytest.mark.parametrize("at_once", [1, 1000, 1 << 24])  # a row, some rows, all rows at a time
@pytest.mark.parametrize("mask", [False, True], ids=["all", "without-history"])
def test_full_ranking_row_by_row(make_config, monkeypatch, mask, at_once):
    monkeypatch.setattr(scoring, "_SCORES_AT_ONCE", at_once)
    monkeypatch.setattr(scoring, "_CPU_SCORES_AT_ONCE", at_once)
    monkeypatch.setattr(scoring, "_LEAST_ROWS", 1)
    config = make_config("GRU4Rec", protocol="full", eval_mask_history=mask, MAX_ITEM_LIST_LENGTH=3)
    trainer, (_, _, test) = prepare(config)
    disturb(trainer.model)
    trainer.evaluate(test, load_best_model=False)
    dataset = test.dataset
    rows = dataset[torch.arange(len(dataset))]
    scores = trainer.model.full_sort_predict(rows)
    everything = dataset._sequences
    for row, (user, item) in enumerate(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True)):
        others = set(range(1, dataset.item_num)) - {item}
        if mask:  # all of the history, not the three clicks that the model reads
            others -= set(everything["item_id"][everything["user_id"] == user].tolist())
        higher = sum(bool(scores[row, other] > scores[row, item]) for other in others)
        assert trainer.ranks["test"][row].tolist() == [higher, 0, len(others)]


@pytest.mark.parametrize("name", ["CoCorrRec", "Caser"])  # by user vectors, by the model's full scores
def test_blocks_of_rows_change_no_rank(make_config, monkeypatch, name):
    for mode, metrics in (("uni100", ["NDCG"]), ("full", ["NDCG", "ItemCoverage"])):
        trainer, (train, _, test) = prepare(make_config(name, eval_args={**FULL, "mode": mode}, metrics=metrics))
        trainer.eval_collector.data_collect(train)
        disturb(trainer.model)
        results, ranks = [], []
        for at_once in (1 << 24, 3000, 1):
            monkeypatch.setattr(scoring, "_SCORES_AT_ONCE", at_once)
            monkeypatch.setattr(scoring, "_CPU_SCORES_AT_ONCE", at_once)
            monkeypatch.setattr(scoring, "_LEAST_ROWS", 1)
            monkeypatch.setattr(scoring, "_VECTORS_AT_ONCE", at_once)
            results.append(trainer.evaluate(test, load_best_model=False))
            ranks.append(trainer.ranks["test"])
        assert results[0] == results[1] == results[2]
        assert (ranks[0] == ranks[1]).all() and (ranks[0] == ranks[2]).all()


def test_ranks_are_kept_in_the_loaders_row_order(make_config):
    trainer, (_, _, test) = prepare(make_config(eval_batch_size=7))
    trainer.evaluate(test, load_best_model=False)
    pieces = trainer.ranks["test"]
    test.step = 1000
    trainer.evaluate(test, load_best_model=False)
    assert (pieces == trainer.ranks["test"]).all()
    assert len(pieces) == len(test.users)


def test_a_model_that_scores_all_items_alike_gets_what_guessing_gets(make_config):
    trainer, (_, _, test) = prepare(make_config(metric_decimal_place=6))
    with torch.no_grad():
        trainer.model.item_embedding.weight[:] = 1.0
    result = trainer.evaluate(test, load_best_model=False)
    assert result["hit@10"] == pytest.approx(10 / 101, abs=1e-6)
    assert result["gauc"] == 0.5


@pytest.mark.parametrize("mode", ["full", "uni100"])
def test_metrics_of_the_recommended_lists(make_config, mode):
    metrics = ["NDCG", "ItemCoverage", "AveragePopularity", "GiniIndex"]
    trainer, (train, valid, test) = prepare(
        make_config(metrics=metrics, eval_args={**FULL, "mode": mode}, topk=[5, 10], epochs=1, eval_batch_size=16)
    )
    trainer.fit(train, valid)
    result = trainer.evaluate(test)
    dataset = test.dataset
    scores = trainer.model.full_sort_predict(dataset[torch.arange(len(dataset))])
    candidates = (
        torch.arange(1, dataset.item_num).expand(len(dataset), -1) if mode == "full" else test.candidates.long()
    )
    bought = train.dataset.item_counter
    for k in (5, 10):
        lists = candidates.gather(1, scores.gather(1, candidates).topk(k, dim=1).indices).tolist()
        chosen = {item for row in lists for item in row}
        assert result[f"itemcoverage@{k}"] == pytest.approx(len(chosen) / dataset.item_num, abs=1e-4)
        popularity = np.mean([[bought.get(item, 0) for item in row] for row in lists])
        assert result[f"averagepopularity@{k}"] == pytest.approx(popularity, abs=1e-3)
    assert [name.split("@")[0] for name in result] == [m.lower() for m in metrics for _ in (5, 10)]


def test_metrics_of_lists_say_when_the_training_rows_are_missing(make_config):
    trainer, (train, _, test) = prepare(make_config(metrics=["NDCG", "AveragePopularity"]))
    with pytest.raises(UserError, match=r"averagepopularity counts the training rows.*data_collect"):
        trainer.evaluate(test, load_best_model=False)
    trainer.eval_collector.data_collect(train)
    assert "averagepopularity@5" in trainer.evaluate(test, load_best_model=False)


def test_lists_longer_than_the_catalogue(tmp_path, make_config):
    data = write_inter(tmp_path / "few", "few", random_rows(20, 12, 4, 8))
    for mode in ("full", "uni100"):
        config = make_config(
            dataset="few",
            data_path=str(data),
            metrics=["NDCG", "GiniIndex"],
            topk=[20],
            valid_metric="NDCG@20",
            eval_args={**FULL, "mode": mode},
        )
        trainer, (train, _, test) = prepare(config)
        trainer.eval_collector.data_collect(train)
        assert 0 <= trainer.evaluate(test, load_best_model=False)["giniindex@20"] <= 1


@pytest.mark.parametrize("name", ["CoCorrRec", "GRU4Rec"])
def test_value_metrics_are_of_all_scores_and_labels(make_config, name):
    config = make_config(name, metrics=["AUC", "LogLoss"], valid_metric="AUC", epochs=1)
    trainer, (train, valid, test) = prepare(config)
    best, result = trainer.fit(train, valid)
    assert best == result["auc"]
    values = trainer.evaluate(test)
    scores = trainer.model.full_sort_predict(test.dataset[torch.arange(len(test.dataset))])
    scores = torch.sigmoid(scores.gather(1, test.candidates.long())).detach().numpy()
    labels = np.zeros_like(scores)
    labels[:, 0] = 1
    assert values["auc"] == pytest.approx(roc_auc_score(labels.ravel(), scores.ravel()), abs=1.01e-4)
    loss = -np.where(labels, np.log(scores), np.log1p(-scores)).mean()
    assert values["logloss"] == pytest.approx(loss, abs=1.01e-4)


# -- validation chooses -------------------------------------------------------------------------


def test_the_best_epoch_by_validation_is_what_remains(make_config, ring):
    form = {"dropout_prob": 0.2, "block": "plain", "weight_average": None}
    config = make_config(dataset="ring", data_path=str(ring), epochs=7, learning_rate=0.02, stopping_step=10, **form)
    trainer, (train, valid, test) = prepare(config)
    seen = []

    def after(epoch, score):
        seen.append((score, weights_of(trainer.model), trainer._valid_metrics))
        if epoch == 3:  # from here on it is worse
            with torch.no_grad():
                for p in trainer.model.parameters():
                    p.normal_()

    best, result = trainer.fit(train, valid, callback_fn=after)
    scores = [score for score, *_ in seen]
    number = int(np.argmax(scores))
    assert 0 < number < 4, "neither the first nor the last epoch"
    assert scores[number] > scores[-1] + 0.02
    assert best == scores[number]
    assert result["ndcg@10"] == best
    test_result = trainer.evaluate(test)
    same_bits(trainer.model.state_dict(), seen[number][1])
    assert dict(test_result) == dict(trainer.evaluate(test, load_best_model=False))

    saved = load_checkpoint(trainer.saved_model_file)
    same_bits(saved.weights, seen[number][1])
    assert saved.epoch == number
    assert saved.metrics == seen[number][2]
    trainer.model.item_embedding.weight.data.zero_()
    assert dict(trainer.evaluate(test, model_file=trainer.saved_model_file)) == dict(test_result)


def test_test_rows_are_not_touched_before_training_has_ended(make_config, small_data, monkeypatch):
    phases = []
    batches = EvalLoader.batches

    def noted(self):
        phases.append(self.phase)
        return batches(self)

    monkeypatch.setattr(EvalLoader, "batches", noted)
    config = {"data_path": str(small_data), "use_gpu": False, "epochs": 3, "show_progress": False}
    result = run_recbole("GRU4Rec", "small", None, config, overrides={})
    assert phases == ["valid", "valid", "valid", "test"]
    assert set(result["test_result"]) == set(result["best_valid_result"])


def test_training_ends_when_validation_no_longer_improves(make_config, monkeypatch):
    trainer, (train, valid, _) = prepare(make_config(epochs=50, stopping_step=2))
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.2, 0.1, 0.2, 0.9])
    monkeypatch.setattr(trainer, "evaluate", lambda *a, **kw: {"ndcg@10": next(scores)})
    seen = []
    trainer.fit(train, valid, callback_fn=lambda epoch, score: seen.append(score))
    assert seen == [0.1, 0.3, 0.2, 0.3, 0.2, 0.1, 0.2]  # an equal score counts as better, as in RecBole
    assert load_checkpoint(trainer.saved_model_file).epoch == 3


def test_validation_every_other_epoch(make_config):
    trainer, (train, valid, _) = prepare(make_config(epochs=5, eval_step=2))
    epochs = []
    trainer.fit(train, valid, callback_fn=lambda epoch, score: epochs.append(epoch))
    assert epochs == [1, 3]
    assert list(trainer.train_loss_dict) == [0, 1, 2, 3, 4]
    assert load_checkpoint(trainer.saved_model_file).epoch in (1, 3)
    assert load_checkpoint(trainer.training_state_file).epoch == 3


def test_without_validation_the_last_epoch_is_kept(make_config):
    trainer, (train, _, test) = prepare(make_config(epochs=2))
    trainer.fit(train)
    last = weights_of(trainer.model)
    trainer.evaluate(test)
    same_bits(trainer.model.state_dict(), last)
    assert load_checkpoint(trainer.saved_model_file).epoch == 1
    assert load_checkpoint(trainer.training_state_file).epoch == 1


def test_users_too_short_for_a_validation_item(tmp_path, make_config, caplog):
    rows = [(f"u{u}", f"i{(u + k) % 140}", k) for u in range(150) for k in range(3)]
    rows += [("long", f"i{k}", k) for k in range(2)]
    data = write_inter(tmp_path / "short", "short", rows)
    trainer, (train, valid, test) = prepare(make_config(dataset="short", data_path=str(data)))
    assert len(valid) == 0
    with caplog.at_level("WARNING"):
        trainer.fit(train, valid)
    assert "no user has a validation item" in caplog.text
    assert trainer.evaluate(valid) is None
    assert trainer.evaluate(test)["hit@10"] >= 0


def test_no_epoch_at_all_saves_the_start(make_config):
    trainer, (train, valid, test) = prepare(make_config(epochs=0))
    before = weights_of(trainer.model)
    trainer.fit(train, valid)
    assert trainer.evaluate(test)["hit@10"] >= 0
    same_bits(load_checkpoint(trainer.saved_model_file).weights, before)
    assert load_checkpoint(trainer.saved_model_file).epoch == -1


def test_without_saving_nothing_is_written(make_config):
    trainer, (train, valid, test) = prepare(make_config(epochs=1))
    trainer.fit(train, valid, saved=False)
    assert not list(Path().rglob("*.safetensors"))
    trainer.evaluate(test, load_best_model=False)
    trainer, (train, valid, test) = prepare(make_config(epochs=1, save_training_state=False))
    trainer.fit(train, valid)
    assert [p.name for p in Path().rglob("*.safetensors")] == [Path(trainer.saved_model_file).name]


def test_it_learns(make_config, ring):
    config = make_config(dataset="ring", data_path=str(ring), epochs=12, learning_rate=0.02, stopping_step=20)
    trainer, (train, valid, test) = prepare(config)
    trainer.fit(train, valid)
    losses = list(trainer.train_loss_dict.values())
    assert losses[-1] < 0.5 * losses[0]
    assert trainer.evaluate(test)["hit@10"] > 0.5, "guessing gets 0.1"


# -- after a break ------------------------------------------------------------------------------

# Every run is broken off after each of its epochs; those whose optimizer is the point, once.
RUNS = {
    "plain": ("CoCorrRec", {}),
    "dropout": ("CoCorrRec", {"dropout_prob": 0.5}),
    "averaged": ("CoCorrRec", {"dropout_prob": 0.5, "weight_average": 0.9, "stopping_step": 9}),
    "clipped": ("CoCorrRec", {"dropout_prob": 0.3, "clip_grad_norm": {"max_norm": 0.1, "norm_type": 2}}),
    "stopping": ("CoCorrRec", {"learning_rate": 0.05, "stopping_step": 1, "epochs": 6}),
    "adam": ("CoCorrRec", {"learner": "adam"}),
    "sgd": ("CoCorrRec", {"learner": "sgd", "learning_rate": 0.5}),
    "adagrad": ("CoCorrRec", {"learner": "adagrad", "learning_rate": 0.1}),
    "rmsprop": ("CoCorrRec", {"learner": "rmsprop"}),
    "cross-entropy": ("GRU4Rec", {"loss_type": "CE", "eval_step": 2, "dropout_prob": 0.5, "epochs": 5}),
    # Python's own generator draws its masks.
    "cloze": ("BERT4Rec", {}),
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_resumed_run_reaches_the_same_numbers(make_config, tmp_path, kind):
    name, more = RUNS[kind]
    more = {"epochs": 4, "checkpoint_dir": str(tmp_path / "straight"), **more}
    straight, (train, valid, test) = prepare(make_config(name, **more))
    states: dict[int, Path] = {}

    def keep(epoch, score):
        states[epoch] = tmp_path / f"at{epoch}" / "run.training.safetensors"
        states[epoch].parent.mkdir()
        shutil.copy(straight.training_state_file, states[epoch])

    expected = straight.fit(train, valid, callback_fn=keep)
    expected_last = weights_of(straight.model)
    expected_test = straight.evaluate(test)
    counted = 0
    if "learner" in more:
        states = {1: states[1]}
    for epoch, file in states.items():
        resumed, (train, valid, test) = prepare(make_config(name, **more))
        torch.rand(epoch + 3)  # whatever has been drawn meanwhile
        resumed.resume_checkpoint(str(file))
        assert resumed.start_epoch == epoch + 1
        counted += resumed.cur_step
        got = resumed.fit(train, valid)
        assert (got[0], dict(got[1])) == (expected[0], dict(expected[1]))
        if resumed.train_loss_dict:
            same_bits(resumed.model.state_dict(), expected_last)
            assert resumed.train_loss_dict.items() <= straight.train_loss_dict.items()
        assert dict(resumed.evaluate(test)) == dict(expected_test)
        same_bits(resumed.model.state_dict(), straight.model.state_dict())
        if Path(resumed.training_state_file).exists():  # and the next break would find the same state
            ours, theirs = (load_checkpoint(t.training_state_file) for t in (resumed, straight))
            same_bits(ours.tensors, theirs.tensors)
            numbers = ("cur_step", "best_valid_score", "best_valid_result", "param_groups", "optimizer_numbers")
            assert all(ours.training[n] == theirs.training[n] for n in numbers)
    if kind == "stopping":
        assert counted > 0, "early stopping had counted before a break"


def test_a_resumed_run_writes_beside_the_file_it_came_from(make_config, tmp_path):
    first, (train, valid, _) = prepare(make_config(epochs=1))
    first.fit(train, valid)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    state = moved / "renamed.training.safetensors"
    shutil.copy(first.training_state_file, state)
    second, (train, valid, _) = prepare(make_config(epochs=2))
    second.resume_checkpoint(state)
    second.fit(train, valid)
    assert Path(second.training_state_file).parent == moved
    assert load_checkpoint(second.training_state_file).epoch == 1


def test_a_run_without_validation_can_be_resumed(make_config, tmp_path):
    straight, (train, _, test) = prepare(make_config(epochs=4, dropout_prob=0.5))
    straight.fit(train)
    half, (train, _, _) = prepare(make_config(epochs=2, dropout_prob=0.5, checkpoint_dir=str(tmp_path / "half")))
    half.fit(train)
    resumed, (train, _, _) = prepare(make_config(epochs=4, dropout_prob=0.5))
    resumed.resume_checkpoint(half.training_state_file)
    resumed.fit(train)
    same_bits(resumed.model.state_dict(), straight.model.state_dict())
    assert dict(resumed.evaluate(test)) == dict(straight.evaluate(test))


def test_each_process_resumes_with_its_own_random_numbers(make_config, monkeypatch):
    """Dropout of two processes must not become the same after a break."""
    from recbole_cocorr.data import distributed

    first, (train, valid, _) = prepare(make_config(epochs=1))
    others = torch.Generator().manual_seed(99).get_state()

    def two(rows):
        return torch.cat([rows, others[None] if rows.dtype == torch.uint8 else rows])

    with monkeypatch.context() as patched:
        patched.setattr(distributed, "gather_rows", lambda rows: two(rows) if len(rows) == 1 else rows)
        first.fit(train, valid)
    second, (train, valid, _) = prepare(make_config(epochs=2))
    with monkeypatch.context() as patched:
        patched.setattr(distributed, "rank", lambda: 1)
        second.resume_checkpoint(first.training_state_file)
    drawn = []
    monkeypatch.setattr(second, "_train_epoch", lambda *a, **kw: drawn.append(torch.get_rng_state()) or 0.0)
    second.fit(train, valid)
    assert torch.equal(drawn[0], others)


def test_a_finished_run_is_not_trained_further(make_config):
    first, (train, valid, test) = prepare(make_config(epochs=2))
    expected = first.fit(train, valid)
    expected_test = first.evaluate(test)
    again, (train, valid, test) = prepare(make_config(epochs=2))
    again.resume_checkpoint(first.training_state_file)
    best, result = again.fit(train, valid)
    assert (best, dict(result)) == (expected[0], dict(expected[1]))
    assert not again.train_loss_dict
    assert dict(again.evaluate(test)) == dict(expected_test)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("seed", 7),
        ("learner", "adam"),
        ("learning_rate", 0.5),
        ("weight_decay", 0.5),
        ("train_batch_size", 64),
        ("loss_type", "BPR"),
        ("MAX_ITEM_LIST_LENGTH", 4),
    ],
)
def test_a_run_with_other_settings_is_not_resumed(make_config, setting, value):
    first, (train, valid, _) = prepare(make_config(epochs=1))
    first.fit(train, valid)
    other, _ = prepare(make_config(epochs=2, **{setting: value}))
    with pytest.raises(UserError, match=rf"was trained with {setting}=.*this run has {setting}={value!r}"):
        other.resume_checkpoint(first.training_state_file)


def test_a_state_of_another_model_or_other_data_is_not_resumed(make_config, tmp_path):
    first, (train, valid, _) = prepare(make_config(epochs=1))
    first.fit(train, valid)
    other, _ = prepare(make_config("GRU4Rec"))
    with pytest.raises(UserError, match="was trained with model='CoCorrRec', this run has model='GRU4Rec'"):
        other.resume_checkpoint(first.training_state_file)
    with pytest.raises(UserError, match="holds a model, not a training state"):
        other.resume_checkpoint(first.saved_model_file)
    # As many items under the same name, but numbered otherwise.
    rows = [(u, f"x{i}", t) for u, i, t in random_rows(60, 200, 3, 30)]
    data = write_inter(tmp_path / "renamed", "small", rows)
    other, (train, valid, test) = prepare(make_config(epochs=2, data_path=str(data)))
    with pytest.raises(UserError, match=r"was trained on other items than the data hold"):
        other.evaluate(test, model_file=first.saved_model_file)
    other, (train, valid, test) = prepare(make_config(epochs=2, data_path=str(data)))
    other.resume_checkpoint(first.training_state_file)
    with pytest.raises(UserError, match="the data hold other items, or number them otherwise"):
        other.fit(train, valid)


def test_a_checkpoint_with_the_gcn_is_evaluated_without(make_config):
    trained, (train, valid, _) = prepare(make_config(epochs=2, learning_rate=0.02))
    trained.fit(train, valid)
    trained.model.load_state_dict(load_checkpoint(trained.saved_model_file).weights)
    alone, (_, _, test) = prepare(make_config(use_gcn=False))
    alone.evaluate(test, model_file=trained.saved_model_file)
    trained.model.use_gcn = False
    trained.evaluate(test, load_best_model=False)
    assert (alone.ranks["test"] == trained.ranks["test"]).all()


# -- optimizers and losses ----------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["adam", "adamw", "AdamW", "sgd", "adagrad", "rmsprop"])
def test_optimizers_are_recboles(make_config, learner):
    """One step on the same gradient moves every weight as RecBole's optimizer of that name does."""
    config = make_config(learner=learner, learning_rate=0.01, weight_decay=0.1)
    trainer, (train, _, _) = prepare(config)
    twin = build_model(config, train.dataset)
    twin.load_state_dict(trainer.model.state_dict())
    stock = RecBoleTrainer(config, twin).optimizer
    assert type(stock) is type(trainer.optimizer)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for p, q in zip(trainer.model.parameters(), twin.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        trainer.optimizer.step()
        stock.step()
    for (name, p), q in zip(trainer.model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("learner", ["sparse_adam", "adamm"])
def test_an_optimizer_that_cannot_be_is_named(make_config, learner):
    with pytest.raises(UserError, match=f"learner is '{learner}'; it must be one of adam, adamw, sgd"):
        prepare(make_config(learner=learner))


def test_gradients_are_clipped(make_config):
    norms = []
    for clip in (None, {"max_norm": 0.01, "norm_type": 2}):
        trainer, (train, _, _) = prepare(
            make_config(learner="sgd", learning_rate=1.0, weight_decay=0.0, clip_grad_norm=clip)
        )
        trainer._prepare(train)
        before = weights_of(trainer.model)
        train.step = 10_000  # one batch
        trainer._train_epoch(train, 0)
        moved = [p.detach() - before[n] for n, p in trainer.model.named_parameters()]
        norms.append(math.sqrt(sum(float(m.square().sum()) for m in moved)))
    assert norms[0] > 0.05
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


def test_the_reported_loss_is_the_sum_over_batches(make_config):
    trainer, (train, valid, _) = prepare(
        make_config(epochs=1, learning_rate=0.0, dropout_prob=0.0, train_batch_size=256)
    )
    trainer.fit(train, valid)
    train.set_epoch(0)
    expected = sum(trainer.model.calculate_loss(rows).item() for rows in train)
    assert trainer.train_loss_dict[0] == pytest.approx(expected, rel=1e-5)


def test_a_diverged_training_is_an_error_that_says_so(make_config):
    trainer, (train, valid, _) = prepare(make_config(learning_rate=1e30, train_batch_size=64))
    with pytest.raises(UserError, match="the training loss of epoch 1 is nan; lower learning_rate or set clip_grad"):
        trainer.fit(train, valid)


def test_a_model_that_diverged_in_the_last_batch_is_an_error_too(make_config):
    trainer, (train, valid, _) = prepare(make_config(learning_rate=1e30, train_batch_size=1_000_000))
    with pytest.raises(UserError, match="valid rows cannot be evaluated: a score is NaN"):
        trainer.fit(train, valid)


def test_half_precision_training(make_config):
    trainer, (train, valid, test) = prepare(make_config(enable_amp=True, epochs=2))
    trainer.fit(train, valid)
    assert np.isfinite(list(trainer.train_loss_dict.values())).all()
    assert trainer.evaluate(test)["gauc"] > 0.3


def test_how_a_model_scores_is_found_out_on_padded_histories_too(make_config):
    """SHAN's two ways to score differ in how they read padding; nearly all of these histories have none."""
    trainer, (_, _, test) = prepare(make_config("SHAN", MAX_ITEM_LIST_LENGTH=5))
    full = test.dataset.inter_feat["item_length"] == 5
    assert 0.8 < full.float().mean() < 1
    trainer._prepare(test)
    assert type(trainer._scorer) is TwoWayScorer


@pytest.mark.parametrize("name", ["SASRec", "NARM", "Caser", "TransRec", "RepeatNet", "FPMC", "SHAN"])
def test_models_of_recbole_train_and_come_back(make_config, name):
    loss = {"loss_type": "BPR"} if name == "FPMC" else {}
    trainer, (train, valid, test) = prepare(make_config(name, epochs=1, MAX_ITEM_LIST_LENGTH=5, **loss))
    trainer.fit(train, valid)
    result = trainer.evaluate(test)
    again, (_, _, test) = prepare(make_config(name, epochs=1, MAX_ITEM_LIST_LENGTH=5, **loss))
    assert dict(again.evaluate(test, model_file=trainer.saved_model_file)) == dict(result)
    load_model(trainer.saved_model_file)


def test_training_hands_the_batchs_sample_to_the_loss(make_config):
    trainer, (train, _, _) = prepare(make_config("GRU4Rec", loss_type="CE", softmax_sample_num=30))
    seen = []

    def spy(interaction, sample):
        seen.append(sample.items.tolist())
        return trainer._objective(interaction, sample)

    trainer._prepare(train)
    trainer._train_epoch(train, 0, loss_func=spy)
    assert seen == [batch.sample.items.tolist() for batch in train.batches()] and len(seen[0]) == 30
    with torch.no_grad():
        sampled, full = (
            trainer._objective(batch.interaction, s) for batch in [next(train.batches())] for s in (batch.sample, None)
        )
    assert sampled != full


# -- training states that somebody made -----------------------------------------------------------


def _without(key):
    return lambda c: c.training.pop(key)


def _tensor(name, change):
    return lambda c: c.tensors.update({name: change(c.tensors[name])})


_NAN = float("nan")


@pytest.mark.parametrize(
    "change, sentence",
    [
        (_without("cur_step"), "training.cur_step is missing"),
        (_without("param_groups"), "training.param_groups is missing"),
        (_without("optimizer_numbers"), "training.optimizer_numbers is missing"),
        (lambda c: c.training.update(cur_step="x"), "training.cur_step is 'x'; it must be a whole number"),
        (lambda c: c.training.update(cur_step=-1), "training.cur_step is -1"),
        (lambda c: c.training.update(best_valid_score=[]), "training.best_valid_score is a list of 0"),
        (lambda c: c.training.update(best_valid_score=_NAN), "training.best_valid_score is nan; it must be a number"),
        (lambda c: c.training.update(best_valid_result=[1]), "training.best_valid_result is a list of 1"),
        (lambda c: c.training.update(best_valid_result={"a": "x"}), "best_valid_result.a is 'x'; it must be a number"),
        (lambda c: c.training.update(saved_model_file="../../x.safetensors"), "saved_model_file is '../../x.safete"),
        (lambda c: c.training.update(saved_model_file="/dev/null"), "saved_model_file is '/dev/null'; it must be"),
        (lambda c: c.training.update(saved_model_file=3), "saved_model_file is 3; it must be a text"),
        (lambda c: c.training.update(optimizer_numbers=[]), "optimizer_numbers is a list of 0"),
        (lambda c: c.training.update(optimizer_numbers={"x": {}}), "optimizer.x is no state of AdamW for a parameter"),
        (lambda c: c.training.update(optimizer_numbers={"99": {}}), "optimizer.99 is no state of Adam"),
        (lambda c: c.training.update(param_groups=[]), "param_groups is a list of 0; it must be a list of 1"),
        (lambda c: c.training["param_groups"][0].update(lr="x"), r"param_groups\[0\].lr is 'x'; it must be like 0"),
        (lambda c: c.training["param_groups"][0].update(lr=_NAN), r"param_groups\[0\].lr is nan; it must be like 0"),
        (lambda c: c.training["param_groups"][0].update(betas=[0.9]), r"param_groups\[0\].betas is a list of 1"),
        (lambda c: c.training["param_groups"][0].update(params=[0]), r"param_groups\[0\].params is a list of 1"),
        (lambda c: c.training["param_groups"][0].update(more=1), "param_groups is a list of 1; it must be groups of"),
        (lambda c: c.tensors.pop("optimizer.0.exp_avg"), "optimizer.0 is no state of Adam"),
        (_tensor("optimizer.0.exp_avg", lambda t: t[:1]), r"optimizer.0.exp_avg is torch.float32 \(1,"),
        (_tensor("optimizer.0.exp_avg", lambda t: t.double()), "optimizer.0.exp_avg is torch.float64"),
        (_tensor("optimizer.0.exp_avg", lambda t: t * _NAN), "optimizer.0.exp_avg holds NaN or infinity"),
        (_tensor("optimizer.0.step", lambda t: t[None]), r"optimizer.0.step is torch.float32 \(1,\)"),
        (_tensor("rng.torch", lambda t: t[:, :8]), "rng.torch is no state of that random generator"),
        (_tensor("rng.torch", lambda t: torch.full_like(t, 255)), "rng.torch is no state of that random generator"),
        (_tensor("rng.torch", lambda t: t[:0]), "rng.torch is no state of that random generator"),
        (_tensor("rng.python", lambda t: t.float()), "rng.python is no state of that random generator"),
        (_tensor("rng.python", lambda t: -t), "rng.python is no state of that random generator"),
        (lambda c: c.tensors.update({"best.x": torch.ones(1)}), "has the weight 'x'|lacks the weight"),
        (_tensor("best.item_embedding.weight", lambda t: t[:3]), "item_embedding.weight has shape"),
        (lambda c: c.weights.update({"final_norm.weight": torch.ones(3)}), "final_norm.weight has shape"),
        (lambda c: setattr(c, "epoch", "3"), "epoch is '3'; it must be a whole number"),
    ],
)
def test_a_made_up_training_state_is_one_sentence_and_changes_nothing(
    make_config, state_of_one_epoch, change, sentence
):
    checkpoint = copy.deepcopy(state_of_one_epoch)
    change(checkpoint)
    save_checkpoint("made.training.safetensors", checkpoint)
    trainer, _ = prepare(make_config(epochs=2))
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    with pytest.raises(UserError, match=sentence) as caught:
        trainer.resume_checkpoint("made.training.safetensors")
    assert "made.training.safetensors" in str(caught.value) and "\n" not in str(caught.value)
    same_bits(trainer.model.state_dict(), before)
    assert (trainer.start_epoch, trainer.cur_step, trainer.optimizer.state_dict()["state"]) == (0, 0, {})


_STATES = []


@pytest.fixture
def state_of_one_epoch(make_config):
    if not _STATES:
        trainer, (train, valid, _) = prepare(make_config(epochs=1))
        trainer.fit(train, valid)
        _STATES.append(load_checkpoint(trainer.training_state_file))
    return _STATES[0]
