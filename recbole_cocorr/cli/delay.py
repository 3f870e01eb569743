"""Measure a correction's way over a slow network, and the quality that results (Table 5).

A server, a network shaped by a proxy, and requests one at a time, each a process of its own, over sockets of this
machine. With a checkpoint whose data set is at hand, also NDCG@10 as a function of the share of corrections that
arrive.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.arguments import count, not_negative, output_file, output_picture, positive
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import add_data_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--checkpoint", type=Path, help="a CoCorrRec; a fresh one of the paper's sizes, if left out")
    add_data_path(parser, " of the checkpoint")
    parser.add_argument("--bandwidths", nargs="+", type=positive, default=[5, 15, 50, 100], metavar="MB/S")
    parser.add_argument("--round_trips", nargs="+", type=not_negative, default=[0, 10, 50], metavar="MS")
    parser.add_argument("--lengths", nargs="+", type=count, default=[10, 20, 50, 100, 200, 500, 1000], metavar="L")
    parser.add_argument("--requests", type=count, default=100, help="of each cell (default: 100)")
    parser.add_argument("--out", type=output_file, metavar="FILE", help="write everything as JSON")
    parser.add_argument(
        "--picture", type=output_picture, metavar="FILE", help=".svg or .png; needs a checkpoint with its data"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("cloud")
    require("export")
    if arguments.picture and arguments.checkpoint is None:
        raise UserError("the picture shows quality; name a checkpoint with --checkpoint")
    from recbole_cocorr.experiments.delay import measure

    a = arguments
    delay = measure(a.checkpoint, a.data_path, a.bandwidths, a.round_trips, a.lengths, a.requests)
    print(delay.text())
    if a.out:
        delay.save(a.out)
    if a.picture:
        from recbole_cocorr.report.delay import draw

        draw(delay, a.picture)
    return 0
