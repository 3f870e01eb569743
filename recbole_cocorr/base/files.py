"""Files that are either written whole or not at all."""

import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w", **kw: Any) -> Iterator[IO]:
    """Open a file for writing that appears under its name only once it is complete and on the disk.

    Parameters
    ----------
    path
        The file to write; its folder must exist. Where it is a symbolic link, what it points to is written.
    mode
        "w" for text (UTF-8 unless ``encoding`` is given), "wb" for bytes.
    **kw
        Passed on to :func:`open`.

    Yields
    ------
    file object
        Its ``name`` is the temporary path, in the same folder, for a writer that wants a path.

    Raises
    ------
    OSError
        What the system reported. After it, as after any other exception in the block (KeyboardInterrupt
        included), the temporary file is gone and an earlier ``path`` is as it was.
    """
    if mode not in ("w", "wt", "wb"):
        raise ValueError(f"mode is {mode!r}; atomic_write knows 'w' and 'wb'")
    if "b" not in mode:
        kw.setdefault("encoding", "utf-8")
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder")
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")
    try:
        # Opened, not made by tempfile.mkstemp: the user's umask decides who may read the result.
        with open(temporary, mode.replace("w", "x"), **kw) as file:
            yield file
        _sync(temporary, os.O_RDWR)
        with suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    with suppress(OSError):  # not every file system can do this, and the file itself is safe
        _sync(target.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(folder: str | os.PathLike, wait: bool = False) -> Iterator[bool]:
    """Hold a folder's lock, which the system gives back however the process ends.

    Parameters
    ----------
    folder
        Must exist; the lock is its file ``.lock``.
    wait : bool
        Whether to wait for another process that holds it.

    Yields
    ------
    bool
        False if another process holds it. Where the system has no such locks (Windows), always True.
    """
    try:
        import fcntl
    except ImportError:
        yield True
        return
    with open(Path(folder) / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write content as JSON, whole or not at all; raises as :func:`atomic_write` does."""
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1) + "\n")
