"""``python -m recbole_cocorr COMMAND``."""

import argparse
import sys
from collections.abc import Sequence

from recbole_cocorr import __version__
from recbole_cocorr.base.command_line import report_errors
from recbole_cocorr.base.threads import limit_threads
from recbole_cocorr.cli.run import main as run_main


def command_parser() -> argparse.ArgumentParser:
    """The parser of every command; ``run``'s own flags are those of :mod:`recbole_cocorr.cli.run`."""
    from recbole_cocorr.cli import benchmark as benchmark
    from recbole_cocorr.cli import cloud as cloud
    from recbole_cocorr.cli import convert as convert
    from recbole_cocorr.cli import correct as correct
    from recbole_cocorr.cli import cost as cost
    from recbole_cocorr.cli import demo as demo
    from recbole_cocorr.cli import device as device
    from recbole_cocorr.cli import fit_corrector as correctors
    from recbole_cocorr.cli import freshness as freshness
    from recbole_cocorr.cli import import_released as released_cli
    from recbole_cocorr.cli import report as report_cli
    from recbole_cocorr.cli import sweep as sweep

    parser = argparse.ArgumentParser(prog="python -m recbole_cocorr", description=__doc__)
    parser.add_argument("--version", action="version", version=f"recbole_cocorr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", add_help=False, help="train and evaluate, as run_recbole_cocorr.py does")
    run.set_defaults(func=None)
    benchmark.add_parser(commands)
    sweep.add_parser(commands)
    correct.add_parser(commands)
    freshness.add_parser(commands)
    correctors.add_parser(commands)
    convert.add_parser(commands)
    released_cli.add_parser(commands)
    cost.add_parser(commands)
    report_cli.add_parser(commands)
    device.add_parser(commands)
    cloud.add_parser(commands)
    demo.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, or 2 after an error that the user can mend."""
    limit_threads()
    parser = command_parser()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["run"]:
        return run_main(arguments[1:])
    parsed, rest = parser.parse_known_args(arguments)
    if getattr(parsed, "takes_settings", False):
        parsed.settings = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return report_errors(lambda: parsed.func(parsed))


if __name__ == "__main__":
    sys.exit(main())
