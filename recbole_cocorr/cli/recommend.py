"""Recommend items to the users of a CSV file.

The file has a row for each click: user, item and perhaps a time, with a header. Users whose items the model does not
know get what everybody clicked most, and the column `source` says so.
"""

import argparse
import sys
from pathlib import Path

from recbole_cocorr.base.arguments import count, output_file
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("latest"),
        metavar="FILE",
        help="a .safetensors file that training wrote (default: latest, the newest in saved/)",
    )
    parser.add_argument("--input", required=True, type=Path, metavar="FILE", help="the users' clicks, gzipped or not")
    parser.add_argument("--out", required=True, type=output_file, metavar="FILE", help="the CSV file to write")
    parser.add_argument("--k", type=count, default=10, help="items for each user (default: 10)")
    parser.add_argument("--exclude_history", action="store_true", help="leave out what a user has had")
    parser.add_argument(
        "--columns",
        metavar="user=NAME,...",
        help="user=NAME,item=NAME,time=NAME with the names of the header, or numbers from 1 for a file without one; "
        "the time may be left out (default: user or user_id, item or item_id, timestamp or time)",
    )
    parser.add_argument(
        "--time_unit", choices=("s", "ms", "us", "ns"), help="of the times (default: seen from the first)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.training.recommend import load_model
    from recbole_cocorr.training.recommend_file import recommend_file

    a = arguments
    if Path(a.out).exists() and Path(a.input).exists() and Path(a.out).samefile(a.input):
        raise UserError(f"--out names the input, {a.input}; name another file, so that the clicks stay")
    recommender = load_model(a.checkpoint)
    written = recommend_file(recommender, a.input, a.out, a.k, a.exclude_history, a.columns, a.time_unit)
    # On stderr: --out may be /dev/stdout.
    print(f"{a.out}: {written.rows:,} rows for {written.users:,} users, by {a.checkpoint}", file=sys.stderr)
    if written.popular:
        print(f"{written.popular:,} users got what is popular: the model knows none of their items", file=sys.stderr)
    return 0
