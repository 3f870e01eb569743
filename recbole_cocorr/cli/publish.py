"""Write the records of a results folder, without weights and paths, for others to read.

Every finished run becomes runs/<run id>/run.json.gz, every JSON file beside the runs is copied. `report` reads the new
folder as it reads the old one.
"""

import argparse

from recbole_cocorr.base.extras import require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("results", metavar="RESULTS", help="a folder that benchmark or sweep wrote")
    parser.add_argument("--out", metavar="DIR", required=True, help="the folder to publish into")
    parser.add_argument(
        "--no_ranks",
        action="store_true",
        help="leave out where each user's test item stands: smaller, but models can no longer be compared user by user",
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.experiments.runs.publish import publish

    files = publish(arguments.results, arguments.out, ranks=not arguments.no_ranks)
    size = sum(file.stat().st_size for file in files)
    print(f"{arguments.out}: {len(files)} files, {size / 1e6:.1f} MB")
    return 0
