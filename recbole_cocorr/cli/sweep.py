"""Quality and inference time of CoCorrRec over the mini-batch size K.

Train CoCorrRec with each K and measure its inference. Goes on after a kill, as benchmark does.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import add_running_flags
from recbole_cocorr.cli._plans import carry_out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.epilog = "Further settings of all runs: --key=value."
    parser.allow_abbrev = False
    parser.set_defaults(takes_settings=True)
    parser.add_argument("--datasets", required=True, metavar="DATASET", help="one data set")
    parser.add_argument("--K", default="1,2,5,10,20", help="separated by commas (default: 1,2,5,10,20)")
    parser.add_argument("--length", type=int, default=20, help="L, clicks of history (default: 20)")
    parser.add_argument("--without_gcn", action="store_true", help="sweep the device's model alone")
    parser.add_argument("--protocol", default="paper", help="paper, full or time (default: paper)")
    parser.add_argument("--seeds", help="separated by commas (default: the first of properties/benchmark.yaml)")
    parser.add_argument(
        "--learning_rates", help="separated by commas (default: that of properties/model/CoCorrRec.yaml)"
    )
    parser.add_argument("--out", default="results/sweep", metavar="DIR", help="(default: results/sweep)")
    add_running_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.base.property_files import read_properties
    from recbole_cocorr.experiments.entries import benchmark_defaults, sweep_entries
    from recbole_cocorr.experiments.runs.plan import Plan, numbers
    from recbole_cocorr.experiments.sweep import measure, quality
    from recbole_cocorr.training.config import parse_overrides

    if "," in arguments.datasets:
        raise UserError(
            f"a sweep is of one data set, not of {arguments.datasets!r}; run it for each, with its own --out"
        )
    own = read_properties("model", "CoCorrRec")
    sizes = numbers(arguments.K, "--K", int, [])
    plan = Plan(
        entries=sweep_entries(sizes, arguments.length, not arguments.without_gcn),
        datasets=[arguments.datasets],
        protocol=arguments.protocol,
        seeds=numbers(arguments.seeds, "--seeds", int, benchmark_defaults()["seeds"][:1]),
        learning_rates=numbers(arguments.learning_rates, "--learning_rates", float, [own["learning_rate"]]),
        settings=parse_overrides(arguments.settings),
    )
    status = carry_out(plan, arguments)
    if status == 0 and not arguments.dry_run:
        folder = Path(arguments.out)
        times = measure(folder)
        print(times.text(quality(folder, arguments.datasets, arguments.protocol)))
        times.save(folder / times.FILE)
    return status
