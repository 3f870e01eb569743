"""``python -m recbole_cocorr convert``: raw public files to RecBole's atomic files."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.convert.filters import DUPLICATES
from recbole_cocorr.data.convert.formats import FORMATS
from recbole_cocorr.data.convert.pipeline import ENCODINGS, Report, convert
from recbole_cocorr.data.convert.times import UNITS


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command ``convert`` to the subparsers of ``python -m recbole_cocorr``.

    Parameters
    ----------
    subparsers
        What ``ArgumentParser.add_subparsers`` returned.

    Returns
    -------
    argparse.ArgumentParser
        The command's parser; it sets ``func``, to be called with the parsed arguments.
    """
    formats = "\n".join(f"  {format.name:20} {format.source}" for format in FORMATS.values())
    parser = subparsers.add_parser(
        "convert",
        help="make RecBole's atomic files from the raw public files",
        description="Make OUT/NAME/NAME.inter from a raw public file, gzipped or not. Rows keep their order.",
        epilog=f"formats:\n{formats}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--format", required=True, choices=FORMATS, metavar="FORMAT", help="see below")
    parser.add_argument("--input", required=True, metavar="FILE", help="the raw file")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="the name of the result")
    parser.add_argument("--out", default="dataset", metavar="DIR", help="RecBole's data_path (default: dataset)")
    parser.add_argument(
        "--min_user_inter",
        type=_count,
        default=0,
        metavar="N",
        help="drop users with fewer interactions, iterated with --min_item_inter (default: 0, off)",
    )
    parser.add_argument(
        "--min_item_inter", type=_count, default=0, metavar="N", help="the same for items (default: 0, off)"
    )
    parser.add_argument(
        "--duplicates",
        choices=DUPLICATES,
        default="keep",
        help="rows with equal user and item: keep (default), drop those with equal timestamp too (exact), "
        "leave the earliest (first), or the latest (last)",
    )
    parser.add_argument(
        "--on_error",
        choices=("fail", "skip"),
        default="fail",
        help="at a bad row: stop (default), or count it",
    )
    parser.add_argument("--encoding", choices=ENCODINGS, help="of the raw file (default: utf-8)")
    parser.add_argument(
        "--columns",
        metavar="user=NAME,...",
        help="of the format csv: user=NAME,item=NAME,time=NAME and perhaps rating=NAME, with the names of the header; "
        "numbers from 1 for a file without one",
    )
    parser.add_argument(
        "--time_unit", choices=UNITS, help="of the format csv: unit of the times (default: seen from the first one)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result")
    parser.set_defaults(func=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Convert as the arguments say and print what was done.

    Returns
    -------
    int
        0.

    Raises
    ------
    UserError
        If anything is wrong that the user can mend.
    """
    report = convert(
        args.input,
        args.format,
        args.dataset,
        args.out,
        min_user_inter=args.min_user_inter,
        min_item_inter=args.min_item_inter,
        duplicates=args.duplicates,
        on_error=args.on_error,
        encoding=args.encoding,
        columns=args.columns,
        time_unit=args.time_unit,
        overwrite=args.overwrite,
    )
    print(summary(report, args.dataset, args.out))
    return 0


def summary(report: Report, dataset: str, out: str) -> str:
    """The text printed after a conversion: counts, paths and the next command."""
    counts = {
        "rows read": report.read,
        "rows written": report.written,
        "rows skipped": report.skipped,
        "duplicates dropped": report.duplicates,
        "dropped by min_*_inter": report.filtered,
        "users": report.users,
        "items": report.items,
    }
    text = [f"{name + ':':24}{count:,}" for name, count in counts.items()]
    if report.first_skipped:
        text.append(f"first row skipped:      {report.first_skipped}")
    text.append(f"written:                {report.path}")
    text += [f"written:                {side}" for side in report.side]
    text += [f"note: {note}" for note in report.notes]
    command = ["--model=CoCorrRec", f"--dataset={dataset}", f"--data_path={out}"]
    text.append(f"next: python run_recbole_cocorr.py {shlex.join(command)}")
    return "\n".join(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``convert`` alone; returns the exit status: 0, or 2 after an error that the user can mend."""
    parser = argparse.ArgumentParser(prog="recbole_cocorr")
    add_parser(parser.add_subparsers(required=True, metavar="COMMAND"))
    args = parser.parse_args(["convert", *(sys.argv[1:] if argv is None else argv)])
    try:
        return args.func(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
