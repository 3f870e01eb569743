"""When to ask a service that has failed again."""

import random
import threading
import time
from collections.abc import Callable


class Breaker:
    """A circuit breaker that waits longer after each failure, by a random share.

    Closed, every request passes. After ``failures`` in a row it is open: no request passes until a wait is over, then
    one does, as a probe; if it succeeds the breaker is closed, if not the next wait begins. The n-th wait (from 0) is
    drawn evenly from [half, all] of ``first`` 2^n, at most ``longest``, so that devices that lost a server together do
    not all come back together.

    Safe to call from several threads.

    Parameters
    ----------
    failures : int
    first, longest : float
        Seconds.
    clock : callable
        Seconds that only grow.
    draw : callable
        A random number from [0, 1).

    Attributes
    ----------
    reason : str
        Why it is open; "" while it is closed.
    """

    def __init__(
        self,
        failures: int = 3,
        first: float = 0.25,
        longest: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ):
        self._failures, self._first, self._longest = failures, first, longest
        self._clock, self._draw, self._lock = clock, draw, threading.Lock()
        self._in_a_row, self._waits, self._until, self._probing = 0, 0, 0.0, False
        self.reason = ""

    def passes(self) -> bool:
        """Whether a request may be made now; who is let through says how it went."""
        with self._lock:
            if not self.reason:
                return True
            if self._probing or self._clock() < self._until:
                return False
            self._probing = True
            return True

    def succeeded(self) -> None:
        """The service has answered."""
        with self._lock:
            self._in_a_row = self._waits = 0
            self._probing, self.reason = False, ""

    def failed(self, reason: str, at_once: bool = False) -> None:
        """A request has failed.

        Parameters
        ----------
        reason : str
        at_once : bool
            Open without waiting for more failures: asking again would not help.
        """
        with self._lock:
            self._in_a_row += 1
            if self.reason and not self._probing:
                return  # a straggler of before it opened
            self._probing = False
            if at_once or self.reason or self._in_a_row >= self._failures:
                wait = min(self._longest, self._first * 2 ** min(self._waits, 30))
                self._until = self._clock() + wait * (0.5 + 0.5 * self._draw())
                self._waits += 1
                self.reason = reason

    def gave_up(self) -> None:
        """A request was taken back before it was known how it went."""
        with self._lock:
            self._probing = False
