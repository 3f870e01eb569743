"""Which corrections are compared with which, and what the numbers are."""

import numpy as np
import pytest
from scipy import stats

from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.evaluation.significance import holm
from recbole_cocorr.experiments.correction_comparisons import FIELD, VARIANTS, compare_corrected
from tests.made_results import made_corrected

METRICS = ["gauc", "ndcg@5", "ndcg@10", "ndcg@20", "hit@5", "hit@10", "hit@20"]
OTHERS = ["none", "stale 1", "stale 2", "stale 5", "another user's"]


def of_kind(content, kind):
    return [c for c in content["comparisons"] if c["kind"] == kind]


def test_every_model_against_its_own_variants():
    runs = [made_corrected(label, seed) for label in ("SASRec", "CoCorrRec") for seed in (1, 2)]
    result = of_kind(compare_corrected(runs), VARIANTS)
    assert [(c["model"], c["baseline"], c["metric"]) for c in result] == [
        (label, other, metric) for label in ("SASRec", "CoCorrRec") for other in OTHERS for metric in METRICS
    ]
    assert [c["adjusted"] for c in result] == pytest.approx(holm([c["p"] for c in result]))
    # By hand: each user's NDCG@10 averaged over the seeds, then a paired t test.
    own, none = (
        np.mean([per_row(r.tables[v], ["ndcg"], [10])["ndcg@10"] for r in runs[:2]], axis=0) for v in ("own", "none")
    )
    one = next(c for c in result if (c["model"], c["baseline"], c["metric"]) == ("SASRec", "none", "ndcg@10"))
    test = stats.ttest_rel(own, none)
    assert one["p"] == pytest.approx(test.pvalue) and one["difference"] == pytest.approx((own - none).mean())
    assert (one["low"], one["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert (one["users"], list(one["seeds"])) == (400, [1, 2])


def test_the_best_of_ours_is_chosen_on_validation_and_meets_every_baseline():
    # The one that is better on the test items is the worse one on the validation items.
    runs = [
        made_corrected("SASRec", valid=0.9),
        made_corrected("Pop"),
        made_corrected("CoCorrRec (w/o GCN)", valid=0.31, strength=1.0),
        made_corrected("CoCorrRec", valid=0.30, strength=2.0),
    ]
    content = compare_corrected(runs)
    (chosen,) = content["best_of_ours"]
    assert chosen["label"] == "CoCorrRec (w/o GCN)"
    assert chosen["valid_ndcg@10"] == {"CoCorrRec (w/o GCN)": 0.31, "CoCorrRec": 0.30}
    result = of_kind(content, FIELD)
    assert [(c["model"], c["baseline"]) for c in result] == [
        ("CoCorrRec (w/o GCN)", baseline) for baseline in ("Pop", "SASRec") for _ in METRICS
    ]
    assert [c["adjusted"] for c in result] == pytest.approx(holm([c["p"] for c in result]))
    own = [per_row(runs[i].tables["own"], ["hit"], [5])["hit@5"] for i in (2, 0)]
    one = next(c for c in result if (c["baseline"], c["metric"]) == ("SASRec", "hit@5"))
    assert one["difference"] == pytest.approx((own[0] - own[1]).mean())
    assert content["problems"] == []


def test_only_shared_seeds_choose_and_compare():
    runs = [
        made_corrected("CoCorrRec", 1, valid=0.3),
        made_corrected("CoCorrRec", 2, valid=0.9),
        made_corrected("CoCorrRec (w/o GCN)", 1, valid=0.4),
        made_corrected("SASRec", 1),
        made_corrected("SASRec", 3),
    ]
    content = compare_corrected(runs)
    assert content["best_of_ours"][0]["label"] == "CoCorrRec (w/o GCN)"
    assert {tuple(c["seeds"]) for c in of_kind(content, FIELD)} == {(1,)}


def test_what_cannot_be_compared_is_said():
    def problems(*runs):
        content = compare_corrected(runs)
        return " / ".join(content["problems"]), content

    text, content = problems(made_corrected("SASRec"))
    assert "no run of CoCorrRec is among them" in text and of_kind(content, FIELD) == [] and of_kind(content, VARIANTS)
    text, content = problems(made_corrected("SASRec"), made_corrected("SASRec"), made_corrected("CoCorrRec"))
    assert "SASRec has two tested runs with seed 2020" in text
    assert {c["model"] for c in content["comparisons"]} == {"CoCorrRec"}
    text, _ = problems(made_corrected("CoCorrRec", 1), made_corrected("CoCorrRec (w/o GCN)", 2))
    assert "CoCorrRec (w/o GCN) and CoCorrRec share no seed" in text
    text, content = problems(made_corrected("CoCorrRec", users=40), made_corrected("SASRec", users=41))
    assert "1 user was tested by only one of them" in text and {c["kind"] for c in content["comparisons"]} == {VARIANTS}
    text, _ = problems(made_corrected("CoCorrRec", 1), made_corrected("SASRec", 2))
    assert "CoCorrRec and SASRec share no seed" in text


def test_data_sets_and_protocols_stand_alone():
    runs = [
        made_corrected("CoCorrRec", dataset=d, protocol=p) for d, p in (("a", "paper"), ("a", "full"), ("b", "paper"))
    ]
    result = compare_corrected(runs)["comparisons"]
    assert {(c["dataset"], c["protocol"]) for c in result} == {("a", "paper"), ("a", "full"), ("b", "paper")}
    for where in (("a", "paper"), ("b", "paper")):
        own = [c for c in result if (c["dataset"], c["protocol"]) == where]
        assert [c["adjusted"] for c in own] == pytest.approx(holm([c["p"] for c in own]))
