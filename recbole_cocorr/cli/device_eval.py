"""Compare the two ways to read a history that is longer than the model was trained on.

NDCG@10 of an artifact on the test rows, each user's whole history given: carrying the state on through all of it, and
reading the last L clicks anew. With --neighbours each of them is also ranked with neighbour tables of these sizes.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.arguments import count, output_file
from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import POLICIES, PRECISIONS, add_data_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="the checkpoint that the artifact is made of")
    parser.add_argument("--policy", choices=(*POLICIES, "both"), default="both")
    parser.add_argument("--table", choices=PRECISIONS, default="fp32")
    add_data_path(parser, " (default: where training found it)")
    parser.add_argument("--phase", choices=("test", "valid", "both"), default="test", help="whose items are ranked")
    parser.add_argument(
        "--neighbours",
        nargs="+",
        type=count,
        default=[],
        metavar="N",
        help="also with tables of N neighbours",
    )
    parser.add_argument(
        "--corrector", type=Path, metavar="DIR", help="of fit-corrector; the tables are fitted with its settings"
    )
    parser.add_argument(
        "--out",
        type=output_file,
        metavar="FILE",
        help="write the result as JSON (in a results folder: device-quality.json)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("export")
    from recbole_cocorr.experiments.device_quality import measure
    from recbole_cocorr.experiments.results.device_quality import PHASES

    a = arguments
    policies = POLICIES if a.policy == "both" else (a.policy,)
    phases = PHASES if a.phase == "both" else (a.phase,)
    quality = measure(a.checkpoint, policies, a.table, a.data_path, phases, a.neighbours, a.corrector)
    print(quality.text())
    if a.out:
        quality.save(a.out)
    return 0
