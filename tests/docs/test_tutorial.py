"""The tutorial of the documentation runs as it stands, and what it shows is of a whole run."""

import importlib.util

import nbformat
import pytest

from tests.conftest import CHECKOUT

SPEC = importlib.util.spec_from_file_location("run_tutorial", CHECKOUT / "docs" / "run_tutorial.py")
run_tutorial = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(run_tutorial)


def outputs(book: nbformat.NotebookNode) -> list[list[str]]:
    """Of each cell of code, what kinds of output it has: text, a table, a picture."""
    kinds = []
    for cell in book.cells:
        if cell.cell_type == "code":
            of_cell = [output.get("data", {output.get("name"): None}) for output in cell.outputs]
            kinds.append(sorted({kind for output in of_cell for kind in output} - {"stderr"}))
    return kinds


def test_the_tutorial_runs_and_shows_what_the_page_shows(tmp_path):
    kept = nbformat.read(run_tutorial.PAGE, as_version=4)
    done = run_tutorial.run_notebook(tmp_path)
    assert outputs(done) == outputs(kept)
    assert (tmp_path / "results" / "tutorial" / "report" / "report.html").is_file()
    assert (tmp_path / "user.state").is_file()


def test_the_page_holds_the_output_of_one_whole_run():
    kept = nbformat.read(run_tutorial.PAGE, as_version=4)
    cells = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run `make tutorial`"
    shown = {kind for kinds in outputs(kept) for kind in kinds}
    assert shown >= {"stdout", "text/html", "image/png"}
    text = nbformat.writes(kept)
    assert "Traceback" not in text and "site-packages" not in text
    assert len(text) < 300_000


def test_a_cell_that_fails_is_an_error(tmp_path, monkeypatch):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import recbole_cocorr.nowhere")])
    page = tmp_path / "page.ipynb"
    nbformat.write(book, page)
    monkeypatch.setattr(run_tutorial, "PAGE", page)
    with pytest.raises(Exception, match="No module named"):
        run_tutorial.run_notebook(tmp_path)
