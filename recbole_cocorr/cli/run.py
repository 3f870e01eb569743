"""Train and evaluate, as run_recbole_cocorr.py does.

Train and evaluate CoCorrRec, or any RecBole sequential model, under one protocol.
"""

import argparse
import shlex
from collections.abc import Sequence

from recbole_cocorr.base.command_line import Parser, report_errors
from recbole_cocorr.base.extras import require
from recbole_cocorr.base.threads import limit_threads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RecBole's flags; everything else is --key=value and goes to the configuration."""
    parser.epilog = (
        "Any setting of properties/ and of RecBole: --key=value, for example --learning_rate=0.003 "
        "--use_gcn=False --protocol=full --data_path=FOLDER --resume=FILE.training.safetensors"
    )
    parser.allow_abbrev = False
    parser.set_defaults(takes_settings=True)
    parser.add_argument("-m", "--model", help="CoCorrRec, or a RecBole sequential model such as SASRec")
    parser.add_argument("-d", "--dataset", help="a name in dataset_configs/, or of a folder in --data_path")
    parser.add_argument("--config_files", help="yaml files, separated by spaces; a later one wins")
    parser.add_argument("--nproc", type=int, default=1, help="processes on this machine")
    parser.add_argument("--ip", default="localhost", help="address of the first machine")
    parser.add_argument("--port", default="5678", help="port of the first machine")
    parser.add_argument("--world_size", type=int, default=-1, help="processes on all machines")
    parser.add_argument("--group_offset", type=int, default=0, help="processes on the machines before this one")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.training.config import parse_overrides
    from recbole_cocorr.training.run import run

    result = run(
        model=arguments.model,
        dataset=arguments.dataset,
        config_file_list=arguments.config_files.split() if arguments.config_files else None,
        nproc=arguments.nproc,
        world_size=arguments.world_size,
        ip=arguments.ip,
        port=arguments.port,
        group_offset=arguments.group_offset,
        overrides=parse_overrides(arguments.settings),
    )
    if result and result["saved_model_file"]:
        file = shlex.quote(result["saved_model_file"])
        print(f"next: python -m recbole_cocorr recommend --checkpoint {file} --input USERS.csv --out RECS.csv")
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of run_recbole_cocorr.py."""
    result = Parser(prog="run_recbole_cocorr.py", description=(__doc__ or "").partition("\n")[2])
    add_arguments(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run run_recbole_cocorr.py; returns the exit status: 0, or 2 after an error that the user can mend."""
    limit_threads()
    return report_errors(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    arguments, arguments.settings = parser().parse_known_args(argv)
    return run(arguments)
