"""Show the effective settings of a model and a data set, and where each comes from.

Nothing is read but settings, and nothing is run. The highest layer comes first; docs/configuration.md has the order.
"""

import argparse

from recbole_cocorr.base.extras import require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of run; everything else is --key=value, as for run."""
    parser.epilog = "Any setting: --key=value, for example --learning_rate=0.003 --protocol=full."
    parser.allow_abbrev = False
    parser.set_defaults(takes_settings=True)
    parser.add_argument("-m", "--model", help="CoCorrRec, or a RecBole sequential model such as SASRec")
    parser.add_argument("-d", "--dataset", help="a name in dataset_configs/, or of a folder in --data_path")
    parser.add_argument("--config_files", help="yaml files, separated by spaces; a later one wins")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.training.config import Config, parse_overrides
    from recbole_cocorr.training.effective import effective_settings

    files = arguments.config_files.split() if arguments.config_files else None
    config = Config(arguments.model, arguments.dataset, files, None, parse_overrides(arguments.settings))
    print(effective_settings(config))
    return 0
