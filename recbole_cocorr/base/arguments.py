"""Numbers on the command line: argparse types that say what would be right."""

import argparse


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
        found = float(text)
    except ValueError:
        found = -1
    if not 0 <= found <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {most:.0f}")
    return found
