"""Rows of a benchmark.yaml of one's own: what does not fit is one sentence."""

from pathlib import Path

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import read_properties
from recbole_cocorr.experiments.entries import find_entries


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models: [GRU4Rec]", "models is .*; it must be an object of named values"),
        ("models: {GRU4Rec: 3}", r"models\.GRU4Rec is 3; it must be an object of named values"),
        ("models: {GRU4Rec: {learning_rates: 0.1}}", r"models\.GRU4Rec\.learning_rates is 0\.1; it must be a list"),
        ("models: {GRU4Rec: {learning_rates: [-1]}}", "it must be a list of numbers above 0"),
        ("models: {GRU4Rec: {settings: [1]}}", r"models\.GRU4Rec\.settings is a list of 1; it must be an object"),
        ("models: {GRU4Rec: {option: []}}", r"models\.GRU4Rec\.option means nothing in a row; did you mean 'options'"),
        (
            "models: {GRU4Rec: {options: [{learning_rate: 0.1}]}}",
            "'GRU4Rec' sets learning_rate, .* write learning_rates:",
        ),
        ("models: {GRU4Rec: {settings: {seed: 3}}}", "'GRU4Rec' sets seed, which is the benchmark's own to set"),
        ("models: {GRU4Rec: {options: [{a: 1}, {a: 1}]}}", "'GRU4Rec' has one of its options twice"),
        ("models: {X: {model: 3}}", r"models\.X\.model is 3; it must be a text"),
        ("models: {'a, b': {model: GRU4Rec}}", "the label 'a, b' has a comma, which stands between labels"),
        ("learning_rates: 0.1", "learning_rates is 0.1; it must be a list"),
    ],
)
def test_what_does_not_fit(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    Path("properties").mkdir()
    Path("properties/benchmark.yaml").write_text(text + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=words):
        find_entries(None)


def test_rows_of_ones_own_stand_beside_the_packaged_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = find_entries(None)
    Path("properties").mkdir()
    text = "models: {Mine: {model: GRU4Rec, settings: {dropout_prob: 0.1}}, GRU4Rec: {settings: {hidden_size: 8}}}"
    Path("properties/benchmark.yaml").write_text(text, encoding="utf-8")
    after = {entry.label: entry for entry in find_entries(None)}
    assert list(after) == [*(entry.label for entry in before), "Mine"]
    assert after["Mine"].settings == {"dropout_prob": 0.1}
    assert after["GRU4Rec"].settings == {"hidden_size": 8}
    (named,) = find_entries(["SASRec (item-item)"])
    assert named.settings["item_init"] == "item-item"


def test_the_rows_of_the_papers_model_are_its_property_file():
    own = {**read_properties("model", "CoCorrRec-paper"), "hidden_size": 64}
    del own["learning_rate"]  # the grid's to choose
    with_gcn, without = find_entries(["CoCorrRec (paper)", "CoCorrRec (paper; w/o GCN)"])
    assert with_gcn.settings == own
    assert without.settings == {**own, "use_gcn": False}
