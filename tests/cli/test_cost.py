"""The command: tables a person can read, targets told as they are, and errors in one sentence."""

import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.experiments.results.cost import NUMBERS, Cost
from recbole_cocorr.experiments.results.cost_targets import check_targets
from tests.conftest import CHECKOUT
from tests.experiments.cost.test_cost_file import cost, row

SMALL = ["cost", "--lengths", "3", "6", "--items", "40", "--candidates", "5", "--repeats", "1"]


def test_tables_on_the_terminal_and_rows_in_the_file(capsys, tmp_path):
    out = tmp_path / "cost.json"
    models = ["--models", "GRU4Rec", "CoCorrRec (w/o GCN)", "cocorrrec"]
    assert main([*SMALL, *models, "--mini_batch_size", "4", "--out", str(out)]) == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    result = Cost.load(out)
    labels = ["GRU4Rec", "CoCorrRec (w/o GCN)", "CoCorrRec"]
    assert [(r["model"], r["L"]) for r in result.rows] == [(m, n) for n in (3, 6) for m in labels]
    assert [r["K"] for r in result.rows] == [None, 3, 3, None, 4, 4]
    assert result.settings == {"items": 40, "candidates": 5, "mini_batch_size": 4, "threads": 1, "repeats": 1}
    assert result.machine["threads"] == 1 and "torch" in result.versions
    assert all(r["runs"] == 1 for r in result.rows)
    for title in ("Parameters", "One inference", "One new click", "Targets"):
        assert title in printed
    assert printed.count("CoCorrRec (w/o GCN)") >= 3 * 2
    assert f"{result.rows[0]['parameters']:,}" in printed


def test_markdown(capsys):
    assert main([*SMALL, "--models", "GRU4Rec", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == 3 * (2 + 2)  # a head, a rule and two rows each
    assert "### Parameters" in lines and not any("Targets" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "Nonsense"], "there is no model 'Nonsense'"),
        (["--models", "DIN", "DIN"], "given twice"),
        (["--candidates", "41"], "more than the 40 items"),
        (["--lengths", "5", "5"], "names a length twice"),
        (["--models", "FDSA"], "FDSA cannot be built"),
        (
            ["--models", "DIEN"],
            "DIEN cannot be measured on a history and candidates alone: it asks for 'neg_item_id_list'",
        ),
    ],
)
def test_bad_input_is_one_sentence(capsys, arguments, message):
    assert main([*SMALL, *arguments]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: ") and message in errors[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "nowhere/cost.json"], "there is no folder"),
        (["--out", "."], "is a folder"),
        (["--lengths", "0"], "argument --lengths: '0' is not a whole number"),
        (["--repeats", "x"], "argument --repeats: 'x' is not a whole number"),
        (["--threads", "1.5"], "argument --threads: '1.5' is not a whole number"),
    ],
)
def test_bad_flags_are_refused_before_the_work(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main([*SMALL, *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_full_disk_loses_the_file_alone(capsys, monkeypatch, tmp_path):
    def full(cost, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Cost, "save", full)
    assert main([*SMALL, "--models", "GRU4Rec", "--out", str(tmp_path / "cost.json")]) == 2
    printed, errors = capsys.readouterr()
    assert "One new click" in printed
    assert errors == f"error: {tmp_path / 'cost.json'}: No space left on device\n"


def test_docs_name_every_key_and_flag():
    text = (CHECKOUT / "docs" / "cost.md").read_text(encoding="utf-8")
    for key in (*NUMBERS, "model", "K", "reads_history_again"):
        assert f"`{key}`" in text, key
    for flag in ("models", "lengths", "items", "candidates", "mini_batch_size", "threads", "repeats", "markdown"):
        assert f"`--{flag}`" in text, flag


# -- targets -----------------------------------------------------------------------------------------


def ours(length, **changed):
    return row("CoCorrRec", length, K=5, **{"cloud_flops": 0, "device_parameters": 10, **changed})


def test_targets_hold_only_where_every_baseline_costs_more_at_every_length():
    rows = [row("GRU4Rec", 10, flops=100), row("GRU4Rec", 20, flops=200), row("SASRec", 20, flops=150)]
    rows += [ours(10, device_flops=99), ours(20, device_flops=140)]
    first = check_targets(rows)[1]
    assert first.holds and "GRU4Rec at L = 10, 99 against 100" in first.why
    rows[-1]["device_flops"] = 160
    first = check_targets(rows)[1]
    assert not first.holds and first.why == "not fewer than SASRec at L = 20"
    rows[-2]["device_flops"] = 100  # a tie is not fewer
    assert "GRU4Rec at L = 10; SASRec at L = 20" in check_targets(rows)[1].why


def test_parameters_on_the_device():
    assert check_targets([ours(10, device_parameters=65_999)])[0].holds
    result = check_targets([ours(10, device_parameters=66_000)])[0]
    assert not result.holds and "66,000" in result.why


def test_work_in_the_cloud_is_told_apart():
    rows = [row("GRU4Rec", 10, flops=100, flops_per_click=50)]
    rows += [ours(10, device_flops=60, cloud_flops=60, flops=120, device_flops_per_click=10, flops_per_click=90)]
    verdicts = {target.claim.partition(": ")[2]: target.holds for target in check_targets(rows)}
    assert [holds for claim, holds in verdicts.items() if "on the device" in claim] == [True] * 3
    assert [holds for claim, holds in verdicts.items() if "together" in claim] == [False] * 2


def test_phi_on_the_spot_is_told_apart():
    rows = [row("GRU4Rec", 10, flops=100)]
    rows += [ours(10, device_flops=60, flops_score=10, flops_score_without_table=60)]
    result = check_targets(rows)[-1]
    assert "without a table" in result.claim and not result.holds
    rows[-1]["flops_score_without_table"] = 40
    assert check_targets(rows)[-1].holds


def test_no_target_without_cocorrrec_and_no_comparison_without_others():
    assert check_targets([row("GRU4Rec", 10)]) == []
    assert len(check_targets([ours(10)])) == 1


def test_targets_are_printed_as_they_stand():
    printed = cost().text()
    assert "does NOT hold: CoCorrRec: fewer FLOPs of one inference on the device" in printed
