"""The table of full ranking in both ways."""

import pytest

from recbole_cocorr.experiments.runs.groups import comparison_groups
from recbole_cocorr.report.both_ways import both_ways_tables
from recbole_cocorr.report.table_formats import markdown
from tests.made_results import made_run


def both(label: str, seed: int, out: float, within: float, config: dict, **more):
    metrics = {way: {"ndcg@10": value, "hit@10": 2 * value} for way, value in (("out", out), ("in", within))}
    record = made_run(label, protocol="full", seed=seed, users=20, test_by_history=metrics, **more)
    record.config.update(config)
    return record


RUNS = [
    both("SASRec", 1, 0.2, 0.15, {"hidden_size": 64, "hidden_dropout_prob": 0.5, "training_rows": "sequence"}),
    both("SASRec", 2, 0.3, 0.05, {"hidden_size": 64, "hidden_dropout_prob": 0.5, "training_rows": "sequence"}),
    both("CoCorrRec", 1, 0.24, 0.2, {"hidden_size": 128, "dropout_prob": 0.25}),
    both("Pop", 1, 0.01, 0.02, {}),
]


def cells(table):
    return {row[0].text: dict(zip(table.header, row, strict=True)) for row in table.rows}


def test_each_way_has_its_columns_and_what_must_be_said_beside_it():
    (group,) = comparison_groups(RUNS)
    (table,) = both_ways_tables(group)
    of = cells(table)
    assert of["SASRec"]["NDCG@10, out"].text == ".2500 (.0707)" and of["SASRec"]["NDCG@10, out"].bold
    assert of["CoCorrRec"]["NDCG@10, in"].text == ".2000" and of["CoCorrRec"]["NDCG@10, in"].bold
    assert of["CoCorrRec"]["HR@10, out"].underlined
    said = {
        label: [row[name].text for name in ("L", "Width", "Rows", "Loss", "Dropout", "Seeds")]
        for label, row in of.items()
    }
    assert said["SASRec"] == ["50", "64", "sequence", "CE", "0.5", "2"]
    assert said["CoCorrRec"] == ["50", "128", "prefix", "CE", "0.25", "1"]
    assert said["Pop"][0] == "50" and len(set(said["Pop"][1:5])) == 1
    assert "left out of the candidates (out) and among them (in), amazon-beauty, protocol full" in table.caption


@pytest.mark.parametrize(("way", "sentence"), [("miss", "count as misses"), ("leave_out", "are left out")])
def test_a_split_by_time_says_where_it_cut(way, sentence):
    test = {"targets": 1166, "of_new_users": 97, "of_new_items": 15}
    cut = {"valid_from": "1998-03-07", "test_from": "1998-03-31", "last": "1998-04-22", "test": test}
    (group,) = comparison_groups([both("SASRec", 1, 0.2, 0.1, {"new_item_targets": way}, cut=cut)])
    text = markdown(both_ways_tables(group)[0])
    assert "Training before 1998-03-07, validation before 1998-03-31, test to 1998-04-22: 1,166 targets" in text
    assert f"97 of users and 15 of items that training never saw (the latter {sentence})" in text


def test_runs_of_before_and_sampled_candidates_have_no_such_table():
    (group,) = comparison_groups([made_run("SASRec", users=20), made_run("CoCorrRec", users=20)])
    assert both_ways_tables(group) == []
