"""Measure which clicks can be read from what a device uploads, and what hiding them costs.

For the test users of a checkpoint: the share of uploaded clicks that somebody who holds the item table recovers, and
NDCG@10, for every way to upload; with a corrector, also what requests for scores tell.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.arguments import count, output_file, positive, probability
from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import add_data_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="a CoCorrRec with its correction network; with --corrector any"
    )
    parser.add_argument("--corrector", type=Path, metavar="DIR", help="of fit-corrector, for the checkpoint")
    add_data_path(parser, " of the checkpoint")
    parser.add_argument("--epsilons", nargs="+", type=positive, default=[1, 10, 100, 1000], metavar="E")
    parser.add_argument("--delta", type=probability, default=1e-5, help="of the noise (default: 1e-5)")
    parser.add_argument("--clicks", type=count, default=10_000, help="to recover, drawn at random (default: 10000)")
    parser.add_argument("--seed", type=count, default=1)
    parser.add_argument("--out", type=output_file, metavar="FILE", help="write the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.experiments.privacy.measure import measure

    a = arguments
    privacy = measure(a.checkpoint, a.corrector, a.data_path, a.epsilons, a.delta, a.clicks, a.seed)
    print(privacy.text())
    if a.out:
        privacy.save(a.out)
    return 0
