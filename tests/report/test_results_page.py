"""The tables of docs/results.md and the README are what the committed records say."""

import importlib.util
from pathlib import Path

import pytest

from recbole_cocorr.base.errors import UserError
from tests.made_results import made_run, write_results

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("fill_tables", ROOT / "docs" / "fill_tables.py")
fill_tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fill_tables)


@pytest.mark.parametrize("path", fill_tables.PAGES, ids=lambda path: path.name)
def test_the_page_says_what_the_records_say(path):
    text = fill_tables.page(path)
    assert "<!-- table " in text or path.name == "README.md"
    assert fill_tables.filled(text, fill_tables.RECORDS) == text, "run `make results`"


def test_a_table_is_made_anew_and_the_rest_stays(tmp_path):
    write_results(tmp_path / "one", [made_run("GRU4Rec"), made_run("CoCorrRec")])
    text = "# A\n\n<!-- table table1-amazon-beauty-paper of one -->\nyesterday\n<!-- end of table -->\n\nend\n"
    new = fill_tables.filled(text, tmp_path)
    assert "yesterday" not in new and "| GRU4Rec |" in new
    assert new.startswith("# A\n\n<!-- table ") and new.endswith("<!-- end of table -->\n\nend\n")
    assert fill_tables.filled(new, tmp_path) == new
    with pytest.raises(UserError, match="has no table 'table9'; it has table1-amazon-beauty"):
        fill_tables.filled(text.replace("table1-amazon-beauty-paper", "table9"), tmp_path)


def test_columns_and_rows_are_chosen_by_name(tmp_path):
    write_results(tmp_path / "one", [made_run("GRU4Rec"), made_run("CoCorrRec"), made_run("SASRec")])
    name = "table1-amazon-beauty-paper of one"
    head, rule, *rows = fill_tables.filled(
        f"<!-- table {name} | Model; HR@10; NDCG@10 | SASRec; GRU4Rec -->\n<!-- end of table -->\n", tmp_path
    ).splitlines()[1:-1]
    assert head == "| Model | HR@10 | NDCG@10 |" and rule.startswith("| --- ")
    assert [row.split(" | ")[0] for row in rows] == ["| SASRec", "| GRU4Rec"]
    every = fill_tables.filled(f"<!-- table {name} | Model -->\n<!-- end of table -->\n", tmp_path)
    assert every.count("\n|") == 5  # heading, rule, three models
    numbers = fill_tables.filled(f"<!-- table {name} | HR@10; NDCG@10 -->\n<!-- end of table -->\n", tmp_path)
    assert numbers.splitlines()[2] == "| ---: | ---: |", "a column keeps its side wherever it stands"
    for choice in ("Model; HR@11", "Model | SASRecs"):
        with pytest.raises(UserError, match=r"has no '(HR@11|SASRecs)'; it has "):
            fill_tables.filled(f"<!-- table {name} | {choice} -->\n<!-- end of table -->\n", tmp_path)
