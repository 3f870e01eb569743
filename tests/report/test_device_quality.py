"""The quality on the device: its file, and its table in a report."""

import copy

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.results.device_quality import SERVICE, DeviceQuality
from recbole_cocorr.report.device_quality import device_quality_table
from recbole_cocorr.report.report import build, page
from tests.made_results import device_quality


def test_both_phases_stand_side_by_side():
    table = device_quality_table(device_quality())
    head = (
        "Adds; Reads; Clicks; Targets, valid; Targets, test; NDCG@10, valid; HR@10, valid; NDCG@10, test; HR@10, test; "
    )
    assert "; ".join(table.header) == head + "Bytes of the table; Longest row"
    texts = [[cell.text for cell in row] for row in table.rows]
    assert len(texts) == 9
    assert texts[0] == [
        "nothing",
        "window",
        "any number",
        "1,234",
        "1,234",
        ".3000",
        ".5000",
        ".2000",
        ".4000",
        "–",
        "–",
    ]
    assert texts[5][:5] == ["20 neighbours", "carry", "7 and more", "56", "56"] and texts[5][-2:] == ["822,880", "89"]
    assert texts[8][0] == SERVICE
    gap = device_quality()
    del gap.rows[-1]
    assert [cell.text for cell in device_quality_table(gap).rows[-1]][3:9] == ["56", "–", ".3200", ".5200", "–", "–"]
    one_phase = device_quality()
    one_phase.rows = [row for row in one_phase.rows if row["phase"] == "test"]
    assert "NDCG@10, valid" not in device_quality_table(one_phase).header


def test_a_report_has_it_without_any_run(tmp_path):
    device_quality().save(tmp_path / DeviceQuality.FILE)
    assert "822,880" in page(build(tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["rows"].clear(), "rows is .*; it must be at least one list"),
        (lambda c: c["rows"][1].update(phase="train"), r"rows\[1\]\.phase is 'train'"),
        (lambda c: c["rows"][2]["metrics"].pop("hit@10"), r"rows\[2\]\.metrics\.hit@10"),
        (
            lambda c: c["rows"][2]["metrics"].update(gauc=0.5),
            r"rows\[2\]\.metrics is .*; it must be the same metrics as",
        ),
        (lambda c: c["tables"][0].update(bytes="many"), r"tables\[0\]\.bytes"),
        (lambda c: c["result"].__setattr__("seed", None), r"seed is None|seed is missing"),
        (lambda c: c["machine"].pop("processor"), r"machine\.processor is missing"),
        (lambda c: c["machine"].update(cores="two"), r"machine\.cores is 'two'"),
        (lambda c: c["tables"][0]["click"].update(native=3), r"tables\[0\]\.click\.native"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, change, said):
    result = device_quality()
    result.save(tmp_path / "quality.json")
    assert DeviceQuality.load(tmp_path / "quality.json") == result
    damaged = copy.deepcopy(result)
    change({"rows": damaged.rows, "tables": damaged.tables, "machine": damaged.machine, "result": damaged})
    damaged.save(tmp_path / "quality.json")
    with pytest.raises(UserError, match=said):
        DeviceQuality.load(tmp_path / "quality.json")
