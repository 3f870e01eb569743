"""Which file ``latest`` means, wherever a checkpoint is named."""

import os
from pathlib import Path

from recbole_cocorr.base.errors import UserError

LATEST = "latest"
MODEL, TRAINING = ".safetensors", ".training.safetensors"
FOLDER = "saved"  # where training writes, unless checkpoint_dir says otherwise


def checkpoint_file(name: str | os.PathLike, ending: str = MODEL, folder: str | os.PathLike = FOLDER) -> Path:
    """The path of a checkpoint.

    Parameters
    ----------
    name : str or os.PathLike
        A path; or ``latest``, the newest checkpoint in ``folder``; or ``FOLDER/latest``, the newest in that folder. A
        file of that path is meant itself.
    ending : str
        ``MODEL``, or ``TRAINING`` for the state that a training is resumed from.
    folder : str or os.PathLike

    Raises
    ------
    UserError
        If ``latest`` is asked for and the folder holds no checkpoint.
    """
    text = os.fspath(name)
    path = Path(text)
    if path.name != LATEST or (text != LATEST and path.is_file()):
        return path
    folder = path.parent if text != LATEST else Path(folder)
    files = [f for f in folder.glob(f"*{ending}") if f.is_file() and not f.name.startswith(".")]
    if ending == MODEL:
        files = [f for f in files if not f.name.endswith(TRAINING)]
    if not files:
        raise UserError(
            f"there is no checkpoint in {folder}{os.sep}, so none is the latest; train a model first, or name the file"
        )
    return max(files, key=lambda f: (f.stat().st_mtime_ns, f.name))
