"""The contents of the tables, and the comparisons behind their stars."""

import dataclasses

import numpy as np
import pytest

from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.evaluation.significance import holm
from recbole_cocorr.experiments.comparisons import best_baselines, compare_with_each, metric_columns
from recbole_cocorr.experiments.results.corrections import Ablation, Corrections
from recbole_cocorr.experiments.results.cost import Cost
from recbole_cocorr.experiments.results.sweep import SweepTimes
from recbole_cocorr.experiments.runs.groups import comparison_groups, sweep_groups
from recbole_cocorr.report.correction_tables import ablation_table, variant_order, variant_title
from recbole_cocorr.report.corrector_tables import correctors_table
from recbole_cocorr.report.cost_tables import cheapest, cost_table, cost_value, length_table, si
from recbole_cocorr.report.table_formats import MISSING
from recbole_cocorr.report.tables import (
    results_table,
    significance_table,
    sweep_table,
    verdict_tables,
    verdicts,
)
from recbole_cocorr.report.verdict_tables import in_words, p_value
from tests.made_results import made_field, made_run, made_sweep, write_ablation, write_cost, write_json, write_sweep

PAPER = ["gauc", "ndcg@5", "ndcg@10", "ndcg@20", "hit@5", "hit@10", "hit@20"]


def group_of(records):
    (group,) = comparison_groups(records)
    return group


def compared(records, reference="CoCorrRec"):
    group = group_of(records)
    return group, compare_with_each(group, reference, metric_columns(group))


def texts(table) -> list[list[str]]:
    return [[cell.text for cell in cells] for cells in table.rows]


def with_test(label: str, value: float, seed: int = 1, **changes):
    return made_run(label, seed=seed, users=40, test={"ndcg@10": value}, **changes)


def test_columns_of_each_protocol():
    assert metric_columns(group_of([made_run(users=20)])) == PAPER
    full = metric_columns(group_of([made_run(users=20, protocol="full")]))
    assert full == [*PAPER, "mrr@5", "mrr@10", "mrr@20"]
    assert metric_columns(group_of([made_run(users=20, test={"itemcoverage@10": 0.1, "hit@10": 0.2})])) == ["hit@10"]


def test_table_1_by_hand():
    records = [
        with_test("GRU4Rec", 0.30, 1),
        with_test("GRU4Rec", 0.32, 2),
        with_test("SASRec", 0.31, 1, learning_rate=0.001),
        with_test("SASRec", 0.31, 2, learning_rate=0.003),
        with_test("DIN", 0.2, 1),
        with_test("BERT4Rec", 0.1, 1),
    ]
    table = results_table(*compared(records))
    assert table.header == ("Model", "NDCG@10", "Seeds", "Learning rate")
    assert texts(table) == [
        ["DIN", ".2000", "1", "0.005"],
        ["GRU4Rec", ".3100 (.0141)", "2", "0.005"],
        ["SASRec", ".3100 (.0000)", "2", "0.001, 0.003"],
        ["BERT4Rec\u00a0[1]", ".1000", "1", "0.005"],
    ]
    marks = [(cells[1].bold, cells[1].underlined) for cells in table.rows]
    assert marks == [(False, True), (True, False), (True, False), (False, False)]
    assert table.notes[1].startswith("[1] BERT4Rec keeps its cloze loss")


def test_losses_are_read_from_the_config():
    own = {"loss_type": None}
    records = [
        made_run("DIN", users=20),
        made_run("SASRec", users=20),
        made_run("GRU4Rec", users=20, config=own),
        made_run("X", users=20, config={"loss_type": "CE"}),
    ]
    table = results_table(*compared(records))
    assert table.notes[1:] == ("[1] GRU4Rec keeps its own loss.", "[2] X is trained with the loss CE.")


def test_star_only_where_the_best_baseline_is_beaten():
    far = made_field(["SASRec", "CoCorrRec"], users=800)
    table = results_table(*compared(far))
    assert all(cell.star for cell in table.rows[1][1:8])
    assert not any(cell.star for cell in table.rows[0])
    same = [made_run(label, seed=s, users=800, strength=1.4) for label in ("SASRec", "CoCorrRec") for s in (1, 2)]
    assert not any(cell.star for cells in results_table(*compared(same)).rows for cell in cells)
    # below the best baseline though above another one
    between = made_field(["Pop", "SASRec"], users=800) + [
        made_run(seed=s, users=800, strength=0.9) for s in (2020, 2021, 2022)
    ]
    group, result = compared(between)
    assert result.against("Pop", "gauc").verdict == "better"
    assert result.against("SASRec", "gauc").verdict == "worse"
    assert not any(cell.star for cells in results_table(group, result).rows for cell in cells)
    assert "worse on 7" in verdicts(group, result)[0]


