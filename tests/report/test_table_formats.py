"""A table's Markdown and LaTeX: escapes, marks, ranking of values."""

import re
import shutil
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_cocorr.report.table_formats import (
    LONGEST_FLOAT,
    MISSING,
    Cell,
    Table,
    decimal,
    escape_latex,
    latex,
    markdown,
    mean_and_deviation,
    places,
    row,
)

SPECIAL = "\\`*_[]|~#<>&%$^{}\"'–−±×≥≤µ\n\u00a0"


ROWS = (("CoCorrRec", Cell(".2", bold=True, star=True)), ("a_b & <i>|50%", Cell(".1", underlined=True)))


def made(rows=ROWS):
    return Table("t", "A #1 caption", ("Model", "N@5"), tuple(row(*r) for r in rows), notes=("p < .05",))


@given(st.lists(st.one_of(st.none(), st.floats(0, 1), st.sampled_from([0.1, 0.10004, 0.10006, 0.2])), max_size=12))
def test_places_follow_the_printed_digits(values):
    result = places(values)
    printed = [None if v is None else f"{v:.4f}" for v in values]
    shown = sorted({p for p in printed if p is not None}, key=float, reverse=True)
    for text, place in zip(printed, result, strict=True):
        # the naive way: best is what no other text exceeds, second what only the best exceeds
        above = [s for s in shown if text is not None and float(s) > float(text)]
        assert place == (None if text is None or len(above) > 1 else len(above) + 1)


def test_ties_share_their_place():
    assert places([0.30001, 0.3, 0.2, 0.20004, 0.1]) == [1, 1, 2, 2, None]
    assert places([float("nan"), None, 0.5]) == [None, None, 1]
    assert places([]) == []


def test_numbers_as_text():
    assert decimal(0.28661) == ".2866"
    assert decimal(-0.01, sign=True) == "−.0100"
    assert decimal(0.01, sign=True) == "+.0100"
    assert decimal(-0.00001, sign=True) == "+.0000"
    assert decimal(1.0) == "1.0000"
    assert decimal(None) == decimal(float("nan")) == MISSING
    assert mean_and_deviation([0.1]) == ".1000"
    assert mean_and_deviation([0.1, 0.2, 0.3]) == ".2000 (.1000)"
    assert mean_and_deviation([]) == MISSING


@given(st.text(alphabet=string.ascii_letters + SPECIAL, max_size=40))
def test_markdown_keeps_a_cell_in_its_column(text):
    line = markdown(made(((text, "1"),))).splitlines()[4]
    cells = re.split(r"(?<!\\)(?:\\\\)*\|", line)
    assert len(cells) == 4
    # what is left without the escapes is the text
    unescaped = re.sub(r"\\([\\`*_\[\]|~#<>])", r"\1", line)[2:-6]
    assert unescaped == re.sub(r"[\n\r\t]", " ", text)


@given(st.text(alphabet=string.ascii_letters + SPECIAL, max_size=40))
def test_latex_leaves_no_active_character(text):
    escaped = escape_latex(text)
    rest = re.sub(r"\\text[a-z]+\{\}|\$\\?[a-z-]+\$|\{\[\}|\{\]\}|\\[&%$#_{}]", "", escaped)
    # "~" stands for a space that does not break
    assert not re.search(r"[\\&%$#_{}^\n]", rest)


def test_marks():
    assert "| CoCorrRec | **.2**\\* |" in markdown(made())
    assert "<ins>.1</ins>" in markdown(made())
    text = latex(made())
    assert r"\textbf{.2}\rlap{$^{*}$}" in text
    assert r"a\_b \& \textless{}i\textgreater{}\textbar{}50\% & \underline{.1}" in text


def test_long_tables_break_and_wide_ones_are_scaled():
    long = latex(made([(str(i), "1") for i in range(LONGEST_FLOAT + 1)]))
    assert r"\begin{longtable}" in long and r"\begin{table}" not in long
    header = tuple("abcdefgh")
    wide = latex(Table("w", "c", header, (row(*header),)))
    assert r"\resizebox{\linewidth}" in wide and r"\resizebox" not in latex(made())


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path: Path):
    rows = [(SPECIAL * 2, Cell("[x] −1", bold=True, underlined=True, star=True))]
    header = tuple("abcdefgh")
    tables = [made(rows), made(rows * 50), Table("w", SPECIAL, header, (row("[a]", *header[1:]), row(*header)))]
    body = "\n".join(latex(table) for table in tables)
    source = (
        r"\documentclass{article}\usepackage{booktabs,graphicx,longtable}\begin{document}" + body + r"\end{document}"
    )
    (tmp_path / "t.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:].decode(errors="replace")


def test_groups_of_columns_stand_over_them_in_latex_and_markdown_names_each_in_full():
    table = Table(
        "t",
        "c",
        ("Model", "HR, out", "HR, in"),
        (row("a", "1", "2"),),
        groups=(("", ("Model",)), ("HR %", ("out", "in"))),
    )
    assert table.headings == ("Model", "out", "in")
    text = latex(table)
    assert (
        r" & \multicolumn{2}{c}{HR \%} \\" in text and r"\cmidrule(lr){2-3}" in text and r"Model & out & in \\" in text
    )
    assert "| Model | HR, out | HR, in |" in markdown(table)
    assert made().headings == made().header and "multicolumn" not in latex(made())


def test_the_mark_of_a_noisy_time_in_every_format():
    table = Table("t", "c", ("Model", "us"), (row("a", Cell("1", mark="~")),))
    assert r"1\~" in markdown(table) and r"$^{\sim}$" in latex(table)
