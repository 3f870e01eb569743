"""Write what an artifact's devices need to know of the time since its export, with nothing trained.

A delta holds new items, with vectors from their neighbours, rows of the neighbour table that changed, and a short-term
popularity. It is one file, the same for every device; recbole_cocorr.device.apply_delta puts it into an artifact.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import add_data_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="what the artifact was exported from")
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR", help="as it was exported")
    parser.add_argument(
        "--interactions",
        type=Path,
        required=True,
        metavar="FILE",
        help="a .inter file: all since that training",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder of the deltas")
    parser.add_argument("--corrector", type=Path, metavar="DIR", help="fit with its settings (default: the package's)")
    parser.add_argument(
        "--popularity_days",
        type=float,
        metavar="DAYS",
        help="also a popularity of so many days, as far as it helps on the validation items (default: none)",
    )
    add_data_path(parser, " (default: where training found it)")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    from recbole_cocorr.base.errors import UserError

    window = arguments.popularity_days
    if window is not None and not 0 < window < float("inf"):
        raise UserError(f"--popularity_days is {window:g}; it must be above 0")
    require("export")
    from recbole_cocorr.artifact.latest import delta_file
    from recbole_cocorr.exporter.delta import described, make_delta

    a = arguments
    delta = make_delta(a.checkpoint, a.artifact, a.interactions, a.out, a.corrector, window, a.data_path)
    path = a.out / delta_file(delta.version)
    facts = described(delta, path.stat().st_size)
    print(f"{path}: {facts['items']} new items, {facts['rows']} changed rows of neighbours, {facts['bytes']:,} bytes")
    if window is not None:
        print(f"popularity of {window:g} days: {facts['popular']} items" if facts["popular"] else "popularity: no help")
    return 0
