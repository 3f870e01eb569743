"""Temporary files and folders: whose writer lives is told by a lock, and what a dead one left is removed.

A temporary is named ``.NAME.<16 hexadecimal digits>.tmp``. Its writer holds a lock on it (``flock``), which the system
gives back however the process ends. Where there are no such locks nothing is removed.
"""

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp", re.DOTALL)


def new_name(target: Path) -> Path:
    """A name beside ``target`` that no other writer takes."""
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")


def is_temporary(path: str | bytes) -> bool:
    """Whether a path is that of a temporary, or lies in one."""
    return any(_TEMPORARY.fullmatch(part) for part in Path(os.fsdecode(path)).parts)


def lock(descriptor: int, path: str | os.PathLike) -> bool:
    """Mark an open temporary as that of a living process; False if it has been removed before it was marked."""
    if fcntl is None:
        return True
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def remove_leftovers(folder: str | os.PathLike, name: str | None = None) -> None:
    """Remove the temporaries in a folder whose writers are dead.

    Parameters
    ----------
    folder : str or os.PathLike
    name : str, optional
        Only those of the file of this name.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match and (name is None or match[1] == name[:40]):
                with suppress(OSError):  # gone meanwhile, or of another user
                    _remove_if_dead(entry.path)


def _remove_if_dead(path: str) -> None:
    kind = os.lstat(path).st_mode
    if fcntl is None or not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        return
    # NFS locks a file only for one who may write it.
    flags = os.O_RDONLY if stat.S_ISDIR(kind) else os.O_RDWR
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(kind):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    finally:
        os.close(descriptor)


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Make a folder beside ``target`` that is gone after the block, unless it was renamed.

    What killed processes left beside it is removed first.
    """
    remove_leftovers(target.parent)
    while True:
        work = new_name(target)
        work.mkdir()
        if fcntl is None:
            held = None
            break
        with suppress(FileNotFoundError):  # taken for a dead one's before it was marked
            held = os.open(work, os.O_RDONLY)
            if lock(held, work):
                break
            os.close(held)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if held is not None:
            os.close(held)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other writer changes a folder, and hold others off; readers need no lock."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
