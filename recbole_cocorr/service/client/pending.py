"""A request on its way to a service, and what became of it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_cocorr.device.correction import Correction

CORRECTED, LATE, OFFLINE, REFUSED, UNASKED = "corrected", "late", "offline", "refused", "unasked"


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes
    ----------
    status : {"corrected", "late", "offline", "refused", "unasked"}
        A correction, or scores, are there; they were not there in time; the service could not be reached; it answered
        with an error, or with something that does not fit what was asked; or it was not asked, since little was
        expected of it.
    reason : str
        Why there is no content.
    content : Correction, numpy.ndarray of float32 with shape [C], or None
        The correction, or p of each candidate of the request; None unless ``corrected``.
    seconds : float
        From the upload until the answer was there, or until it was given up.
    bytes : int
        Payload that came back.
    """

    status: str
    reason: str = ""
    content: Correction | np.ndarray | None = None
    seconds: float = 0.0
    bytes: int = 0


class Pending:
    """A request on its way. Made by :class:`~recbole_cocorr.service.Client`.

    Attributes
    ----------
    clicks : int
        Clicks that the session had read.
    upload_bytes : int
        Payload that was sent; 0 where nothing was sent.
    overdue : bool
        Whether a ranking has waited for it up to its deadline; the next one does not wait again.

    Parameters
    ----------
    cancel : callable, optional
        Takes the request back.
    given_up : callable, optional
        Called when it is taken back, with whether somebody had waited for it in vain.
    """

    def __init__(
        self,
        clicks: int,
        upload_bytes: int = 0,
        cancel: Callable[[], Any] | None = None,
        given_up: Callable[[bool], Any] | None = None,
    ):
        self.clicks, self.upload_bytes, self._cancel, self._given_up = clicks, upload_bytes, cancel, given_up
        self._began, self._done, self._lock = time.monotonic(), threading.Event(), threading.Lock()
        self._answer: Answer | None = None
        self._in_vain = self.overdue = False

    @property
    def done(self) -> bool:
        """Whether it is known what became of it."""
        return self._done.is_set()

    @property
    def seconds(self) -> float:
        """Seconds since it was sent."""
        return time.monotonic() - self._began

    def answer(self, wait: float) -> Answer:
        """What has become of it within ``wait`` seconds; ``late`` if that is not known by then.

        May be asked again: an answer that was late can have come meanwhile.
        """
        if self._done.wait(max(0.0, wait)) and self._answer is not None:
            return self._answer
        self._in_vain = True
        return Answer(LATE, "no answer in time", seconds=self.seconds)

    def cancel(self) -> None:
        """Give it up: the service drops it if it has not begun, and whoever waits for it goes on at once."""
        if self.done:
            return
        self.settle(
            Answer(LATE, "given up", seconds=self.seconds),
            self._given_up and (lambda: self._given_up(self._in_vain)),
        )
        if self._cancel is not None:
            self._cancel()

    def settle(self, answer: Answer, first: Callable[[], Any] | None = None) -> None:
        """Say what became of it; the first word counts.

        ``first`` is called before those who wait go on, if this is that word.
        """
        with self._lock:
            if self._answer is None:
                if first is not None:
                    first()
                self._answer = answer
                self._done.set()
