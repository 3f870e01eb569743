"""Safetensors files: their texts and tensors, or one sentence. Needs torch only where torch's tensors are asked for."""

import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from recbole_cocorr.base.errors import UserError


def read_tensors(path: str | os.PathLike, what: str, framework: str = "pt") -> tuple[dict[str, str], dict[str, Any]]:
    """The metadata and the tensors of a safetensors file, which are not trusted yet.

    Parameters
    ----------
    path : str or os.PathLike
    what : str
        What the file is, for errors: "checkpoint".
    framework : {"pt", "np"}
        Whether the tensors are torch's or numpy's.

    Raises
    ------
    UserError
        If the file is missing, is no regular file, or is no whole safetensors file.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder; name the .safetensors file in it")
        if not path.exists():
            raise UserError(f"there is no {what} {path}")
        if not path.is_file():
            raise UserError(f"{path} is no regular file; a {what} is one")
        with safe_open(path, framework=framework) as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # ValueError: a NUL in the path; TypeError and AttributeError: a type of numbers that numpy does not have.
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}){_hint(path)}") from None


def _hint(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            start = file.read(2)
    except (OSError, ValueError):
        return ""
    if start in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"):
        return "; it looks like a pickled .pth file of RecBole or torch, which is not read for safety"
    return ""
