"""``python -m recbole_cocorr correct``."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command ``correct`` to the subparsers of ``python -m recbole_cocorr``."""
    parser = subparsers.add_parser(
        "correct",
        help="give every model of a results folder the cloud's item-item scores",
        description="For each tested run of a results folder: learn item-item weights from the training interactions "
        "and the trust in them from the validation items, and read the test items with the user's own scores, none, "
        "stale ones and another user's. Then compare them, user by user. Nothing is trained again.",
    )
    parser.add_argument("results", metavar="RESULTS", help="a folder that benchmark wrote")
    parser.add_argument("--models", help="labels, separated by commas (default: all)")
    parser.add_argument("--l2", type=float, help="ridge penalty (default: properties/corrector.yaml)")
    parser.add_argument("--neighbours", type=int, help="items that an item is regressed on")
    parser.add_argument("--decay", type=float, help="weight of a click beside that of the click after it")
    parser.set_defaults(func=_correct)
    return parser


def _correct(arguments: argparse.Namespace) -> int:
    # Imported late: --help answers at once.
    from recbole_cocorr.correctors.settings import corrector_settings
    from recbole_cocorr.experiments.corrections import correct

    given = {k: v for k in ("l2", "neighbours", "decay") if (v := getattr(arguments, k)) is not None}
    labels = [name.strip() for name in arguments.models.split(",")] if arguments.models else None
    correct(Path(arguments.results), corrector_settings(given), labels)
    return 0
