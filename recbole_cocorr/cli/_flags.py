"""Flags that several verbs share."""

import argparse
from typing import Any

# Precisions of an item table, and policies for sessions with more clicks than the model was trained on.
PRECISIONS = ("fp32", "fp16", "int8")
POLICIES = ("carry", "window")


def add_running_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say where the runs of a plan run; :func:`carry_out` reads them."""
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (default: 1)")
    parser.add_argument(
        "--threads", type=int, help="threads of each (default: the processors that are allowed, shared)"
    )
    parser.add_argument(
        "--distributed",
        choices=["ray"],
        help="run on the Ray cluster at RAY_ADDRESS instead of processes on this machine",
    )
    parser.add_argument("--dry_run", action="store_true", help="show the plan and run nothing")


def add_corrector_flags(parser: argparse.ArgumentParser) -> None:
    """Settings of a corrector; :func:`corrector_flags` reads them."""
    parser.add_argument("--l2", type=float, help="ridge penalty (default: properties/corrector.yaml)")
    parser.add_argument("--neighbours", type=int, help="items that an item is regressed on")
    parser.add_argument("--decay", type=float, help="weight of a click beside that of the click after it")
    parser.add_argument("--next_click", type=float, help="how much the regression on earlier clicks counts")


def corrector_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings of a corrector that were given."""
    return {k: v for k in ("l2", "neighbours", "decay", "next_click") if (v := getattr(arguments, k)) is not None}


def add_data_path(parser: argparse.ArgumentParser, default: str = "") -> None:
    """The folder of the data set of a checkpoint."""
    parser.add_argument("--data_path", metavar="FOLDER", help=f"holds NAME/NAME.inter{default}")
