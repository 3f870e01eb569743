"""Measure which clicks can be read from what a device uploads, and what hiding them costs.

For the test users of a checkpoint: the share of uploaded clicks that somebody who holds the item table recovers, and
NDCG@10, for every way to upload; with a corrector, also what requests for scores tell.
"""

import argparse
from pathlib import Path
from typing import Any

from recbole_cocorr.base.arguments import count, output_file, positive, probability
from recbole_cocorr.base.extras import require
from recbole_cocorr.base.files import write_json
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
    from recbole_cocorr.experiments.privacy.hidden_states import measure_privacy, table_text

    a = arguments
    found: dict[str, Any] = {}
    scores = None
    if a.corrector is not None:
        from recbole_cocorr.experiments.privacy import scores as score_privacy
        from recbole_cocorr.models.catalogue import configured_to_take_corrections
        from recbole_cocorr.training.checkpoint import load_checkpoint

        # First: it is the shorter part, and says where something does not fit.
        scores = score_privacy.measure_score_privacy(a.checkpoint, a.corrector, a.data_path)
        config = load_checkpoint(a.checkpoint).config
    if scores is None or configured_to_take_corrections(config):
        found = measure_privacy(a.checkpoint, a.data_path, a.epsilons, a.delta, a.clicks, a.seed)
        print(table_text(found))
    if scores is not None:
        print(score_privacy.table_text(scores))
        found["scores"] = scores
    if arguments.out:
        write_json(arguments.out, found)
    return 0