def test_w_o_gcn_is_compared_but_no_baseline():
    group, result = compared(made_field(["GRU4Rec", "CoCorrRec (w/o GCN)", "CoCorrRec"], users=200))
    assert result.against("CoCorrRec (w/o GCN)", "gauc") is not None
    assert best_baselines(group, "gauc") == ["GRU4Rec"]


def test_comparisons_by_the_long_way():
    records = made_field(["GRU4Rec", "SASRec", "CoCorrRec"], users=150)
    group, result = compared(records)
    assert len(result.rows) == 14
    for c in result.rows:
        metric, _, k = c.metric.partition("@")
        d = 0
        for seed in (2020, 2021, 2022):
            mine, theirs = (
                per_row(group.runs[label][seed].ranks.table(), [metric], [int(k or 5)])[c.metric]
                for label in ("CoCorrRec", c.baseline)
            )
            d = d + (mine - theirs) / 3
        assert c.difference == pytest.approx(np.mean(d))
    assert [c.adjusted for c in result.rows] == holm([c.p for c in result.rows])
    table = significance_table(group, result)
    assert len(table.rows) == 14
    assert "150 users" in table.notes[0] and "2020, 2021, 2022" in table.notes[0] and "14 comparisons" in table.notes[0]
    assert sum("(best)" in cells[0] for cells in texts(table)) == 7


def test_what_cannot_be_compared_is_said():
    records = [made_run(seed=1, users=50), made_run("DIN", seed=1, users=49), made_run("SASRec", seed=2, users=50)]
    records += [made_run("GRU4Rec", seed=1, users=50, with_ranks=False), made_run("Mamba4Rec", seed=1, users=50)]
    group, result = compared(records)
    assert {c.baseline for c in result.rows} == {"Mamba4Rec"}
    assert len(result.problems) == 3
    text = " / ".join(result.problems)
    assert "1 user was tested by only one of them" in text
    assert "CoCorrRec and SASRec share no seed" in text and "GRU4Rec kept no ranks" in text
    _, none = compared([made_run("DIN", users=20)])
    assert none.rows == [] and "CoCorrRec has no tested run" in none.problems[0]
    assert significance_table(group, none).rows == ()


@pytest.mark.parametrize(
    ("p", "text"), [(0.0312, ".0312"), (0.00009, "< .0001"), (1.0, "1"), (0.99999, "1"), (0.0001, ".0001")]
)
def test_p_values(p, text):
    assert p_value(p) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (999.7, "1.00 k"), (1234, "1.23 k"), (45_600, "45.6 k"), (1e9, "1.00 G"), (None, MISSING)],
)
def test_decimal_prefixes(value, text):
    assert si(value) == text


def test_units_of_costs():
    assert cost_value("parameters", 812_345) == "812,345"
    assert cost_value("latency_us", 1234.5) == "1.23 ms"
    assert cost_value("latency_us", 45.67) == "45.7 µs"
    assert cost_value("peak_bytes", 2560) == "2.56 kB"


def test_cost_tables(tmp_path):
    write_cost(tmp_path, ["CoCorrRec", "SASRec"])
    rows = Cost.load_from(tmp_path).rows
    table = cost_table(rows, 10)
    assert [cells[0] for cells in texts(table)] == ["SASRec", "CoCorrRec"]
    without = [{**row, "device_parameters": None} if row["model"] == "SASRec" else row for row in rows]
    assert texts(cost_table(without, 10))[0][table.header.index("on the device")] == MISSING
    assert len(length_table(rows, "flops").header) == 10
    assert cheapest(rows)[2] == "Fewest FLOPs per new click: CoCorrRec at L = 10, 15, 20, 25, 50, 100, 200, 500, 1000."


def test_sweep_table(tmp_path):
    write_sweep(tmp_path, sizes=(1, 40))
    sweep = sweep_groups(made_sweep((1, 20), users=30))["amazon-beauty", "paper"]
    table = sweep_table(sweep, SweepTimes.load_from(tmp_path).rows, "beauty")
    assert [cells[0] for cells in texts(table)] == ["1", "20", "40"]
    assert texts(table)[1][-2:] == [MISSING, MISSING]
    assert texts(table)[2][1] == MISSING


