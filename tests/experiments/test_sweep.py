"""The sweep over K: what it runs and what it writes."""

import json

import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import property_file
from recbole_cocorr.base.yaml_reader import read_yaml
from recbole_cocorr.experiments.entries import sweep_entries
from recbole_cocorr.experiments.sweep import measure, quality
from tests.made_results import made_run, write_results


def test_entries_differ_in_k_alone():
    first, second = sweep_entries([1, 20], 20, True)
    assert first.label == "K = 1" and first.settings["mini_batch_size"] == 1
    assert {**first.settings, "mini_batch_size": 20} == second.settings


@pytest.mark.parametrize("size", [0, 21])
def test_k_must_fit(size):
    with pytest.raises(UserError, match=f"K is {size}"):
        sweep_entries([size], 20, True)


def test_the_command(small_data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("recbole_cocorr.experiments.sweep.BATCH", 8)
    out = tmp_path / "s"
    command = ["sweep", "--datasets=small", "--K=2,5", "--length=5", f"--out={out}", "--jobs=2", "--threads=1"]
    command += [f"--data_path={small_data}", "--use_gpu=False", "--epochs=1"]
    assert main(command) == 0
    content = json.loads((out / "sweep.json").read_text())
    assert [row["K"] for row in content["rows"]] == [2, 5]
    assert all(row["latency_us"] > 0 and row["batch_latency_us"] > 0 for row in content["rows"])
    for row in content["rows"]:
        low, high = row["latency_us_quartiles"]
        assert low <= row["latency_us"] <= high
    assert "NDCG@10" in capsys.readouterr().out
    for file in out.glob("runs/*/run.json"):
        record = json.loads(file.read_text())
        assert record["config"]["MAX_ITEM_LIST_LENGTH"] == 5 and record["test"]


def test_times_of_two_sweeps_are_not_mixed(tmp_path):
    runs = [
        made_run(f"K = {size}", settings={"mini_batch_size": size, "MAX_ITEM_LIST_LENGTH": length, "data_path": where})
        for size, length, where in ((1, 20, "a"), (2, 20, "b"), (5, 50, "b"))
    ]
    folder = write_results(tmp_path / "s", runs)
    with pytest.raises(UserError, match=r"MAX_ITEM_LIST_LENGTH=20 and with MAX_ITEM_LIST_LENGTH=50"):
        measure(folder)


def test_a_sweep_is_of_one_data_set(tmp_path, capsys):
    assert main(["sweep", "--datasets=a,b", f"--out={tmp_path / 's'}"]) == 2
    assert "a sweep is of one data set, not of 'a,b'" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_quality_is_of_the_data_set_and_the_sweep_alone(tmp_path):
    runs = [
        made_run(label, dataset, seed=seed, users=30, strength=strength, settings={"mini_batch_size": size})
        for label, size, dataset, seed, strength in (
            ("K = 2", 2, "a", 1, 1.0),
            ("K = 2", 2, "a", 2, 2.0),
            ("K = 2", 2, "b", 1, 3.0),
            ("CoCorrRec", 2, "a", 1, 3.0),
        )
    ]
    folder = write_results(tmp_path / "s", runs)
    assert quality(folder, "a", "paper") == {2: pytest.approx((runs[0].test["ndcg@10"] + runs[1].test["ndcg@10"]) / 2)}


def test_the_learning_rate_is_the_models_unless_one_is_given(small_data, tmp_path, capsys):
    own = read_yaml(property_file("model", "CoCorrRec"), "configuration file")["learning_rate"]
    command = ["sweep", "--datasets=small", "--K=2", "--length=5", f"--data_path={small_data}", "--dry_run"]
    assert main([*command, f"--out={tmp_path / 's'}"]) == 0
    assert f"learning rate {own} " in capsys.readouterr().out
    assert main([*command, f"--out={tmp_path / 's'}", "--learning_rates=0.02"]) == 0
    assert "learning rate 0.02 " in capsys.readouterr().out
