"""Results of several files: all of them are the old ones or all of them are the new ones.

Two ways, by what reads them:

* One file, the index, names the others, which stand under names that change with their contents. The new ones are
  put beside the old ones, then the index is replaced, which is the one step that counts, then the old ones are
  removed: :func:`put_beside`. A reader that finds a file gone reads the index again: :func:`read_by_index`.
* The files have fixed names. All are written into a folder beside them, which is renamed to ``.switch`` once it is
  whole; from there each file is moved to its place. After a kill the next reader or writer of the folder goes on with
  the moving: :func:`finish`. Readers that know nothing of this may see, only after a kill, a part moved.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write, make_folder, naming, sync_folder, sync_tree
from recbole_cocorr.base.leftovers import locked, temporary_folder

SWITCH = ".switch"
_FILES, _FOLDERS = "files", "folders"
Result = TypeVar("Result")


def put_beside(work: Path, target: Path, index: str, is_old: Callable[[str], bool]) -> None:
    """Move the files of a finished folder into another one, the index last, and remove the old ones.

    Parameters
    ----------
    work : pathlib.Path
        On the disk already. Its files are named by their contents.
    target : pathlib.Path
        Locked by the caller.
    index : str
    is_old : callable
        Given a file's name, whether nothing needs it any more.
    """
    for file in sorted(work.iterdir(), key=lambda f: f.name == index):
        if file.name == index:
            sync_folder(target)
        os.replace(file, target / file.name)
    sync_folder(target)
    work.rmdir()
    remove_old(target, is_old)


def remove_old(folder: Path, is_old: Callable[[str], bool]) -> None:
    """Remove the files that nothing needs any more; one that cannot be removed stays."""
    for file in list(folder.iterdir()):
        if is_old(file.name):
            with suppress(OSError):
                file.unlink()


def read_by_index(index: Path, read: Callable[[], Result]) -> Result:
    """Call ``read``, and again where it failed because the index was replaced meanwhile.

    Raises
    ------
    UserError
        What ``read`` raised while the index stayed the same.
    """
    while True:
        before = _stamp(index)
        try:
            return read()
        except UserError:
            if _stamp(index) == before:
                raise


def _stamp(path: Path) -> tuple[int, int, int] | None:
    with suppress(OSError):
        status = os.stat(path)
        return status.st_ino, status.st_mtime_ns, status.st_size
    return None


class Together:
    """Files and folders that appear in a folder at once.

    Parameters
    ----------
    work, folder : pathlib.Path
        Where they are written, and where they appear.
    what : str
    """

    def __init__(self, work: Path, folder: Path, what: str):
        self._work, self._folder, self._what = work, folder, what

    @contextmanager
    def open(self, name: str, mode: str = "w", **kw: Any) -> Iterator[IO]:
        """Open the file that appears as ``name``, which may lie in a folder that is made or kept."""
        path = self._work / _FILES / name
        with naming(self._folder / name, self._what):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, mode, **kw) as file:
                yield file

    def folder(self, name: str) -> Path:
        """Where to make the folder that takes the place of the folder ``name`` as a whole."""
        (self._work / _FOLDERS).mkdir(exist_ok=True)
        return self._work / _FOLDERS / name


@contextmanager
def write_together(folder: Path, what: str, check: Callable[[], None] = lambda: None) -> Iterator[Together]:
    """Write several files of a folder, all of them or nothing.

    Parameters
    ----------
    folder : pathlib.Path
        Must exist.
    what : str
        What the files are, for the sentence of an error: "report".
    check : callable
        Called before the first file is moved, while no other writer can: raises if a file must not be replaced.

    Raises
    ------
    OSError
        What the system reported, with the name of a file or of the folder; everything is as it was then.
    """
    with naming(folder, what), temporary_folder(folder / "new") as work:
        finish(folder)
        yield Together(work, folder, what)
        sync_tree(work)
        with locked(folder):
            _move(folder)  # another writer may have been killed meanwhile
            check()
            os.rename(work, folder / SWITCH)
            sync_folder(folder)
            _move(folder)


def write_files(folder: Path, what: str, files: Mapping[str, str | bytes]) -> list[Path]:
    """Make a folder and write several files in it, all of them or nothing.

    Parameters
    ----------
    folder : pathlib.Path
    what : str
        What they are, for the sentence of an error.
    files : mapping of str to str or bytes
        Contents by name; a name may begin with a folder's.

    Returns
    -------
    list of pathlib.Path
        The files, in the given order.

    Raises
    ------
    OSError
        As :func:`write_together`.
    """
    with write_together(make_folder(folder, what), what) as together:
        for name, content in files.items():
            with together.open(name, "wb") as file:
                file.write(content.encode("utf-8") if isinstance(content, str) else content)
    return [folder / name for name in files]


def finish(folder: Path) -> None:
    """Go on with what a killed writer of this folder had begun to put into its place.

    Raises
    ------
    UserError
        If the folder cannot be written to.
    """
    if not (folder / SWITCH).is_dir():
        return
    try:
        with locked(folder):
            _move(folder)
    except OSError as error:
        raise UserError(
            f"{folder} was left half replaced by a process that was killed, and cannot be completed: {error.strerror}"
        ) from None


def _move(folder: Path) -> None:
    switch = folder / SWITCH
    if not switch.is_dir():
        return
    for root, _, names in os.walk(switch / _FILES):
        for name in names:
            source = Path(root, name)
            target = Path(os.path.realpath(folder / source.relative_to(switch / _FILES)))
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                os.chmod(source, stat.S_IMODE(os.stat(target).st_mode))
            _replace(source, target)
    for source in (switch / _FOLDERS).iterdir() if (switch / _FOLDERS).is_dir() else ():
        target = folder / source.name
        if target.is_dir():
            shutil.rmtree(target)
        os.rename(source, target)
    sync_folder(folder)
    shutil.rmtree(switch)


def _replace(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # The target is a link into another file system.
        with atomic_write(target, "wb") as file, source.open("rb") as content:
            shutil.copyfileobj(content, file)
        source.unlink()
