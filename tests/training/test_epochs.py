"""Epochs are counted from 1 wherever people read them; the files' own numbers count from 0."""

import json
import logging
import re

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.runs.engine import Engine
from recbole_cocorr.experiments.runs.plan import Entry, Plan
from recbole_cocorr.training.checkpoint import load_checkpoint
from recbole_cocorr.training.prepare import prepare


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    return lambda: re.sub(r"\x1b\[[0-9;]*m", "", caplog.text)


def test_the_log_of_a_training_counts_from_one(make_config, log):
    prepared = prepare(make_config(epochs=3))
    prepared.trainer.fit(prepared.data.train, prepared.data.valid)
    text = log()
    assert re.findall(r"epoch (\d+) training", text) == ["1", "2", "3"]
    assert re.findall(r"epoch (\d+) evaluating", text) == ["1", "2", "3"]
    assert load_checkpoint(prepared.trainer.training_state_file).epoch == 2


def test_the_best_epoch_of_the_log_is_the_checkpoints_and_one(make_config, log):
    prepared = prepare(make_config(epochs=30, stopping_step=1, learning_rate=0.05))
    prepared.trainer.fit(prepared.data.train, prepared.data.valid)
    (best,) = re.findall(r"best eval result in epoch (\d+)", log())
    assert int(best) == load_checkpoint(prepared.trainer.saved_model_file).epoch + 1


def test_resuming_and_diverging_count_alike(make_config, log):
    first = prepare(make_config(epochs=2))
    first.trainer.fit(first.data.train, first.data.valid)
    again = prepare(make_config(epochs=3))
    again.trainer.resume_checkpoint(first.trainer.training_state_file)
    again.trainer.fit(again.data.train, again.data.valid)
    assert "Training resumes from epoch 3 of" in log()
    assert re.findall(r"epoch (\d+) training", log()) == ["1", "2", "3"]
    bad = prepare(make_config(epochs=2, learning_rate=1e30, train_batch_size=64))
    with pytest.raises(UserError, match="the training loss of epoch 1 is nan"):
        bad.trainer.fit(bad.data.train, bad.data.valid)


def test_a_running_benchmark_counts_from_one(tmp_path, capsys, monkeypatch):
    """What the progress line says of a run in its first epoch."""

    class OneRun:
        """A run that has written its first epoch, and fails when it is asked again."""

        def __init__(self):
            self.polls = 0

        def start(self, spec, folder):
            curve = [{"epoch": 0, "train_seconds": 1, "valid_seconds": 1, "train_loss": 1, "valid": {"ndcg@10": 0.25}}]
            (folder / "progress.json").write_text(json.dumps({"curve": curve, "valid_metric": "ndcg@10"}))
            return spec

        def ended(self, handle):
            self.polls += 1
            return None if self.polls < 2 else Outcome(1, "done with it")

        def stop(self, handle):
            pass

    from recbole_cocorr.experiments.runs.executors import Outcome

    plan = Plan([Entry("GRU4Rec", "GRU4Rec")], ["small"], "paper", [1], [0.01])
    Engine(plan, tmp_path, OneRun(), 1).run()
    assert "epoch 1, ndcg@10 0.2500" in capsys.readouterr().err
