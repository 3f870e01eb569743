"""Tables, figures and one page over a results folder.

Write report.html, which needs no other file and no network, figures/ (PNG and SVG) and tables/ (Markdown and LaTeX).
Runs still missing are left out; the page says what is not there and how to get it.
"""

import argparse
import sys
from pathlib import Path

from recbole_cocorr.base.extras import require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("results", metavar="RESULTS", help="the folder that benchmark, cost or sweep wrote into")
    parser.add_argument("--out", metavar="DIR", help="where to write (default: RESULTS/report)")
    parser.add_argument(
        "--reference",
        metavar="LABEL",
        help="the model that is tested against each other one (default: CoCorrRec, or the best of its rows)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("report")
    from recbole_cocorr.report.report import build, write

    report = build(arguments.results, arguments.reference)
    out = Path(arguments.out) if arguments.out else Path(arguments.results) / "report"
    files = write(report, out)
    for problem in report.problems:
        print(f"note: {problem}", file=sys.stderr)
    print(f"written: {files[0]} ({len(report.pictures)} figures, {len(report.tables)} tables beside it)")
    return 0
