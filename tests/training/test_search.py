"""RecBole's hyper-parameter search with this package's objective: the numbers of ``run``, and no trial ends it."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
from recbole.trainer import HyperTuning

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.run import objective_function, run


@pytest.fixture
def settings_file(small_data):
    text = f"model: CoCorrRec\ndataset: small\ndata_path: {small_data}\nuse_gpu: False\nepochs: 1\nhidden_size: 8\n"
    Path("fixed.yaml").write_text(text)
    return "fixed.yaml"


def test_the_objective_is_judged_on_validation(settings_file):
    answer = objective_function({"learning_rate": 0.01}, [settings_file])
    assert answer["model"] == "CoCorrRec"
    assert answer["best_valid_score"] == answer["best_valid_result"]["ndcg@10"]
    assert answer["valid_score_bigger"] is True
    assert math.isfinite(answer["test_result"]["ndcg@10"])
    assert not list(Path.cwd().rglob("*.safetensors"))


@pytest.mark.parametrize("algo", ["exhaustive", "random"])
def test_recboles_hyper_parameter_search_with_our_objective(settings_file, algo):
    pytest.importorskip("hyperopt", minversion="0.2.7")
    # 1e-9 learns nothing; the search has to see the difference.
    Path("space.txt").write_text("learning_rate choice [1e-9, 0.05]\nuse_gcn choice [True, False]\n")
    search = HyperTuning(
        objective_function, params_file="space.txt", fixed_config_file_list=[settings_file], algo=algo, max_evals=4
    )
    search.run()
    assert len(search.params_list) == 4
    scores = {params: answer["best_valid_score"] for params, answer in search.params2result.items()}
    assert search.best_score == max(scores.values())
    assert scores[search.params2str(search.best_params)] == search.best_score
    search.export_result("result.txt")
    assert "ndcg@10" in Path("result.txt").read_text()


def test_the_objective_runs_the_models_of_recbole_too(settings_file):
    answer = objective_function({"model": "GRU4Rec", "embedding_size": 8, "num_layers": 1}, [settings_file])
    assert answer["model"] == "GRU4Rec"


VALID_ONLY = "eval_args: {split: {LS: valid_only}, order: TO, group_by: user, mode: full}\n"


def search_of(params: str, settings_file: str, algo: str = "exhaustive", max_evals: int = 3) -> HyperTuning:
    pytest.importorskip("hyperopt", minversion="0.2.7")
    Path("params.txt").write_text(params + "\n")
    search = HyperTuning(
        objective_function,
        params_file="params.txt",
        fixed_config_file_list=[settings_file],
        algo=algo,
        max_evals=max_evals,
    )
    search.run()
    search.export_result("result.txt")
    return search


def more_settings(settings_file: str, text: str) -> str:
    Path(settings_file).write_text(Path(settings_file).read_text() + text)
    return settings_file


def test_the_setting_that_a_search_finds_reproduces(settings_file, small_data, monkeypatch):
    """Dropout is drawn after the weights, so a missing seed shows; three epochs, so the best is not always the last."""
    monkeypatch.setattr("psutil.cpu_percent", lambda interval=None: 0.0)
    text = Path(settings_file).read_text().replace("epochs: 1", "epochs: 3")
    Path(settings_file).write_text(text + "dropout_prob: 0.5\n")
    for rate in (0.02, 0.2):
        found = objective_function({"learning_rate": rate}, [settings_file])
        straight = run(config_file_list=[settings_file], config_dict={"learning_rate": rate}, overrides={})
        for key in ("best_valid_score", "best_valid_result", "test_result"):
            assert found[key] == straight[key], (rate, key)


def test_a_split_without_test_items_keeps_its_results(settings_file):
    search_of("learning_rate choice [0.01,0.001]", more_settings(settings_file, VALID_ONLY))
    text = Path("result.txt").read_text()
    assert text.count("Valid result:") == 2 and text.count("ndcg@10") == 2


@pytest.mark.parametrize("algo", ["exhaustive", "bayes"])
def test_a_trial_that_diverges_is_the_worst_and_the_search_goes_on(settings_file, caplog, algo):
    with caplog.at_level(logging.WARNING):
        search = search_of("learning_rate choice [1e30,0.01]", settings_file, algo, max_evals=6)
    assert "learning_rate:0.01" in search.params2str(search.best_params)
    assert 0 <= search.best_score <= 1
    assert "'learning_rate': 1e+30} failed and counts as the worst: the training loss of epoch 1 is" in caplog.text
    assert "learning_rate:1e+30\nValid result:\n\n" in Path("result.txt").read_text()


def test_settings_that_a_model_refuses_together_are_a_failed_trial(settings_file, caplog):
    search = search_of("num_heads choice [3,2]", settings_file)  # hidden_size is 8
    assert search.params2str(search.best_params) == "num_heads:2"
    assert "hidden_size must be a multiple of twice num_heads" in caplog.text


def test_a_metric_of_which_less_is_better_has_another_worst(settings_file):
    more_settings(settings_file, "metrics: [LogLoss]\nvalid_metric: LogLoss\n")
    search = search_of("learning_rate choice [1e30,0.01]", settings_file)
    assert search.params2str(search.best_params) == "learning_rate:0.01"
    assert 0 < search.best_score < 100


def test_a_trial_that_fails_first_does_not_end_the_search_early(settings_file):
    """hyperopt stops after trials without progress; from an infinite loss on it would see none."""
    answer = objective_function({"learning_rate": 1e30}, [settings_file])
    assert math.isfinite(answer["best_valid_score"]) and answer["best_valid_score"] < -1
    assert answer["best_valid_result"] == answer["test_result"] == {}


def test_whole_numbers_of_a_search_are_whole(settings_file):
    search = search_of("hidden_size quniform 32,64,32", settings_file, "bayes", max_evals=2)
    assert 0 <= search.best_score <= 1
    assert "hidden_size:32.0" in Path("result.txt").read_text() or "hidden_size:64.0" in Path("result.txt").read_text()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"hidden_size": 32.0}, 32),
        ({"hidden_size": "32.0"}, 32),
        ({"hidden_size": np.int64(32)}, 32),
        ({"epochs": np.float64(3)}, 3),
        ({"mini_batch_size": 5.0}, 5),
        ({"softmax_sample_num": 100.0}, 100),
        ({"learning_rate": np.float64(0.5)}, 0.5),
        ({"learning_rate": 1.0}, 1.0),
        ({"dropout_prob": 0.0}, 0.0),
        ({"use_gcn": np.bool_(False)}, False),
    ],
    ids=str,
)
def test_numbers_of_other_kinds_are_read_as_the_setting_wants_them(settings_file, given, read):
    (name,) = given
    value = Config(None, None, [settings_file], given, overrides={})[name]
    assert value == read and type(value) is type(read)


def test_a_number_that_is_not_whole_is_still_refused(settings_file):
    with pytest.raises(UserError, match=r"epochs is 2.5; it must be a whole number"):
        objective_function({"epochs": 2.5}, [settings_file])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("eval_args: {split: {LS: test_only}, order: TO, group_by: user, mode: full}", "the split leaves no such item"),
        ("eval_step: 0", "eval_step 0 and epochs 1"),
        ("epochs: 0", "epochs 0 nothing is validated"),
        ("resume: x.training.safetensors", "leave resume out"),
        ("dataset: smal", "did you mean 'small'"),
        ("learning_rate: -1", "learning_rate is -1"),
    ],
    ids=str,
)
def test_what_is_wrong_with_every_trial_ends_the_search(settings_file, settings, words):
    with pytest.raises(UserError, match=words):
        objective_function({}, [more_settings(settings_file, settings + "\n")])
