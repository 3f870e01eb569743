"""What every command shares: errors that a person can read, and the exit status."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from recbole_cocorr.base.errors import UserError


class Parser(argparse.ArgumentParser):
    """Reports a bad flag in the words of any other error."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def report_errors(command: Callable[[], int]) -> int:
    """Run a command; what the user can mend becomes one line on stderr and the exit status 2."""
    try:
        status = command()
        sys.stdout.flush()
        return status
    except UserError as error:
        text = str(error)
    except OSError as error:  # a full disk, a folder that may not be written
        text = _sentence_of(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print("error: " + " ".join(line.strip() for line in text.splitlines()), file=sys.stderr)
    return 2


def _sentence_of(error: OSError) -> str:
    if error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if error.errno is None:
        return str(error)
    # Every file that is written is named in its error, so this is what was printed. Python would try once more at the
    # end, and say it in words of its own.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    return f"the standard output could not be written: {os.strerror(error.errno)}"