def test_ablation_table(tmp_path):
    write_ablation(tmp_path)
    table = ablation_table(Ablation.load_from(tmp_path), "amazon-beauty")
    assert [cells[1] for cells in texts(table)] == [
        "the user's own",
        "without the cloud",
        "own, 1 click old",
        "own, 2 clicks old",
        "own, 5 clicks old",
        "another user's",
    ]
    assert texts(table)[0][3] == ".3010 (.0010)"
    assert "91.0% of the correction of the attention and 87.4%" in table.notes[0]
    assert ablation_table(Ablation(), "x").rows == ()


def test_order_of_variants():
    assert variant_order(["stale 10", "zero", "another user's", "stale 2", "none", "own"]) == [
        "own",
        "none",
        "stale 2",
        "stale 10",
        "another user's",
        "zero",
    ]


def test_correctors_table(tmp_path):
    """The same rows as the ablation's, without those of the validation items."""
    write_ablation(tmp_path)
    ablation = Ablation.load_from(tmp_path)
    rows = ablation.rows
    of_valid = [{**rows[0], "variant": "valid own"}]
    write_json(tmp_path / "correctors.json", "recbole_cocorr.correctors", rows=rows + of_valid)
    result = correctors_table(Corrections.load_from(tmp_path), "amazon-beauty")
    assert result.rows == ablation_table(ablation, "amazon-beauty").rows and len(result.rows) > 1
    assert result.name == "correctors-amazon-beauty"


def test_a_correction_that_no_title_is_known_of_keeps_its_name():
    assert [variant_title(v) for v in ("stale 10", "stale", "the cloud alone")] == [
        "own, 10 clicks old",
        "stale",
        "the cloud alone",
    ]


def test_verdicts_count_the_metrics():
    group, result = compared(made_field(["GRU4Rec", "SASRec", "CoCorrRec"], users=800))
    (table,) = verdict_tables(group, result)
    rows = {cells[0]: cells for cells in texts(table)}
    assert set(rows) == {"GRU4Rec (best baseline)", "SASRec"}
    for label in ("GRU4Rec", "SASRec"):
        every = [c for c in result.rows if c.baseline == label]
        main = result.against(label, "ndcg@10")
        cells = rows[label if label in rows else f"{label} (best baseline)"]
        better = sum(c.verdict == "better" for c in every)
        assert f"better on {better}" in cells[1] and cells[1].endswith("of 7 metrics")
        assert float(cells[2].replace("+", "0")) == pytest.approx(main.difference, abs=5e-5)
        assert cells[4] == p_value(main.adjusted)
    assert verdict_tables(*compared([made_run("DIN", users=20)])) == []


def test_verdicts_in_words():
    _, result = compared(made_field(["GRU4Rec", "CoCorrRec"], users=40))
    one, two, three = (
        dataclasses.replace(result.rows[0], difference=d, adjusted=p) for d, p in ((1, 0), (-1, 0), (1, 1))
    )
    assert in_words([one, one]) == "better on 2 of 2 metrics"
    assert in_words([three, two, one], "X") == "better than X on 1, worse on 1, no difference on 1 of 3 metrics"
    assert in_words([three], "X") == "no difference from X on 1 of 1 metric"


def test_a_noisy_time_is_marked_and_a_quiet_one_has_its_spread(tmp_path):
    write_cost(tmp_path, ["CoCorrRec", "SASRec"])
    rows = Cost.load_from(tmp_path).rows
    for row, quartiles in zip((r for r in rows if r["L"] == 10), ([195, 215], [195, 295]), strict=True):
        row |= {"latency_us": 200.0, "latency_us_quartiles": quartiles}
    table = cost_table(rows, 10)
    at = table.header.index("Latency, one inference")
    assert [(cells[at].text, cells[at].mark) for cells in table.rows] == [("200 µs ±25%", "~"), ("200 µs ±5%", "")]
    assert any(note.startswith("~ timed while the machine was busy") for note in table.notes)
    old = [{key: value for key, value in row.items() if not key.endswith("quartiles")} for row in rows]
    assert "this file does not say how far the runs lie apart" in " ".join(cost_table(old, 10).notes)
    assert not any(cell.mark for cells in cost_table(old, 10).rows for cell in cells)


def test_every_column_of_the_costs_stands_under_its_group(tmp_path):
    write_cost(tmp_path, ["CoCorrRec"])
    table = cost_table(Cost.load_from(tmp_path).rows, 10)
    assert len(table.headings) == len(table.header) == len(table.rows[0])
    assert max(map(len, table.headings)) < 16, "no heading of many lines"
    under = dict(table.groups)
    assert under["FLOPs of one new click"] == ("all", "on the device")
