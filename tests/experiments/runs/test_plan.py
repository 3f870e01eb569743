"""Plans: what is run, what it is called, how a learning rate is chosen."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import property_file
from recbole_cocorr.base.yaml_reader import read_yaml
from recbole_cocorr.experiments.entries import Entry, find_entries
from recbole_cocorr.experiments.runs.checks import check_plan
from recbole_cocorr.experiments.runs.plan import Plan, RunSpec, numbers


def plan(**changed) -> Plan:
    settings = {
        "entries": [Entry("A", "GRU4Rec"), Entry("B", "SASRec", {"hidden_size": 64}, (0.1,))],
        "datasets": ["d"],
        "protocol": "paper",
        "seeds": [1, 2, 3],
        "learning_rates": [0.001, 0.01],
    }
    return Plan(**{**settings, **changed})


def test_the_field_is_the_papers():
    labels = [e.label for e in find_entries(None)]
    assert labels == [
        "Pop",
        "DIN",
        "GRU4Rec",
        "SASRec",
        "BERT4Rec",
        "Mamba4Rec",
        "CoCorrRec (w/o GCN)",
        "CoCorrRec",
    ]
    assert find_entries(["CoCorrRec (w/o GCN)"])[0].settings["use_gcn"] is False


def test_another_loss_is_run_if_it_is_named():
    labels = ["GRU4Rec (CE)", "SASRec (CE)", "CoCorrRec (CE)"]
    entries = find_entries(labels)
    assert [e.label for e in entries] == labels
    assert {e.settings["loss_type"] for e in entries} == {"CE"}


@pytest.mark.parametrize("label, name", [("CoCorrRec (CE)", "CoCorrRec-ce"), ("CoCorrRec (full)", "CoCorrRec-full")])
def test_an_entry_is_what_its_configuration_says(label, name):
    (entry,) = find_entries([label])
    best = read_yaml(property_file("model", name), "configuration file")
    assert {"hidden_size": 64, **best} == entry.settings


def test_rates_that_are_asked_for_beat_an_entrys_own_grid_but_not_a_single_rate():
    names = ["SASRec (CE)", "Pop"]
    assert [e.learning_rates for e in find_entries(names)] == [(0.001, 0.003), (0.001,)]
    assert [e.learning_rates for e in find_entries(names, own_rates=False)] == [None, (0.001,)]


@pytest.mark.parametrize(
    "names, said",
    [
        (["CoCorRec"], "did you mean 'CoCorrRec'"),
        (["GRU4Rec", "GRU4Rec"], "twice"),
        (["BPR"], "there is no model 'BPR'"),
        ([], "no model"),
    ],
)
def test_unknown_models_are_named(names, said):
    with pytest.raises(UserError, match=said):
        find_entries(names)


def test_any_sequential_model_may_be_named():
    (entry,) = find_entries(["NARM"])
    assert entry == Entry("NARM", "NARM")


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, unique=True))
def test_whole_numbers_come_back(values):
    assert numbers(",".join(f" {v} " for v in values), "--seeds", int, []) == values


@settings(deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_numbers_or_one_sentence(text):
    for kind in (int, float):
        try:
            result = numbers(text, "--seeds", kind, [])
        except UserError as error:
            assert "--seeds" in str(error)
        else:
            assert result and len(set(result)) == len(result) and all(v >= 0 for v in result)


@pytest.mark.parametrize("text", ["one", "1,1", "-1", "1.5", "", "1,,2", "nan"])
def test_bad_seeds(text):
    with pytest.raises(UserError, match="--seeds holds"):
        numbers(text, "--seeds", int, [])


def test_no_number_at_all():
    with pytest.raises(UserError, match="seeds is empty; name at least one number"):
        numbers([], "seeds", int, [1])


@pytest.mark.parametrize("text", ["0", "nan", "inf", "-1e-3", "x"])
def test_bad_rates(text):
    with pytest.raises(UserError, match="--learning_rates holds"):
        numbers(text, "--learning_rates", float, [])


def test_unknown_protocol():
    with pytest.raises(UserError, match="did you mean 'paper'"):
        plan(protocol="papr")


def test_first_seed_searches_and_the_others_follow():
    first, second = plan().tunings()
    assert [(s.seed, s.learning_rate, s.test) for s in first.trials()] == [(1, 0.001, False), (1, 0.01, False)]
    assert [(s.seed, s.learning_rate, s.test) for s in first.finals(first.trials()[1])] == [
        (n, 0.01, True) for n in (1, 2, 3)
    ]
    assert first.total() == 4
    # Its own grid has one rate: nothing to choose, so the trial is tested at once.
    assert [(s.seed, s.learning_rate, s.test) for s in second.trials()] == [(1, 0.1, True)]
    assert second.total() == 3


def test_validation_chooses():
    group = plan().tunings()[0]
    slow, fast = group.trials()
    low, high = slow.id, fast.id
    assert group.chosen({low: 0.2, high: 0.1}) == slow
    assert group.chosen({low: 0.2, high: 0.3}) == fast
    assert group.chosen({low: 0.2, high: 0.3}, bigger=False) == slow
    assert group.chosen({high: 0.1}) == fast
    assert group.chosen({}) is None


def test_options_are_tried_with_every_rate_and_validation_chooses_both():
    options = ({"dropout_prob": 0.2}, {"dropout_prob": 0.5, "epochs": 9})
    (group,) = plan(entries=[Entry("A", "GRU4Rec", {"epochs": 3}, None, options)]).tunings()
    trials = group.trials()
    assert [(s.learning_rate, s.settings) for s in trials] == [
        (0.001, {"epochs": 3, "dropout_prob": 0.2}),
        (0.01, {"epochs": 3, "dropout_prob": 0.2}),
        (0.001, {"epochs": 9, "dropout_prob": 0.5}),
        (0.01, {"epochs": 9, "dropout_prob": 0.5}),
    ]
    assert len({s.id for s in trials}) == 4
    assert not any(s.test for s in trials)
    assert group.total() == 6
    best = group.chosen({s.id: score for s, score in zip(trials, (0.1, 0.2, 0.4, 0.3), strict=True)})
    assert best == trials[2]
    assert [(s.seed, s.settings, s.test) for s in group.finals(best)] == [(n, best.settings, True) for n in (1, 2, 3)]
    assert group.choice(best) == "0.001, dropout_prob 0.5, epochs 9"


@pytest.mark.parametrize("options", ["prefix", {"epochs": 3}, [3], 7])
def test_options_are_a_list_of_settings(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "properties").mkdir()
    text = "learning_rates: [0.1]\nseeds: [1]\nmodels: {A: {model: GRU4Rec, options: " + json.dumps(options) + "}}\n"
    (tmp_path / "properties" / "benchmark.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"models\.A\.options\S* is .*; it must be (a list|an object of named values)"):
        find_entries(["A"])


def test_one_option_and_one_rate_leave_nothing_to_choose():
    (group,) = plan(entries=[Entry("A", "GRU4Rec", {}, (0.1,), ({"epochs": 2},))]).tunings()
    assert [(s.settings, s.test) for s in group.trials()] == [({"epochs": 2}, True)]


def test_an_id_tells_runs_apart_and_not_their_place():
    spec = RunSpec("A (b)", "A", "d", "paper", 1, 0.001, {"epochs": 2})
    assert spec.id.startswith("d.paper.a-b.seed1.lr0.001.")
    assert spec.id == RunSpec("A (b)", "A", "d", "paper", 1, 0.001, {"epochs": 2, "data_path": "/x"}, True).id
    others = [
        RunSpec("A (b)", "B", "d", "paper", 1, 0.001, {"epochs": 2}),
        RunSpec("A (b)", "A", "d", "paper", 1, 0.001, {"epochs": 3}),
        RunSpec("A (b)", "A", "d", "full", 1, 0.001, {"epochs": 2}),
        RunSpec("A (b)", "A", "d", "paper", 2, 0.001, {"epochs": 2}),
        RunSpec("A (b)", "A", "d", "paper", 1, 0.002, {"epochs": 2}),
    ]
    assert len({spec.id, *(o.id for o in others)}) == 6


def test_an_entrys_settings_beat_the_plans():
    small = plan(settings={"hidden_size": 8, "epochs": 1})
    assert small.tunings()[0].trials()[0].settings == {"hidden_size": 8, "epochs": 1}
    assert small.tunings()[1].trials()[0].settings == {"hidden_size": 64, "epochs": 1}


@pytest.mark.parametrize("key", ["hidden_size", "dropout_prob"])
def test_a_flag_that_a_row_would_beat_in_silence_is_refused(key):
    row = Entry("B", "SASRec", {"hidden_size": 64}, (0.1,), ({"dropout_prob": 0.2}, {"dropout_prob": 0.5}))
    with pytest.raises(UserError, match=rf"--{key}=0\.2 does not reach B, whose own settings have {key}: (64|0\.5) "):
        check_plan(plan(entries=[row], datasets=["ml-100k"], settings={key: 0.2}))
    same = Entry("A", "GRU4Rec", {"hidden_size": 8})
    check_plan(plan(entries=[same], datasets=["ml-100k"], settings={"hidden_size": 8}))
