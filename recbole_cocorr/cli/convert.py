"""Make RecBole's atomic files from the raw public files.

Make OUT/NAME/NAME.inter from a raw public file, gzipped or not. Rows keep their order.
"""

import argparse
import shlex
from typing import Any

from recbole_cocorr.base.extras import require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    from recbole_cocorr.data.convert.filters import DUPLICATES
    from recbole_cocorr.data.convert.formats import FORMATS
    from recbole_cocorr.data.convert.source import ENCODINGS
    from recbole_cocorr.data.convert.times import UNITS

    formats = "\n".join(f"  {format.name:20} {format.source}" for format in FORMATS.values())
    parser.epilog = f"formats:\n{formats}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
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


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.data.convert.pipeline import convert

    report = convert(
        arguments.input,
        arguments.format,
        arguments.dataset,
        arguments.out,
        min_user_inter=arguments.min_user_inter,
        min_item_inter=arguments.min_item_inter,
        duplicates=arguments.duplicates,
        on_error=arguments.on_error,
        encoding=arguments.encoding,
        columns=arguments.columns,
        time_unit=arguments.time_unit,
        overwrite=arguments.overwrite,
    )
    print(summary(report, arguments.dataset, arguments.out))
    return 0


def summary(report: Any, dataset: str, out: str) -> str:
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
    text.append(f"next: python -m recbole_cocorr run {shlex.join(command)}")
    return "\n".join(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)
