"""Measure what is left of the cloud's gain when only a share of the rankings asks the cloud.

For the test users of a checkpoint and several shares: NDCG@10 and HR@10 if the rankings ask of which most is expected
(the rule that fit-corrector learned), a random choice of as many, and every so many clicks. With a corrector they ask
for its scores; a CoCorrRec with its correction network also for corrections.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.arguments import output_file, share
from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import add_data_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="with --corrector of any model")
    parser.add_argument("--corrector", type=Path, metavar="DIR", help="of fit-corrector, for the checkpoint")
    add_data_path(parser, " of the checkpoint")
    parser.add_argument(
        "--shares", nargs="+", type=share, default=[0, 0.1, 0.25, 0.5, 0.75, 1], metavar="S", help="from 0 to 1"
    )
    parser.add_argument(
        "--out", type=output_file, metavar="FILE", help="write the result as JSON (in a results folder: requests.json)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.experiments.requests import measure

    a = arguments
    requests = measure(a.checkpoint, a.corrector, a.data_path, a.shares)
    print(requests.text())
    if a.out:
        requests.save(a.out)
    return 0
