"""How the report shows what ``correct`` found."""

import json

import pytest

pytest.importorskip("matplotlib")

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.results.corrections import Corrections
from recbole_cocorr.report.corrector_tables import (
    corrector_verdicts,
    correctors_table,
    field_significance_table,
    variants_significance_table,
)
from recbole_cocorr.report.report import build, page
from recbole_cocorr.report.table_formats import latex, markdown
from tests.made_results import made_run, write_correctors, write_results

LABELS = ("SASRec", "GRU4Rec", "CoCorrRec (w/o GCN)")


def marks(table) -> dict[tuple[str, str], set[str]]:
    return {(cells[0].text, cells[1].text): {cell.mark for cell in cells[2:-1]} for cells in table.rows}


def test_marks_stand_behind_the_figures_that_win(tmp_path):
    write_correctors(tmp_path, LABELS, users=1500)
    table = correctors_table(Corrections.load_from(tmp_path), "amazon-beauty")
    result = marks(table)
    for label in LABELS:
        others = {
            variant: mark for (name, variant), mark in result.items() if name == label and variant != "the user's own"
        }
        assert set(others) >= {"without the cloud", "another user's", "the cloud alone"}
        assert all(mark == {""} for mark in others.values()), "nothing that loses has a mark"
    # The user's own scores are above the model without any; ours is above the baselines with the same scores.
    assert result["SASRec", "the user's own"] == result["GRU4Rec", "the user's own"] == {"*"}
    assert result["CoCorrRec (w/o GCN)", "the user's own"] == {"*†"}
    assert "* the user's own scores above the same model without any" in table.caption
    assert "Holm over 105 comparisons" in table.caption and "Holm over 14" in table.caption
    assert "† with the user's own scores, CoCorrRec (w/o GCN) above each baseline" in table.caption


def test_a_correction_that_hurts_and_a_stronger_baseline_are_marked_too(tmp_path):
    write_correctors(tmp_path, ["SASRec", "CoCorrRec"], users=1500)
    path = tmp_path / "correctors.json"
    content = json.loads(path.read_text())
    for c in content["comparisons"]:
        if c["kind"] == "field" or c["baseline"] == "none":
            c["difference"], c["adjusted"] = -c["difference"], 0.001
    path.write_text(json.dumps(content))
    corrections = Corrections.load_from(tmp_path)
    result = marks(correctors_table(corrections, "amazon-beauty"))
    assert result["SASRec", "without the cloud"] == result["CoCorrRec", "without the cloud"] == {"*"}
    assert result["SASRec", "the user's own"] == {"†"} and result["CoCorrRec", "the user's own"] == {""}
    text = " ".join(corrector_verdicts(corrections, "amazon-beauty"))
    assert (
        "worse than its own list without the cloud on 7 of 7 metrics" in text and "worse than one at least on 7" in text
    )


def test_marks_in_every_format(tmp_path):
    folder = write_results(tmp_path / "r", [made_run(users=40)])
    write_correctors(folder, LABELS, users=1500)
    path = folder / "correctors.json"
    content = json.loads(path.read_text())
    changed = next(c for c in content["comparisons"] if c["baseline"] == "stale 5")
    changed |= {"difference": -0.1, "adjusted": 0.0}
    path.write_text(json.dumps(content))
    table = correctors_table(Corrections.load_from(folder), "amazon-beauty")
    assert r")\*" in markdown(table) and "† " in markdown(table)
    assert r"\rlap{$^{*}$}" in latex(table) and r"\dagger" in latex(table)
    text = page(build(folder))
    assert "<sup>*</sup>" in text and "†</sup>" in text
    for words in ("own item-item scores minus other corrections", "minus each baseline, all with the cloud"):
        assert words in text


def test_significance_tables_hold_every_comparison(tmp_path):
    write_correctors(tmp_path, LABELS)
    corrections = Corrections.load_from(tmp_path)
    variants = variants_significance_table(corrections, "amazon-beauty")
    field = field_significance_table(corrections, "amazon-beauty")
    assert (len(variants.rows), len(field.rows)) == (3 * 5 * 7, 2 * 7)
    assert variants.rows[0][0].text == "GRU4Rec" and variants.rows[0][1].text == "without the cloud"
    assert "over 400 users" in variants.notes[0] and "corrected for 14 comparisons" in field.notes[0]
    assert "CoCorrRec (w/o GCN) against the baselines" in corrector_verdicts(corrections, "amazon-beauty")[-1]
    assert (
        variants_significance_table(corrections, "elsewhere")
        is field_significance_table(corrections, "elsewhere")
        is None
    )


def test_an_old_file_opens_and_says_how_to_have_significance(tmp_path):
    folder = write_results(tmp_path / "r", [made_run(users=40)])
    write_correctors(folder)
    path = folder / "correctors.json"
    content = json.loads(path.read_text())
    for key in ("comparisons", "best_of_ours", "problems"):
        del content[key]
    for row in content["rows"]:
        del row["protocol"]
    path.write_text(json.dumps(content))
    text = page(build(folder))
    assert f"holds no significance; run `python -m recbole_cocorr correct {folder}` again" in text
    assert "Each model with the cloud&#39;s item-item scores, amazon-beauty" in text
    assert main(["report", str(folder)]) == 0


def test_a_full_ranking_has_a_table_of_its_own(tmp_path):
    folder = write_results(tmp_path / "r", [made_run(users=40)])
    write_correctors(folder, ["SASRec", "CoCorrRec"], protocol="full")
    paper = write_correctors(tmp_path, ["SASRec", "CoCorrRec"])
    assert paper
    content, other = (json.loads((f / "correctors.json").read_text()) for f in (folder, tmp_path))
    for key in ("rows", "comparisons", "best_of_ours"):
        content[key] += other[key]
    (folder / "correctors.json").write_text(json.dumps(content))
    report = build(folder)
    names = [t.name for t in report.tables]
    assert len(names) == len(set(names))
    assert {"correctors-amazon-beauty", "correctors-amazon-beauty-full"} <= set(names)
    result = {t.name: t for t in report.tables}
    assert result["correctors-amazon-beauty"].header != result["correctors-amazon-beauty-full"].header  # MRR
    pictures = [p.name for p in report.pictures]
    assert len(pictures) == len(set(pictures))


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda c: c["comparisons"][0].pop("p"), r"comparisons\[0\].p is missing"),
        (
            lambda c: c["comparisons"][0].update(per_seed=["x"]),
            r"per_seed is a list of 1; it must be a list of numbers",
        ),
        (
            lambda c: c["comparisons"][0].update(adjusted=None),
            r"\[0\].adjusted is None; it must be a finite number",
        ),
        (lambda c: c.update(problems="x"), "problems is 'x'; it must be a list of texts"),
        (lambda c: c.update(comparisons={}), "comparisons is an object of 0; it must be a list"),
        (lambda c: c["best_of_ours"][0].pop("label"), r"best_of_ours\[0\].label is missing"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, change, said):
    write_correctors(tmp_path)
    path = tmp_path / "correctors.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        Corrections.load_from(tmp_path)
