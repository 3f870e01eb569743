"""Run records and progress files that are damaged or made up: a sentence, or a record of the right types."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.runs.run_files import read_run, write_run
from recbole_cocorr.experiments.runs.worker import main, read_progress
from tests.made_results import made_run


@pytest.fixture
def content(tmp_path):
    write_run(tmp_path / "run.json", made_run(users=10))
    return json.loads((tmp_path / "run.json").read_text())


def test_a_run_that_went_astray_is_read(tmp_path, content):
    """Python writes NaN and Infinity, which JSON does not have."""
    content["valid"]["gauc"] = float("nan")
    content["curve"][-1]["train_loss"] = float("inf")
    (tmp_path / "run.json").write_text(json.dumps(content))
    run = read_run(tmp_path / "run.json")
    assert run.valid["gauc"] != run.valid["gauc"] and run.curve[-1]["train_loss"] == float("inf")


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda c: c.pop("curve"), "curve is missing"),
        (lambda c: c.update(seed="x"), "seed is 'x'; it must be a whole number"),
        (lambda c: c.update(learning_rate=float("nan")), "learning_rate is nan; it must be a finite number"),
        (lambda c: c.update(config=[]), "config is a list of 0"),
        (lambda c: c.update(test={"ndcg@10": "x"}), "test.ndcg@10 is 'x'; it must be a number"),
        (lambda c: c.update(curve=[3]), r"curve\[0\] is 3; it must be an object"),
        (lambda c: c["curve"][0].update(train_loss="x"), r"curve\[0\].train_loss is 'x'; it must be a number"),
        (lambda c: c["ranks"].update(higher=[10**30] * 10), "ranks.higher holds 1000000000000"),
        (lambda c: c["ranks"].update(higher=[-1] * 10), "ranks.higher holds -1"),
        (lambda c: c["ranks"].update(tied=["0"] * 10), "ranks.tied is a list of 10; it must be a list of whole"),
        (lambda c: c["ranks"].update(others=[1]), "ranks.others is a list of 1; it must be of the length of users, 10"),
        (lambda c: c["ranks"].pop("history"), "ranks.history is missing"),
    ],
)
def test_what_a_run_record_must_hold(tmp_path, content, change, sentence):
    change(content)
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"run\.json: {sentence}"):
        read_run(tmp_path / "run.json")


VALUES = st.sampled_from([None, True, -1, 0, 2.5, float("nan"), 10**30, "", "x", [], [1], {}, {"a": "b"}])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data())
def test_any_value_is_read_or_refused(tmp_path, content, data):
    damaged = copy.deepcopy(content)
    part, key = damaged, data.draw(st.sampled_from(sorted(damaged)))
    while isinstance(part[key], (dict, list)) and part[key] and data.draw(st.booleans()):
        part = part[key]
        key = data.draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(min(3, len(part)))))
    part[key] = data.draw(VALUES)
    (tmp_path / "run.json").write_text(json.dumps(damaged))
    try:
        run = read_run(tmp_path / "run.json")
    except UserError as error:
        assert "run.json" in str(error)
    else:
        assert isinstance(run.seed, int) and isinstance(run.label, str) and isinstance(run.seconds, float)
        assert run.ranks is None or run.ranks.table().shape == (10, 3) or not run.ranks.users


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", '{"curve": 3}', '{"curve": [{}], "valid_metric": "x"}'])
def test_progress_that_is_none(tmp_path, text):
    (tmp_path / "progress.json").write_text(text)
    with pytest.raises(UserError, match=r"progress\.json"):
        read_progress(tmp_path / "progress.json")


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "{}", '{"folder": 3}'])
def test_a_worker_is_told_what_is_wrong(text, capsys):
    assert main([text]) == 2
    assert capsys.readouterr().err.startswith("error: the worker's argument")
