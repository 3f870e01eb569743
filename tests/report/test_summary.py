"""The words at the top of the page: each is said by the records, and what they do not say is not said."""

import json

import pytest

pytest.importorskip("matplotlib")

from recbole_cocorr.experiments.comparisons import compare_with_each, metric_columns
from recbole_cocorr.experiments.runs.groups import comparison_groups
from recbole_cocorr.report.folder import read_folder
from recbole_cocorr.report.report import build, page, usual_reference
from recbole_cocorr.report.summary import summary_of
from tests.made_results import (
    made_field,
    made_run,
    whole_results,
    write_correctors,
    write_results,
)


def topics(folder) -> dict[str, str]:
    """Titles and texts, without the pictures."""
    results = read_folder(folder)
    groups = comparison_groups(results.records)
    compared = [(g, compare_with_each(g, usual_reference(g), metric_columns(g))) for g in groups]
    return {topic.title: " ".join(topic.sentences) for topic in summary_of(results, compared)}


QUALITY = "Quality: amazon-beauty, protocol paper"
CLOUD = "With the cloud's item-item scores: amazon-beauty"


def with_test(label: str, value: float, **changes):
    return made_run(label, users=40, test={"ndcg@10": value}, **changes)


def test_one_model_has_none_to_be_compared_with(tmp_path):
    text = topics(write_results(tmp_path / "r", [with_test("CoCorrRec", 0.1234)]))[QUALITY]
    assert text.startswith("One model was tested: CoCorrRec, NDCG@10 .1234. There is none to compare it with.")
    assert "One training of each model: how far another one would move these figures was not measured" in text
    assert "first" not in text and "significant" not in text


def test_the_first_the_next_and_by_how_much(tmp_path):
    records = [with_test("CoCorrRec", 0.2), with_test("SASRec", 0.25), with_test("DIN", 0.1, ranks=None)]
    text = topics(write_results(tmp_path / "r", records))[QUALITY]
    assert "SASRec is first of 3 models: NDCG@10 .2500, .0500, 25% above CoCorrRec, the next; " in text
    records = [with_test("CoCorrRec", 0.2), with_test("SASRec", 0.25), with_test("DIN", 0.24)]
    text = topics(write_results(tmp_path / "other", records))[QUALITY]
    assert (
        "SASRec is first of 3 models: NDCG@10 .2500, .0100, 4.2% above DIN, the next. The two were not tested" in text
    )
    assert "CoCorrRec is .0500, 20% below SASRec, the best baseline; " in text


def test_equal_digits_share_the_first_place(tmp_path):
    records = [with_test("CoCorrRec", 0.20001), with_test("SASRec", 0.2), with_test("DIN", 0.1)]
    text = topics(write_results(tmp_path / "r", records))[QUALITY]
    assert "SASRec and CoCorrRec share the first place among 3 models: NDCG@10 .2000." in text


def test_what_is_significant_is_what_the_test_says(tmp_path):
    far = [made_run("SASRec", users=900, strength=0.5), made_run("CoCorrRec", users=900, strength=2.5)]
    text = topics(write_results(tmp_path / "far", far))[QUALITY]
    assert "above SASRec, the next; significant, p < .0001." in text
    assert "CoCorrRec over all metrics: better than SASRec on 7 of 7 metrics (p < .05, paired per user, Holm)." in text
    near = [made_run("SASRec", users=30, strength=1.5), made_run("CoCorrRec", users=30, strength=1.52)]
    text = topics(write_results(tmp_path / "near", near))[QUALITY]
    assert "; not significant, p = " in text and "no difference from SASRec on 7 of 7 metrics" in text
    unknown = [made_run("SASRec", users=30, with_ranks=False), made_run("CoCorrRec", users=30)]
    text = topics(write_results(tmp_path / "unknown", unknown))
    assert "; not tested for significance." in text[QUALITY] and "over all metrics" not in text[QUALITY]
    assert "1 comparison could not be made" in text["To keep in mind"]


def test_trainings_are_counted(tmp_path):
    assert (
        "the mean of 3 trainings"
        in topics(write_results(tmp_path / "a", made_field(["DIN", "CoCorrRec"], users=30)))[QUALITY]
    )
    records = [made_run("DIN", users=30), *(made_run("CoCorrRec", users=30, seed=s) for s in (2020, 2021))]
    assert "means of 1 to 2 trainings" in topics(write_results(tmp_path / "b", records))[QUALITY]


def test_what_the_cloud_adds(tmp_path):
    folder = write_results(tmp_path / "r", [made_run(users=40)])
    write_correctors(folder, users=1500)
    text = topics(folder)[CLOUD]
    assert "GRU4Rec: NDCG@10 ." in text and "better than its own list without the cloud on 7 of 7 metrics." in text
    assert "With the same scores CoCorrRec (w/o GCN) is first of 2 models, significantly above each baseline." in text
    content = json.loads((folder / "correctors.json").read_text())
    for c in content["comparisons"]:
        c["adjusted"] = 0.5
    (folder / "correctors.json").write_text(json.dumps(content))
    assert "is first of 2 models, but not significantly above each baseline." in topics(folder)[CLOUD]
    for key in ("comparisons", "best_of_ours", "problems"):
        del content[key]
    (folder / "correctors.json").write_text(json.dumps(content))
    text = topics(folder)[CLOUD]
    assert "; not tested for significance." in text and "better than" not in text


def test_costs_times_and_doubts(tmp_path):
    folder = whole_results(tmp_path / "r", users=60)
    text = topics(folder)
    assert (
        "One inference with L = 10 costs DIN least, 2.52 MFLOPs, and CoCorrRec most, 5.88 MFLOPs (2.3 times)."
        in text["Cost"]
    )
    assert "on the device, with L = 1,000 costs CoCorrRec (w/o GCN) and CoCorrRec least, 190 kFLOPs" in text["Cost"]
    device = text["On the device"]
    assert "With ONNX Runtime a click after 200 others takes, in µs (median): CoCorrRec (carried on) 20, " in device
    assert "CoCorrRec (window anew) 44, GRU4Rec (carried on) 220" in device
    assert "With the native library a click after 200 others takes, in µs (median): CoCorrRec (carried on) 10" in device
    assert "1 run failed" in text["To keep in mind"] and "of a busy machine" in text["To keep in mind"]


def test_what_is_not_there_is_not_spoken_of(tmp_path):
    folder = write_results(tmp_path / "r", [made_run(users=40)])
    assert list(topics(folder)) == [QUALITY]
    text = page(build(folder))
    assert '<h2 id="summary-title">In short</h2>' in text
    assert text.index("In short") < text.index('id="table1-title"')
