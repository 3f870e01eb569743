"""Give every model of a results folder the cloud's item-item scores.

For each tested run of a results folder: learn item-item weights from the training interactions and the trust in them
from the validation items, and read the test items with the user's own scores, none, stale ones and another user's.
Then compare them, user by user. Nothing is trained again.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import add_corrector_flags, corrector_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("results", metavar="RESULTS", help="a folder that benchmark wrote")
    parser.add_argument("--models", help="labels, separated by commas (default: all)")
    add_corrector_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.correctors.settings import corrector_settings
    from recbole_cocorr.experiments.corrections import measure

    labels = [name.strip() for name in arguments.models.split(",")] if arguments.models else None
    folder = Path(arguments.results)
    corrections = measure(folder, corrector_settings(corrector_flags(arguments)), labels)
    for sentence in corrections.problems:
        print(f"note: {sentence}")
    corrections.save(folder / corrections.FILE)
    return 0
