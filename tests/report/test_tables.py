"""The contents of the tables, and the comparisons behind their stars."""

import numpy as np
import pytest

from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.evaluation.significance import holm
from recbole_cocorr.experiments.comparisons import best_baselines, compare_with_each, metric_columns
from recbole_cocorr.experiments.results.corrections import Ablation, Corrections
from recbole_cocorr.experiments.results.cost import Cost
from recbole_cocorr.experiments.results.sweep import SweepTimes
from recbole_cocorr.experiments.runs.groups import comparison_groups, sweep_groups
from recbole_cocorr.report.corrector_tables import correctors_table
from recbole_cocorr.report.cost_tables import cheapest, cost_table, cost_value, length_table, si
from recbole_cocorr.report.table_formats import MISSING
from recbole_cocorr.report.tables import (
    ablation_table,
    p_value,
    results_table,
    significance_table,
    sweep_table,
    variant_order,
    verdicts,
)
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
    assert [cells[1] for cells in texts(table)] == ["own", "none", "stale 1", "stale 2", "stale 5", "another user's"]
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
