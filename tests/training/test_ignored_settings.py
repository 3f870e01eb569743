"""A setting of RecBole's that changes nothing here says so, once; one that does, or is left as it is, says nothing."""

import pytest

from recbole_cocorr.training.config import Config
from tests.conftest import write_inter

FILES = {"benchmark_filename": ["train", "valid", "test"]}
EVAL = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni100"}
NEGATIVES = {"distribution": "uniform", "sample_num": 4}


def warnings_of(caplog, model="CoCorrRec", dataset="small", **given):
    caplog.clear()
    Config(model, dataset, None, {"use_gpu": False, **given}, overrides={})
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


CHANGED = [
    ("threshold", {"threshold": {"rating": 3}}, "sequential models read no labels"),
    ("RATING_FIELD", {"RATING_FIELD": "stars"}, "read no ratings"),
    ("POSITION_FIELD", {"POSITION_FIELD": "place"}, "no model here"),
    ("worker", {"worker": 4}, "--nproc"),
    ("save_dataset", {"save_dataset": True}, "pickles"),
    ("dataloaders_save_path", {"dataloaders_save_path": "x"}, "pickles"),
    ("valid_metric_bigger", {"valid_metric_bigger": False}, "follows from valid_metric"),
    ("require_pow", {"require_pow": True}, "weight_decay"),
    ("wandb_project", {"wandb_project": "mine"}, "log_wandb=True"),
    ("train_neg_sample_args.candidate_num", {"train_neg_sample_args": {**NEGATIVES, "candidate_num": 5}}, "dynamic"),
    ("train_neg_sample_args.alpha", {"train_neg_sample_args": {**NEGATIVES, "alpha": 0.5}}, "popularity"),
    ("softmax_sample_num", {"softmax_sample_num": 10}, "loss_type CE"),
    ("ENTITY_ID_FIELD", {"ENTITY_ID_FIELD": "thing"}, "GRU4RecKG"),
    ("kg_reverse_r", {"kg_reverse_r": True}, "GRU4RecKG"),
    ("normalize_all", {"normalize_all": True}, "clicks alone"),
    ("preload_weight", {"preload_weight": {"item_id": "vector"}}, "clicks alone"),
    ("eval_args.group_by", {"eval_args": {**EVAL, "group_by": "none"}}, "always go by user"),
    ("eval_args.group_by", {"eval_args": {**EVAL, "split": {"TS": [8, 1, 1]}, "group_by": "none"}}, "always go by"),
    ("eval_args.split", {"eval_args": {**EVAL, "split": {"RS": [8, 1, 1]}}, **FILES}, "the files are the split"),
    ("user_inter_num_interval", {"user_inter_num_interval": "[5,inf)", **FILES}, "read as they are"),
    ("rm_dup_inter", {"rm_dup_inter": "first", **FILES}, "read as they are"),
    ("val_interval", {"val_interval": {"rating": "[3,inf)"}, **FILES}, "read as they are"),
]


@pytest.mark.parametrize(("key", "given", "why"), CHANGED, ids=[f"{c[0]}-{k}" for k, c in enumerate(CHANGED)])
def test_a_changed_setting_without_effect_is_named_once(caplog, key, given, why):
    (message,) = warnings_of(caplog, **given)
    assert message.startswith(f"{key}=")
    assert "has no effect" in message
    assert why in message


QUIET = [
    {},
    {"protocol": "full"},
    {"protocol": "full", "softmax_sample_num": 10},
    {"worker": 0, "threshold": None, "save_dataset": False, "valid_metric_bigger": True},
    {"metrics": ["LogLoss"], "valid_metric": "LogLoss", "valid_metric_bigger": False},
    {"model": "DIN", "numerical_features": ["age"]},
    {"train_neg_sample_args": {"distribution": "popularity", "sample_num": 4, "alpha": 0.5}},
    {"eval_args": {**EVAL, "split": {"RS": [8, 1, 1]}, "group_by": "none"}},
    {"rm_dup_inter": "first", "val_interval": {"rating": "[3,inf)"}},
    FILES,
]


@pytest.mark.parametrize("given", QUIET, ids=str)
def test_settings_with_an_effect_say_nothing(caplog, given):
    assert warnings_of(caplog, **given) == []


def test_what_a_users_own_model_reads_is_not_known(caplog):
    from recbole_cocorr.models.cocorrrec.network import CoCorrRec

    class Mine(CoCorrRec):
        pass

    assert warnings_of(caplog, Mine, normalize_all=True, threshold={"rating": 3}, loss_type="BCE") == []
    (message,) = warnings_of(caplog, Mine, worker=2, loss_type="BCE")
    assert message.startswith("worker=2")


def test_split_files_that_choose_the_epoch_on_the_test_rows_say_so(caplog):
    (message,) = warnings_of(caplog, benchmark_filename=["train", "test", "test"])
    assert "chosen on the test rows" in message


def test_ml_100k_is_read_from_the_folder_that_is_given(tmp_path, caplog):
    """RecBole reads its own copy, whatever data_path says."""
    folder = write_inter(tmp_path, "ml-100k", [("u", "i", 1)])
    assert warnings_of(caplog, dataset="ml-100k", data_path=str(folder)) == []
    config = Config("CoCorrRec", "ml-100k", None, {"use_gpu": False, "data_path": str(folder)}, overrides={})
    assert config["data_path"] == str(folder / "ml-100k")
    (message,) = warnings_of(caplog, dataset="ml-100k", data_path=str(tmp_path / "nothing"))
    assert "RecBole's own copy of ml-100k is read" in message
