"""Files that are either written whole or not at all."""

import json
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.leftovers import is_temporary, lock, new_name, remove_leftovers

_STREAMS = {"stdout": 1, "stderr": 2}
_DESCRIPTOR = re.compile(r"/dev/(stdout|stderr)|(?:/dev/fd|/proc/self/fd)/(\d{1,9})")


@contextmanager
def atomic_write(
    path: str | os.PathLike,
    mode: str = "w",
    what: str = "file",
    through: bool = False,
    tidy: bool = True,
    **kw: Any,
) -> Iterator[IO]:
    """Open a file for writing that appears under its name only once it is complete and on the disk.

    Parameters
    ----------
    path
        The file to write; its folder must exist. Where it is a symbolic link, what it points to is written.
    mode
        "w" for text (UTF-8 unless ``encoding`` is given), "wb" for bytes.
    what
        What the file is, for the sentence of an error: "checkpoint".
    through
        Whether a pipe or a character device, such as ``/dev/stdout``, is written to directly. They are refused
        otherwise, and a block device is always.
    tidy
        Whether to remove first what killed processes left in the folder.
    **kw
        Passed on to :func:`open`.

    Yields
    ------
    file object
        Its ``name`` is the temporary path, in the same folder, for a writer that wants a path.

    Raises
    ------
    UserError
        If ``path`` is a pipe or a device that is not written through.
    OSError
        What the system reported, with ``path`` as its file name. After it, as after any other exception in the block
        (KeyboardInterrupt included), the temporary file is gone and an earlier ``path`` is as it was.
    """
    if mode not in ("w", "wt", "wb"):
        raise ValueError(f"mode is {mode!r}; atomic_write knows 'w' and 'wb'")
    if "b" not in mode:
        kw.setdefault("encoding", "utf-8")
    with naming(path, what):
        if is_special(path):
            check_special(path, what, through)
            with _open_special(path, mode, kw) as file:
                yield file
            return
    target = Path(os.path.realpath(path))
    with naming(path, what):
        if target.is_dir():
            raise IsADirectoryError(f"{target} is a folder")
        if tidy:
            remove_leftovers(target.parent)
        temporary, file, lock_fd = _open_temporary(target, mode, kw)
        try:
            with file:
                yield file
            _sync(temporary, os.O_RDWR)
            with suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
            os.replace(temporary, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        finally:
            os.close(lock_fd)
        sync_folder(target.parent)


def _open_temporary(target: Path, mode: str, kw: dict[str, Any]) -> tuple[Path, IO, int]:
    """The path, the open file, and a descriptor that holds its lock until it is closed."""
    while True:
        temporary = new_name(target)
        # Opened, not made by tempfile.mkstemp: the user's umask decides who may read the result.
        file = open(temporary, mode.replace("w", "x"), **kw)  # noqa: SIM115
        lock_fd = os.dup(file.fileno())
        if lock(lock_fd, temporary):
            return temporary, file, lock_fd
        os.close(lock_fd)
        file.close()


@contextmanager
def naming(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Let an OSError of the block name the file that was being written, as the user knows it, and what it is.

    An error that names another file than a temporary one stays as it is.
    """
    try:
        yield
    except OSError as error:
        file = error.filename
        if error.errno is None or not (file is None or is_temporary(file)):
            raise
        reason = f"the {what} could not be written: {os.strerror(error.errno)}"
        raise OSError(error.errno, reason, str(path)) from error


def is_special(path: str | os.PathLike) -> bool:
    """Whether a path names an open stream, a pipe or a device: something that must not be replaced by a file."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ValueError:
        raise UserError(f"{os.fspath(path)!r} is no path: it holds a NUL character") from None
    return _descriptor(path) is not None or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_special(path: str | os.PathLike, what: str, through: bool) -> None:
    """Refuse a pipe or a device that is not to be written to directly.

    Raises
    ------
    UserError
    """
    mode = os.stat(path).st_mode
    if not through or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFREG: "an open stream"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise UserError(f"{path} is {kind}; name a file for the {what}")


def _descriptor(path: str | os.PathLike) -> int | None:
    """The number of the open file that a path such as /dev/stdout means."""
    match = _DESCRIPTOR.fullmatch(os.path.abspath(os.fspath(path)))
    return None if match is None else _STREAMS.get(match[1], int(match[2] or 0))


def _open_special(path: str | os.PathLike, mode: str, kw: dict[str, Any]) -> IO:
    number = _descriptor(path)
    if number is None:
        return open(path, mode, **kw)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # what was printed before comes first
    # Its own name would open a file that stdout goes to from the start, over what is printed there.
    return os.fdopen(os.dup(number), mode, **kw)


def _sync(path: str | os.PathLike, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    with suppress(OSError):  # not every file system can do this, and the files themselves are safe
        _sync(folder, os.O_RDONLY)


def sync_tree(folder: Path) -> None:
    """Bring every file under a folder, and their names, to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            _sync(os.path.join(root, name), os.O_RDWR)
        sync_folder(Path(root))


def make_folder(path: str | os.PathLike, what: str) -> Path:
    """Make a folder, and those above it, unless it is there.

    Raises
    ------
    UserError
        If something else has its name, or the system does not allow it; ``what`` says what it was for.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{folder} is no folder; name one for the {what}") from None
    except OSError as error:
        raise UserError(f"{folder}, the folder for the {what}, cannot be made: {error.strerror}") from None
    return folder


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
    with open(Path(folder) / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def write_json(path: str | os.PathLike, content: Any, what: str = "result", through: bool = True) -> None:
    """Write content as JSON, whole or not at all; parameters and errors are those of :func:`atomic_write`."""
    with atomic_write(path, what=what, through=through) as file:
        file.write(json.dumps(content, indent=1) + "\n")


def versioned_content(kind: str, version: int, content: Mapping[str, Any]) -> dict[str, Any]:
    """What a JSON file of this package holds: ``format`` and ``format_version`` first, then the rest."""
    return {"format": kind, "format_version": version, **content}


def write_versioned(
    path: str | os.PathLike,
    what: str,
    kind: str,
    version: int,
    content: Mapping[str, Any],
    indent: int | None = 1,
    end: str = "",
    through: bool = False,
) -> None:
    """Write a JSON file that :func:`recbole_cocorr.base.readers.versioned` reads again, whole or not at all.

    Parameters
    ----------
    path, what, through
        As for :func:`atomic_write`.
    kind : str
        The value of ``format``.
    version : int
    content : mapping
        All but ``format`` and ``format_version``.
    indent : int, optional
        None for one line.
    end : str
        What follows the last bracket.
    """
    with atomic_write(path, what=what, through=through) as file:
        json.dump(versioned_content(kind, version, content), file, indent=indent)
        file.write(end)
