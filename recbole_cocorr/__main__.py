"""``python -m recbole_cocorr COMMAND``."""

import argparse
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from types import ModuleType

from recbole_cocorr import __version__, cli
from recbole_cocorr.base.checkpoints import checkpoint_file
from recbole_cocorr.base.command_line import report_errors
from recbole_cocorr.base.threads import limit_threads


def verbs() -> list[str]:
    """The commands, in the order of the alphabet: a file of ``cli/`` for each."""
    names = [module.name for module in pkgutil.iter_modules(cli.__path__)]
    return [name.replace("_", "-") for name in names if not name.startswith("_")]


def command_parser(names: Iterable[str] | None = None, flags: bool = True) -> argparse.ArgumentParser:
    """The parser of some commands, or of all; their modules are imported. Without ``flags`` it knows names alone."""
    parser = argparse.ArgumentParser(prog="python -m recbole_cocorr", description=__doc__)
    parser.add_argument("--version", action="version", version=f"recbole_cocorr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in verbs() if names is None else names:
        verb = _module(name)
        title, _, rest = (inspect.getdoc(verb) or "").partition("\n")
        title = title.removesuffix(".")
        command = commands.add_parser(name, help=title, description=rest.strip() or title)
        if flags:
            verb.add_arguments(command)
    return parser


def _module(name: str) -> ModuleType:
    return import_module(f"{cli.__name__}.{name.replace('-', '_')}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, or 2 after an error that the user can mend."""
    limit_threads()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["run"]:
        return _module("run").main(arguments[1:])
    called = [name for name in verbs() if name in arguments[:1]]
    parser = command_parser(called or None, flags=bool(called))  # all flags of all commands take long to say
    parsed, rest = parser.parse_known_args(arguments)
    if getattr(parsed, "takes_settings", False):
        parsed.settings = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return report_errors(lambda: _run(parsed))


def _run(parsed: argparse.Namespace) -> int:
    # Here and not in each verb: `latest` is understood wherever a checkpoint is named, and errors name the file.
    named = getattr(parsed, "checkpoint", None)
    if isinstance(named, list):
        parsed.checkpoint = [checkpoint_file(name) for name in named]
    elif named:
        parsed.checkpoint = type(named)(checkpoint_file(named))
    return _module(parsed.command).run(parsed)


if __name__ == "__main__":
    sys.exit(main())
