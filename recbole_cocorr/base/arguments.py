"""Numbers on the command line: argparse types that say what would be right."""

import argparse
import os
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import check_special, is_special


def count(text: str) -> int:
    """A whole number from 1 to 10000000.

    Raises
    ------
    argparse.ArgumentTypeError
        For anything else.
    """
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:12]) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 10000000")
    return int(text)


def number(text: str, most: float) -> float:
    """A number from 0 to ``most``; raises as :func:`count` does."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {most:.0f}")
    return value


def not_negative(text: str) -> float:
    """A number from 0 to 1000000; raises as :func:`count` does."""
    return number(text, 1e6)


def positive(text: str) -> float:
    """A number above 0; raises as :func:`count` does."""
    value = not_negative(text)
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def probability(text: str) -> float:
    """A number between 0 and 1, neither of them; raises as :func:`count` does."""
    value = not_negative(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return value


def share(text: str) -> float:
    """A number from 0 to 1; raises as :func:`count` does."""
    value = not_negative(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def output_file(text: str) -> Path:
    """A file of text to write, a pipe and /dev/stdout included: asked before the work begins, not after it.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is a folder or a disk, or its folder is missing or may not be written to.
    """
    return _output(text, through=True)


def output_picture(text: str) -> Path:
    """A ``.svg`` or ``.png`` file, no pipe or device; raises as :func:`output_file` does."""
    if not text.lower().endswith((".svg", ".png")):
        raise argparse.ArgumentTypeError(f"{text} does not end in .svg or .png")
    return _output(text, through=False)


def _output(text: str, through: bool) -> Path:
    path = Path(text)
    try:
        if is_special(path):
            check_special(path, "result", through)
            return path
        folder = Path(os.path.realpath(path)).parent
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"{text} is a folder; name a file in it")
    except (UserError, OSError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"the folder {folder} may not be written to")
    return path
