"""What a record says beside its metrics: the test with the history in and out, and where time cut the data."""

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.runs import worker
from recbole_cocorr.experiments.runs.plan import RunSpec
from recbole_cocorr.experiments.runs.run_files import read_run, write_run
from tests.conftest import write_inter


def execute(tmp_path, data_path, model="GRU4Rec", name="run", **changed):
    settings = {"epochs": 2, "data_path": str(data_path), "use_gpu": False, "embedding_size": 8, "hidden_size": 8}
    settings |= changed.pop("settings", {})
    values = {"label": model, "model": model, "dataset": "small", "protocol": "full", "seed": 5, "learning_rate": 0.01}
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    record = worker.execute(RunSpec(**{**values, **changed}, settings=settings, test=True), folder)
    assert read_run(folder / "run.json") == record
    return record


def test_the_test_is_measured_in_both_ways_at_once(small_data, tmp_path):
    """Each way is what a run has that asks for it; `eval_step: 0` gives both the same weights."""
    plain = execute(tmp_path, small_data, name="in", settings={"eval_step": 0})
    masked = execute(tmp_path, small_data, name="out", settings={"eval_step": 0, "eval_mask_history": True})
    assert plain.test != masked.test
    assert plain.test_by_history == {"in": plain.test, "out": masked.test} == masked.test_by_history
    assert plain.ranks.others != masked.ranks.others


def test_sampled_candidates_hold_no_item_of_the_history(small_data, tmp_path):
    record = execute(tmp_path, small_data, protocol="paper")
    assert record.test_by_history is None and record.cut == {}


@pytest.fixture
def dated(tmp_path):
    """Five users of before 1000, of whom two go on, and one who comes after it; `late` is sold from 1200 on."""
    rows = [(f"u{u}", f"i{(u * k) % 23}", 7 * k + u) for u in range(5) for k in range(20)]
    rows += [("u0", "i1", 1000), ("u1", "i2", 1001), ("u0", "late", 1200), ("z", "i5", 1201), ("z", "i6", 1202)]
    return write_inter(tmp_path / "data", "small", rows)


@pytest.mark.parametrize("model", ["GRU4Rec", "EASE", "PopRecent"])
def test_a_record_says_where_time_cut_the_data(dated, tmp_path, model):
    settings = {"valid_from": 1000, "test_from": 1200, "metrics": ["NDCG", "Hit", "ItemCoverage"], "epochs": 1}
    record = execute(tmp_path, dated, model, protocol="time", settings=settings)
    assert record.cut["valid_from"] == "1000" and record.cut["test_from"] == "1200"
    assert record.cut["training"] == {"interactions": 100, "rows": 95, "users": 5, "items": 23}
    wanted = {"interactions": 3, "targets": 2, "of_new_items": 1, "of_new_users": 1, "without_history": 0}
    assert record.cut["test"] == wanted
    assert record.ranks.users == ["u0", "z"] and record.ranks.history == [21, 1]
    assert record.ranks.higher[0] == record.ranks.others[0] and record.ranks.tied[0] == 0
    assert 0 < record.test["itemcoverage@20"] <= 1
    assert set(record.test_by_history["in"]) == set(record.test) - {f"itemcoverage@{k}" for k in (5, 10, 20)}


def test_a_killed_run_of_a_model_that_counts_goes_on(dated, tmp_path, monkeypatch):
    settings = {"valid_from": 1000, "test_from": 1200, "recent_days": [0.0001, 0.001, 1], "epochs": 3}
    whole = execute(tmp_path, dated, "PopRecent", "whole", protocol="time", settings=settings)
    train = worker.RecordingTrainer._train_epoch

    def killed(self, data, epoch, *arguments, **options):
        if epoch == 2:
            raise KeyboardInterrupt
        return train(self, data, epoch, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(worker.RecordingTrainer, "_train_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            execute(tmp_path, dated, "PopRecent", "again", protocol="time", settings=settings)
    record = execute(tmp_path, dated, "PopRecent", "again", protocol="time", settings=settings)
    assert [e["valid"] for e in record.curve] == [e["valid"] for e in whole.curve]
    assert (record.test, record.best_epoch) == (whole.test, whole.best_epoch)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"test_by_history": {"in": {}}}, "test_by_history.out is missing"),
        ({"test_by_history": {"in": {}, "out": {"ndcg@10": "x"}}}, "test_by_history.out.ndcg@10 is 'x'"),
        ({"cut": [1]}, "cut is a list of 1"),
    ],
)
def test_a_record_that_is_damaged_is_refused(small_data, tmp_path, change, sentence):
    record = execute(tmp_path, small_data, "Pop")
    for name, value in change.items():
        setattr(record, name, value)
    write_run(tmp_path / "bad.json", record)
    with pytest.raises(UserError, match=rf"bad\.json: {sentence}"):
        read_run(tmp_path / "bad.json")


def test_padding_is_on_no_list_where_the_target_has_no_score(tmp_path):
    """The list of the one row holds all 23 items that training knew, of which 95 clicks were targets."""
    rows = [(f"u{u}", f"i{(u * k) % 23}", 7 * k + u) for u in range(5) for k in range(20)]
    rows += [("u1", "i2", 1001), ("u0", "late", 1200)]
    folder = write_inter(tmp_path / "data", "small", rows)
    settings = {"valid_from": 1000, "test_from": 1200, "metrics": ["NDCG", "AveragePopularity"], "topk": [23]}
    more = {"eval_mask_history": False, "valid_metric": "NDCG@23"}
    record = execute(tmp_path, folder, protocol="time", settings={**settings, **more})
    assert record.test["averagepopularity@23"] == pytest.approx(95 / 23, abs=1e-4)
