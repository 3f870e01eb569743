"""A table as such, and how it is written in Markdown and LaTeX (the page's template writes it in HTML)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recbole_cocorr.experiments.results.formats import MISSING, decimal


@dataclass(frozen=True)
class Cell:
    """A cell's text and how it stands out; ``mark`` is raised behind it, as the star is."""

    text: str
    bold: bool = False
    underlined: bool = False
    star: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    name : str
        The name of its files, without ending.
    caption : str
    header : tuple of str
    rows : tuple of tuple of Cell
        Each as long as the header.
    notes : tuple of str
        Sentences under the table.
    text_columns : int
        How many columns at the left hold words; the others hold numbers.
    groups : tuple of (str, tuple of str)
        Where the header has two rows on a page: titles, empty or over several columns, and the headings under each;
        all headings together stand for ``header``, which is each column's name in full.
    """

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    text_columns: int = 1
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def head(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The groups; every column by itself, where there are none."""
        return self.groups or tuple(("", (heading,)) for heading in self.header)

    @property
    def headings(self) -> tuple[str, ...]:
        """What stands directly over each column."""
        return tuple(heading for _, headings in self.head for heading in headings)


def row(*cells: str | Cell) -> tuple[Cell, ...]:
    """A row; a string stands for a plain cell."""
    return tuple(Cell(cell) if isinstance(cell, str) else cell for cell in cells)


def mean_and_deviation(values: Sequence[float], places: int = 4) -> str:
    """``.2866 (.0012)``: mean and sample standard deviation; without the latter where there is one value."""
    if not values:
        return MISSING
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return decimal(mean, places)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return f"{decimal(mean, places)} ({decimal(deviation, places)})"


def places(values: Sequence[float | None], digits: int = 4) -> list[int | None]:
    """Which value is best (1) and which second (2), the highest being best.

    Values that read alike at ``digits`` decimal places share their rank: all that read like the best are 1, and all
    that read like the next lower one are 2.
    """
    shown = [None if v is None or not math.isfinite(v) else round(v, digits) for v in values]
    distinct = sorted({v for v in shown if v is not None}, reverse=True)[:2]
    return [distinct.index(v) + 1 if v in distinct else None for v in shown]


_MARKDOWN = {c: "\\" + c for c in "\\`*_[]|~#<>"} | {"\n": " ", "\r": " ", "\t": " "}
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after \\ a bracket would be its argument
    "]": "{]}",
    "\u00a0": "~",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "µ": r"$\mu$",
    "\n": " ",
    "\r": " ",
    "\t": " ",
} | {c: "\\" + c for c in "&%$#_{}"}


_LATEX_MARKS = {"†": r"\dagger", "‡": r"\ddagger", "−": "-", "~": r"\sim"}


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(_MARKDOWN.get(c, c) for c in text)


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_LATEX.get(c, c) for c in text)


def markdown(table: Table) -> str:
    """The table in Markdown, its caption in bold above and its notes below."""

    def cell(c: Cell) -> str:
        text = escape_markdown(c.text)
        if c.bold:
            text = f"**{text}**"
        if c.underlined:
            text = f"<ins>{text}</ins>"
        return text + (r"\*" if c.star else "") + escape_markdown(c.mark)

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rules = ["---" if i < table.text_columns else "---:" for i in range(len(table.header))]
    lines = [
        f"**{escape_markdown(table.caption)}**",
        "",
        line([escape_markdown(h) for h in table.header]),
        line(rules),
        *(line([cell(c) for c in r]) for r in table.rows),
    ]
    for note in table.notes:
        lines += ["", escape_markdown(note)]
    return "\n".join(lines) + "\n"


def _latex_groups(table: Table) -> list[str]:
    """The upper row of a header of two rows, and the lines under its titles."""
    if not table.groups:
        return []
    cells, rules, at = [], [], 1
    for title, headings in table.groups:
        count = len(headings)
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{escape_latex(title)}}}" if title else " & ".join([""] * count))
        rules += [rf"\cmidrule(lr){{{at}-{at + count - 1}}}"] if title else []
        at += count
    return [" & ".join(cells) + r" \\", "".join(rules)]


LONGEST_FLOAT = 40  # rows; a longer table is broken over pages
WIDEST = 5  # columns; a wider table is scaled to the line


def latex(table: Table) -> str:
    """The table in LaTeX, to be read with ``\\input``; its first line names the packages it needs.

    A table of many columns is scaled to the line's width, one of many rows is a ``longtable``.
    """

    def cell(c: Cell) -> str:
        text = escape_latex(c.text)
        if c.bold:
            text = rf"\textbf{{{text}}}"
        if c.underlined:
            text = rf"\underline{{{text}}}"
        raised = "*" * c.star + "".join(_LATEX_MARKS.get(m, escape_latex(m)) for m in c.mark)
        return text + (rf"\rlap{{$^{{{raised}}}$}}" if raised else "")

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    columns = "l" * table.text_columns + "r" * (len(table.header) - table.text_columns)
    title = rf"\caption{{{escape_latex(table.caption)}}}\label{{tab:{table.name}}}"
    head = [r"\toprule", *_latex_groups(table), line([escape_latex(h) for h in table.headings]), r"\midrule"]
    rows = [line([cell(c) for c in r]) for r in table.rows]
    notes = [rf"\par\smallskip{{\footnotesize {escape_latex(note)}\par}}" for note in table.notes]
    if len(rows) > LONGEST_FLOAT:
        lines = [
            r"% Needs \usepackage{booktabs,longtable}.",
            r"{\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{{columns}}}",
            title + r"\\",
            *head,
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *rows,
            r"\end{longtable}}",
            *notes,
        ]
    else:
        body = [rf"\begin{{tabular}}{{{columns}}}", *head, *rows, r"\bottomrule", r"\end{tabular}"]
        if len(table.header) > WIDEST:
            body = [r"\resizebox{\linewidth}{!}{%", *body[:-1], body[-1] + "}"]
        lines = [
            r"% Needs \usepackage{booktabs,graphicx}.",
            r"\begin{table}",
            r"\centering\small",
            title,
            *body,
            *notes,
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"
