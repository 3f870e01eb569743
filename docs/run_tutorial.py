"""Run docs/tutorial.ipynb in an empty folder and keep its output: ``make tutorial``."""

import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat
from nbformat import NotebookNode

from recbole_cocorr.base.files import atomic_write

PAGE = Path(__file__).resolve().parent / "tutorial.ipynb"


def run_notebook(folder: Path) -> NotebookNode:
    """The tutorial, executed by this interpreter.

    Parameters
    ----------
    folder : pathlib.Path
        Where the kernel works and its files go.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    book = nbformat.read(PAGE, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(book, timeout=900, resources=where, record_timing=False, coalesce_streams=True).execute()
    return book


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        book = run_notebook(Path(folder))
    with atomic_write(PAGE, what="tutorial") as file:
        file.write(nbformat.writes(book) + "\n")
    print(f"{PAGE}: {sum(cell.cell_type == 'code' for cell in book.cells)} cells", file=sys.stderr)
