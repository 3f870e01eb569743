"""Where a training writes what it says: RecBole's log and tensorboard's events, in folders that settings name."""

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import colorama
import colorlog
import recbole.trainer.trainer as recbole_trainer
from recbole.utils.logger import RemoveColorFilter, log_colors_config
from torch.utils.tensorboard import SummaryWriter

from recbole_cocorr.base.errors import UserError

LOG_DIR, TENSORBOARD_DIR = "log", "log_tensorboard"


class _Screen(logging.StreamHandler):
    """The screen of a run."""


class _LogFile(logging.FileHandler):
    """A file whose failure ends the log, in one sentence, and not the training."""

    def handleError(self, record: logging.LogRecord) -> None:
        logging.getLogger().removeHandler(self)
        reason = getattr(sys.exc_info()[1], "strerror", None) or sys.exc_info()[1]
        print(f"warning: {self.baseFilename}: the log could not be written: {reason}; it ends here", file=sys.stderr)


def start_log(config: Any) -> None:
    """Log to the screen and to ``<log_dir>/<model>/``, in RecBole's form; the log of an earlier run ends.

    Parameters
    ----------
    config : Config

    Raises
    ------
    UserError
        If the folder cannot be written to.
    """
    level = logging.getLevelName(str(config["state"] or "info").upper())
    colorama.init(autoreset=True)  # no colours where the screen is a file
    screen = _Screen()
    screen.setFormatter(
        colorlog.ColoredFormatter(
            "%(log_color)s%(asctime)-15s %(levelname)s  %(message)s", "%d %b %H:%M", log_colors=log_colors_config
        )
    )
    folder = Path(config["log_dir"] or LOG_DIR) / config["model"]
    name = f"{config['model']}-{config['dataset']}-{datetime.now():%b-%d-%Y_%H-%M-%S}-{os.getpid()}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _LogFile(folder / name)
    except OSError as error:
        raise UserError(
            f"{folder}: the log cannot be written there: {error.strerror}; name another folder with --log_dir"
        ) from None
    file.setFormatter(logging.Formatter("%(asctime)-15s %(levelname)s  %(message)s", "%a %d %b %Y %H:%M:%S"))
    file.addFilter(RemoveColorFilter())
    for handler in (screen, file):
        handler.setLevel(level)
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, (_Screen, _LogFile))]:
        root.removeHandler(handler)
        handler.close()
    logging.basicConfig(level=level, handlers=[screen, file])  # which does nothing where a program has its own log


class EpochsFromOne(logging.LoggerAdapter):
    """RecBole's messages with epochs counted from 1, as people count; its code and the files count from 0."""

    def process(self, msg: Any, kwargs: Any) -> tuple[str, Any]:
        """Add 1 to the number of the epoch in a message, if it has one."""
        text = re.sub(r"epoch (\d+)(?= training| evaluating|$)", lambda m: f"epoch {int(m[1]) + 1}", str(msg))
        return text, kwargs


class _Board(SummaryWriter):
    """Events whose failure ends the events, in one sentence, and not the training."""

    ended = False

    def add_scalar(self, *arguments: Any, **options: Any) -> None:
        self._or_end(super().add_scalar, *arguments, **options)

    def add_hparams(self, *arguments: Any, **options: Any) -> None:
        self._or_end(super().add_hparams, *arguments, **options)

    def _or_end(self, write: Callable, *arguments: Any, **options: Any) -> None:
        if self.ended:
            return
        try:
            write(*arguments, **options)
        except OSError as error:
            self.ended = True
            reason = error.strerror or error
            print(
                f"warning: {self.log_dir}: tensorboard's events could not be written: {reason}; they end here",
                file=sys.stderr,
            )


def _hook(arguments: Any, before: Callable = threading.excepthook) -> None:
    """Leave it to :class:`_Board` to say why tensorboard's thread ended."""
    if not (isinstance(arguments.exc_value, OSError) and type(arguments.thread).__name__ == "_AsyncWriterThread"):
        before(arguments)


threading.excepthook = _hook


@contextmanager
def tensorboard_in(folder: str | None) -> Iterator[None]:
    """Let RecBole's trainer, built in the block, write tensorboard's events into a folder.

    Raises
    ------
    UserError
        If the folder cannot be written to.
    """
    board_folder = folder or TENSORBOARD_DIR

    def board(logger: logging.Logger) -> SummaryWriter:
        files = [h.baseFilename for h in logger.handlers if isinstance(h, logging.FileHandler)]
        name = Path(files[0]).name.split(".")[0] if files else f"model-{datetime.now():%b-%d-%Y_%H-%M-%S}"
        try:
            return _Board(os.path.join(board_folder, name))
        except OSError as error:
            raise UserError(
                f"{board_folder}: tensorboard's events cannot be written there: {error.strerror}; name another "
                "folder with --tensorboard_dir"
            ) from None

    before = recbole_trainer.get_tensorboard
    recbole_trainer.get_tensorboard = board
    try:
        yield
    finally:
        recbole_trainer.get_tensorboard = before
