"""Locks that are free in a forked child.

A child has the memory of its parent and one thread alone. A lock that another thread held at the fork would stay locked
in the child for ever, and what it guards would be half changed. So a fork waits until the locks that are made here are
free.
"""

import os
import threading
from weakref import WeakSet

_locks: WeakSet = WeakSet()
_locked: list = []
# Guards the two above, from before a fork until after it.
_forking = threading.RLock()


def lock_free_at_forks() -> "threading.RLock":
    """A lock that the same thread may take again, and that a fork waits for.

    Whoever holds one must not wait for the network or a person, nor make another.
    """
    lock = threading.RLock()
    with _forking:
        _locks.add(lock)
    return lock


def _before() -> None:
    _forking.acquire()
    for lock in list(_locks):
        lock.acquire()
        _locked.append(lock)


def _after() -> None:
    while _locked:
        _locked.pop().release()
    _forking.release()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
