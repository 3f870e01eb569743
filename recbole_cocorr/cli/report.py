"""``python -m recbole_cocorr report RESULTS``: tables, figures and a page over a results folder."""

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command ``report`` to the subparsers of ``python -m recbole_cocorr``.

    Parameters
    ----------
    subparsers
        What ``ArgumentParser.add_subparsers`` returned.

    Returns
    -------
    argparse.ArgumentParser
        The command's parser; it sets ``func``, to be called with the parsed arguments.
    """
    parser = subparsers.add_parser(
        "report",
        help="tables, figures and one page over a results folder",
        description="Write report.html, which needs no other file and no network, figures/ (PNG and SVG) and tables/ "
        "(Markdown and LaTeX). Runs still missing are left out; the page says what is not there and how to get it.",
    )
    parser.add_argument("results", metavar="RESULTS", help="the folder that benchmark, cost or sweep wrote into")
    parser.add_argument("--out", metavar="DIR", help="where to write (default: RESULTS/report)")
    parser.add_argument(
        "--reference",
        default="CoCorrRec",
        metavar="LABEL",
        help="the model that is tested against each other one (default: CoCorrRec)",
    )
    parser.set_defaults(func=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the report and say where it is.

    Raises
    ------
    UserError
        If anything is wrong that the user can mend.
    """
    # Imported late: matplotlib and scipy take a second.
    from recbole_cocorr.report.report import build, write

    report = build(args.results, args.reference)
    out = Path(args.out) if args.out else Path(args.results) / "report"
    files = write(report, out)
    for problem in report.problems:
        print(f"note: {problem}", file=sys.stderr)
    print(f"written: {files[0]} ({len(report.pictures)} figures, {len(report.tables)} tables beside it)")
    return 0
