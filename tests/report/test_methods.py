"""The methods paragraph and the provenance say what the runs hold."""

from recbole_cocorr.experiments.comparisons import compare_with_each, metric_columns
from recbole_cocorr.experiments.runs.groups import comparison_groups
from recbole_cocorr.report.methods import methods, provenance
from tests.made_results import made_field, made_run, made_sweep

ROWS = ["prefix", "sequence"]


def text_of(records) -> str:
    groups = comparison_groups(records)
    return " ".join(
        methods(records, groups, [(g, compare_with_each(g, "CoCorrRec", metric_columns(g))) for g in groups])
    )


def test_settings_rates_and_comparisons():
    text = text_of(made_field(["Pop", "SASRec", "CoCorrRec"], users=40) + made_sweep(users=20, learning_rate=0.7))
    assert "L = 10 clicks of history; loss BCE; optimiser adamw; batch 1024; at most 100 epochs" in text
    assert "Learning rates tried, chosen on validation only: 0.001, 0.005 (SASRec, CoCorrRec); 0.005 (Pop)." in text
    assert "Seeds: 2020, 2021, 2022." in text
    assert "(14 on amazon-beauty, protocol paper)" in text
    assert "0.7" not in text


def test_options_are_counted_and_the_one_that_was_kept_is_named():
    trial, kept = made_run("SASRec", users=20), made_run("SASRec", users=20)
    trial.settings, trial.test = {"hidden_size": 64, "training_rows": "sequence"}, None
    kept.settings = {"hidden_size": 64, "training_rows": "prefix"}
    said = "Of SASRec on amazon-beauty 2 settings were tried in the same way; kept: training_rows prefix."
    assert said in text_of([trial, kept, made_run(users=20)])
    assert "settings were tried" not in text_of([kept, made_run(users=20)])


def test_settings_that_differ_are_all_named():
    records = [made_run(users=20), made_run("SASRec", users=20, config={"epochs": 50})]
    text = text_of(records)
    assert "at most 50 or 100 epochs" in text
    assert "Each model was trained with one learning rate." in text


def test_the_training_rows_are_named():
    rows = [made_run(users=20, config={"training_rows": kind}, seed=seed) for seed, kind in enumerate(ROWS)]
    assert "training rows prefix or sequence" in text_of(rows)
    assert "training rows sequence" in text_of(rows[1:])


def test_nothing_tested_and_an_unknown_protocol():
    assert text_of([]) == "No tested run."
    run = made_run(users=20, config={})
    run.protocol = "mine"
    assert "Protocol mine: as its property file says. Settings: not recorded." in text_of([run])


def test_versions_that_differ_are_counted():
    runs = [made_run(users=5, seed=s) for s in (1, 2, 3)]
    runs[0].versions = {"torch": "2.4.0"}
    cells = {cells[0].text: cells[1].text for cells in provenance(runs).rows}
    assert cells["Version of torch"] == "2.13.0 (2 of 3 runs); 2.4.0 (1 of 3 runs)"
    assert cells["Machine: cores"] == "2"
    assert "Machine: gpu" not in cells
    assert cells["Finished runs"].startswith("3, ")
