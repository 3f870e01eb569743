"""Train and evaluate several models under one protocol, into one results folder.

Train and evaluate every model on every dataset with every seed. The learning rate is chosen with the first seed, on
the validation items. A results folder may be gone on with after a kill: finished runs are not repeated.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import add_running_flags
from recbole_cocorr.cli._plans import carry_out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.epilog = (
        "Further settings of all runs: --key=value, as for run. The field, its settings, the default grid and seeds "
        "are in properties/benchmark.yaml."
    )
    parser.allow_abbrev = False  # --seed=1 is a setting, not --seeds
    parser.set_defaults(takes_settings=True)
    parser.add_argument("--models", help="labels of properties/benchmark.yaml or RecBole models, separated by commas")
    parser.add_argument("--datasets", required=True, help="separated by commas")
    parser.add_argument("--protocol", default="paper", help="paper, full or time (default: paper)")
    parser.add_argument("--seeds", help="separated by commas")
    parser.add_argument("--learning_rates", help="separated by commas")
    parser.add_argument("--out", default="results/benchmark", metavar="DIR", help="(default: results/benchmark)")
    add_running_flags(parser)
    parser.add_argument(
        "--ablate",
        choices=["correction"],
        help="afterwards evaluate each CoCorrRec run with its own correction, none, a stale one and another user's",
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.experiments.runs.benchmark import plan_of
    from recbole_cocorr.training.config import parse_overrides

    plan = plan_of(
        arguments.datasets.split(","),
        arguments.models.split(",") if arguments.models else None,
        arguments.seeds,
        arguments.learning_rates,
        arguments.protocol,
        parse_overrides(arguments.settings),
    )
    status = carry_out(plan, arguments)
    if arguments.ablate and not arguments.dry_run and status == 0:
        from recbole_cocorr.experiments.ablation import measure

        ablation = measure(Path(arguments.out))
        ablation.save(Path(arguments.out) / ablation.FILE)
    return status
