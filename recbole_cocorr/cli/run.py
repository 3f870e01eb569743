"""The command that trains and evaluates: RecBole's flags, and errors a person can read."""

import argparse
from collections.abc import Sequence

from recbole_cocorr.base.command_line import Parser, report_errors
from recbole_cocorr.base.threads import limit_threads


def parser() -> argparse.ArgumentParser:
    """The parser of RecBole's flags; everything else is --key=value and goes to the configuration."""
    result = Parser(
        prog="run_recbole_cocorr.py",
        description="Train and evaluate CoCorrRec, or any RecBole sequential model, under one protocol.",
        epilog="Any setting of properties/ and of RecBole: --key=value, for example --learning_rate=0.003 "
        "--use_gcn=False --protocol=full --data_path=FOLDER --resume=FILE.training.safetensors",
        allow_abbrev=False,
    )
    result.add_argument("-m", "--model", help="CoCorrRec, or a RecBole sequential model such as SASRec")
    result.add_argument("-d", "--dataset", help="a name in dataset_configs/, or of a folder in --data_path")
    result.add_argument("--config_files", help="yaml files, separated by spaces; a later one wins")
    result.add_argument("--nproc", type=int, default=1, help="processes on this machine")
    result.add_argument("--ip", default="localhost", help="address of the first machine")
    result.add_argument("--port", default="5678", help="port of the first machine")
    result.add_argument("--world_size", type=int, default=-1, help="processes on all machines")
    result.add_argument("--group_offset", type=int, default=0, help="processes on the machines before this one")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 after an error that the user can mend."""
    limit_threads()
    return report_errors(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments, rest = parser().parse_known_args(argv)
    # Imported late: --help answers at once.
    from recbole_cocorr.training.config import parse_overrides
    from recbole_cocorr.training.run import run

    run(
        model=arguments.model,
        dataset=arguments.dataset,
        config_file_list=arguments.config_files.split() if arguments.config_files else None,
        nproc=arguments.nproc,
        world_size=arguments.world_size,
        ip=arguments.ip,
        port=arguments.port,
        group_offset=arguments.group_offset,
        overrides=parse_overrides(rest),
    )
    return 0
