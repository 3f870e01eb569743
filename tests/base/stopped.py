"""An action in a child process that is killed, or fails, at its n-th step on the file system, for every n."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _at_step(root: Path, number: int, what: Callable[[], None]) -> None:
    """Call ``what`` before the n-th operation that changes something under ``root``."""
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event not in _EVENTS or (event == "open" and not (arguments[2] or 0) & _WRITES):
            return
        if not any(isinstance(a, (str, Path)) and os.path.abspath(a).startswith(str(root)) for a in arguments[:2]):
            return
        count += 1
        if count == number:
            what()

    sys.addaudithook(hook)


def _in_child(action: Callable[[], object], prepare: Callable[[], None]) -> int:
    """The status with which a copy of this process ends after the action; 1 after an error."""
    pid = os.fork()
    if pid == 0:
        status = 1
        with suppress(BaseException):
            prepare()
            action()
            status = 0
        os._exit(status)
    return os.waitpid(pid, 0)[1]


def killed_at_every_step(
    root: Path, before: Callable[[], None], action: Callable[[], object], check: Callable[[], None]
) -> int:
    """Kill the action (SIGKILL) before its first step, its second one and so on; the number of its steps.

    Parameters
    ----------
    root : Path
        Steps are operations under this folder: files opened for writing, renamed or removed, folders made or removed.
    before, check : callable
        Called before each try and after it.
    """
    for number in range(1, 1000):
        before()
        status = _in_child(action, lambda n=number: _at_step(root, n, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        check()
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            return number - 1
    raise AssertionError("the action has no end")


def without_room(sizes: list[int], before: Callable[[], None], action: Callable[[], object], check) -> None:
    """Let writes fail beyond a number of bytes in each file, for each number; the action must then fail too."""

    def limit(size: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    for size in sizes:
        before()
        status = _in_child(action, lambda size=size: limit(size))
        assert os.WEXITSTATUS(status) == 1, size
        check()
