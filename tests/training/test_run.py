"""One call from the settings to the metrics."""

import logging
import math
import os
import threading
from pathlib import Path

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.models.registry import find_model
from recbole_cocorr.training.run import run


@pytest.fixture
def quick(small_data, monkeypatch):
    """``run`` on the data set ``small`` with one epoch, without the second in which RecBole measures the load."""
    monkeypatch.setattr("psutil.cpu_percent", lambda interval=None: 0.0)

    def call(model, *, dataset="small", config_file_list=None, overrides=None, saved=True, **settings):
        given = {"data_path": str(small_data), "use_gpu": False, "epochs": 1, "show_progress": False, **settings}
        return run(model, dataset, config_file_list, given, saved=saved, overrides=overrides or {})

    return call


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("CoCorrRec", {}),
        ("CoCorrRec", {"use_gcn": False, "loss_type": "BPR"}),
        ("CoCorrRec", {"protocol": "full"}),
        ("GRU4Rec", {}),
        ("SASRec", {}),
        ("SASRec", {"protocol": "full"}),
        ("BERT4Rec", {}),
        ("DIN", {"train_batch_size": 4096}),
        ("Caser", {"loss_type": "BPR"}),
        ("HGN", {}),
        ("STAMP", {}),
        ("NARM", {"protocol": "full"}),
        ("FPMC", {}),
    ],
    ids=str,
)
def test_a_model_trains_and_is_evaluated(quick, model, settings):
    result = quick(model, **settings)
    assert set(result) == {
        "best_valid_score",
        "valid_score_bigger",
        "best_valid_result",
        "test_result",
        "saved_model_file",
    }
    for part in ("best_valid_result", "test_result"):
        assert {"gauc", "ndcg@5", "ndcg@10", "ndcg@20", "hit@5", "hit@10", "hit@20"} <= set(result[part])
        assert all(math.isfinite(v) and 0 <= v <= 1 for v in result[part].values())
    assert result["best_valid_score"] == result["best_valid_result"]["ndcg@10"]
    assert result["valid_score_bigger"] is True
    assert Path(result["saved_model_file"]).is_file()


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(quick):
    first, second, other = (quick("CoCorrRec", seed=seed, saved=False) for seed in (7, 7, 8))
    assert first == second
    assert first["test_result"] != other["test_result"]


def test_without_saving_nothing_is_written(quick):
    assert quick("GRU4Rec", saved=False)["saved_model_file"] is None
    assert not [f for f in Path.cwd().rglob("*") if f.suffix in (".safetensors", ".pth")]


def test_overrides_beat_the_dict_and_the_file(quick):
    Path("mine.yaml").write_text("topk: [3]\nvalid_metric: NDCG@3\nhidden_size: 8\n")
    result = quick("CoCorrRec", config_file_list=["mine.yaml"], hidden_size=16, overrides={"metrics": ["NDCG"]})
    assert set(result["test_result"]) == {"ndcg@3"}


def test_a_model_class_of_ones_own(quick):
    class Mine(find_model("GRU4Rec")):
        def __init__(self, config, dataset):
            super().__init__(config, dataset)
            assert config["my_key"] == 3

    result = quick(Mine, my_key=3, embedding_size=8, hidden_size=8, num_layers=1, dropout_prob=0.1)
    assert math.isfinite(result["test_result"]["ndcg@10"])


def test_a_missing_data_set_is_named(quick):
    with pytest.raises(UserError, match="did you mean 'small'"):
        quick("GRU4Rec", dataset="smal")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"nproc": 0}, "nproc is 0"),
        ({"group_offset": -1}, "group_offset is -1"),
        ({"nproc": 2, "world_size": 1}, "world_size is 1, but this machine's processes go up to number 2"),
        ({"world_size": 3, "group_offset": 3}, "go up to number 4"),
    ],
    ids=str,
)
def test_counts_of_processes_that_do_not_fit_are_refused(flags, words):
    with pytest.raises(UserError, match=words):
        run("CoCorrRec", "small", **flags)


def test_several_processes_get_the_settings_and_all_gpus(monkeypatch):
    """The check of the settings beforehand must not leave RecBole's one visible GPU to the processes."""
    seen = {}

    def spawn(function, args, nprocs, join):
        *_, config_dict, _saved, _overrides, queue = args
        seen.update(config_dict, visible=os.environ.get("CUDA_VISIBLE_DEVICES"), nprocs=nprocs)
        queue.put({"test_result": {}})

    monkeypatch.setattr("torch.multiprocessing.spawn", spawn)
    for visible in ("2,3", None):
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        answer = run("SASRec", "small", nproc=2, world_size=4, group_offset=2, ip="10.0.0.1", port="77", overrides={})
        assert answer == {"test_result": {}}
        assert seen["visible"] == visible
    where = {"nproc": 2, "world_size": 4, "offset": 2, "ip": "10.0.0.1", "port": "77"}
    assert where.items() <= seen.items()
    assert seen["nprocs"] == 2


def test_what_is_wrong_is_said_before_any_process_starts(monkeypatch):
    monkeypatch.setattr("torch.multiprocessing.spawn", lambda *a, **k: pytest.fail("started"))
    with pytest.raises(UserError, match="epochs is 'x'"):
        run("SASRec", "small", None, {"epochs": "x", "use_gpu": False}, nproc=2, overrides={})


def test_a_processs_error_is_the_runs(monkeypatch):
    from torch.multiprocessing import ProcessRaisedException

    def spawn(function, args, nprocs, join):
        args[-1].put({"error": "no column 'time'"})
        raise ProcessRaisedException("a traceback", 1, 2)

    monkeypatch.setattr("torch.multiprocessing.spawn", spawn)
    with pytest.raises(UserError, match="no column 'time'"):
        run("SASRec", "small", None, {"use_gpu": False}, nproc=2, overrides={})


def test_a_second_run_has_a_file_and_a_log_of_its_own(quick, tmp_path, monkeypatch):
    """Also where both begin in one second."""
    monkeypatch.setattr("recbole_cocorr.training.trainer.get_local_time", lambda: "now")
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # pytest's
    level = root.level
    before = threading.active_count()
    files = []
    for name in ("first", "second"):
        places = {"log_dir": str(tmp_path / name), "tensorboard_dir": str(tmp_path / name)}
        files.append(quick("GRU4Rec", checkpoint_dir=str(tmp_path / "saved"), **places)["saved_model_file"])
    assert len(set(files)) == 2 and all(Path(file).is_file() for file in files)
    logs = [next((tmp_path / name).glob("GRU4Rec/*.log")).read_text() for name in ("first", "second")]
    assert [sum("test result" in line for line in log.splitlines()) for log in logs] == [1, 1]
    assert files[0] in logs[0] and files[1] not in logs[0] and files[1] in logs[1]
    assert threading.active_count() <= before
    root.setLevel(level)
