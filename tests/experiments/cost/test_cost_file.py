"""The file comes back as it was written; a damaged one is refused in one sentence, whatever is wrong with it."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.results.cost import NUMBERS, WHOLE, Cost


def row(model="SASRec", length=10, **changed):
    numbers = {key: 7 if key in WHOLE else 7.5 for key in NUMBERS}
    return {"model": model, "K": None, "reads_history_again": False, **numbers, "L": length, **changed}


def cost():
    return Cost(
        [row(), row(length=20), row("CoCorrRec", K=10)],
        {"items": 12, "candidates": 3, "mini_batch_size": 10, "threads": 1, "repeats": 2},
        {"torch": "2"},
        {"cores": 2},
    )


def written(path):
    cost().save(path)
    return json.loads(path.read_text())


def test_it_comes_back(tmp_path):
    cost().save(tmp_path / "c.json")
    assert Cost.load(tmp_path / "c.json") == cost()
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["format"] == "recbole_cocorr.cost" and content["format_version"] == 1


def refused(path, content) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError) as caught:
        Cost.load(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="there is no cost file"):
        Cost.load(tmp_path / "none.json")


def test_another_version_or_kind(tmp_path):
    content = written(tmp_path / "c.json")
    assert "reads format 1" in refused(tmp_path / "c.json", {**content, "format_version": 2})
    assert "is no cost file of recbole_cocorr" in refused(
        tmp_path / "c.json", {**content, "format": "recbole_cocorr.run"}
    )
    assert "is no cost file of recbole_cocorr" in refused(tmp_path / "c.json", [1])


def test_cut_off_anywhere(tmp_path):
    written(tmp_path / "c.json")
    whole = (tmp_path / "c.json").read_text().rstrip()
    for end in range(0, len(whole), 97):
        assert "is not valid JSON" in refused(tmp_path / "c.json", whole[:end])


@pytest.mark.parametrize("key", ["rows", "settings", "versions", "machine"])
@pytest.mark.parametrize("value", [None, [], 3, "text"])
def test_a_part_of_another_kind(tmp_path, key, value):
    content = written(tmp_path / "c.json")
    assert f"{key} is " in refused(tmp_path / "c.json", {**content, key: value})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    number=st.integers(0, 2),
    key=st.sampled_from([*NUMBERS, "model", "reads_history_again"]),
    value=st.sampled_from([None, -1, "7", True, [7], {}, float("nan"), float("inf"), -0.5, ""]),
)
def test_any_wrong_value_is_found(tmp_path, number, key, value):
    if (key == "reads_history_again" and value is True) or (key == "model" and value == "7"):
        return
    content = written(tmp_path / "c.json")
    content["rows"][number][key] = value
    assert f"rows[{number}].{key} is " in refused(tmp_path / "c.json", content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(number=st.integers(0, 2), key=st.sampled_from([*NUMBERS, "model", "reads_history_again"]))
def test_any_missing_value_is_found(tmp_path, number, key):
    content = written(tmp_path / "c.json")
    del content["rows"][number][key]
    assert f"rows[{number}].{key} is " in refused(tmp_path / "c.json", content)


@pytest.mark.parametrize("K", [0, -3, "10", 2.5])
def test_a_wrong_k(tmp_path, K):
    content = written(tmp_path / "c.json")
    content["rows"][2]["K"] = K
    assert "rows[2].K is " in refused(tmp_path / "c.json", content)


def test_a_row_twice(tmp_path):
    content = written(tmp_path / "c.json")
    content["rows"].append(copy.deepcopy(content["rows"][0]))
    assert "row 4 repeats SASRec at L = 10" in refused(tmp_path / "c.json", content)
