"""Where property files lie, and which known name a misspelt one means."""

import difflib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from recbole_cocorr.base.yaml_reader import read_yaml


def property_file(kind: str, name: str) -> Path | None:
    """Find ``properties/<kind>/<name>.yaml``: the working directory's, or else the packaged one.

    Parameters
    ----------
    kind : {"", "model", "protocol", "dataset"}
        ``""`` for ``properties/overall.yaml``; ``"dataset"`` looks in ``dataset_configs/``.
    name : str
        The file's name without ``.yaml``.

    Returns
    -------
    pathlib.Path or None
        None if there is no such file.
    """
    files = property_files(kind, name)
    return files[-1] if files else None


def property_files(kind: str, name: str) -> list[Path]:
    """The packaged file and the working directory's, as far as they are there; the second is merged over the first.

    Parameters are those of :func:`property_file`.
    """
    if Path(name).name != name:
        return []  # a path, not a name
    relative = Path("dataset_configs") if kind == "dataset" else Path("properties") / kind
    package = Path(__file__).resolve().parents[1]
    # In a wheel the two folders lie inside the package, in a checkout beside it.
    packaged = next(
        (f for root in (package, package.parent) if (f := root / relative / f"{name}.yaml").is_file()), None
    )
    own = Path.cwd() / relative / f"{name}.yaml"
    files = [packaged] if packaged else []
    if own.is_file() and not (packaged and own.samefile(packaged)):
        files.append(own)
    return files


def is_packaged(path: Path) -> bool:
    """Whether a property file came with the package."""
    package = Path(__file__).resolve().parents[1]
    folders = [root / name for root in (package, package.parent) for name in ("properties", "dataset_configs")]
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)


def read_properties(kind: str, name: str) -> dict[str, Any]:
    """The packaged file with the working directory's merged over it, key by key; of a mapping, entry by entry.

    Raises
    ------
    UserError
        If neither is there, or the second has a key that the first does not.
    """
    files = property_files(kind, name)
    if not files:
        raise UserError(f"there is no properties/{kind + '/' if kind else ''}{name}.yaml; reinstall recbole_cocorr")
    settings = read_yaml(files[0], "configuration file")
    for path in files[1:]:
        own = read_yaml(path, "configuration file")
        check_known(path, own, settings)
        for key, value in own.items():
            both = isinstance(value, dict) and isinstance(settings[key], dict)
            settings[key] = {**settings[key], **value} if both else value
    return settings


def check_known(path: Path, keys: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a key of a property file that nobody knows, and name the nearest that somebody does."""
    known = set(known)
    for key in keys:
        if key not in known:
            raise UserError(f"{path}: no packaged property file knows the key {key!r}; {nearest(key, known)}")


def configuration_files(name: str) -> list[Path]:
    """The files that ``--config_files`` means: a path, or else the name of a file in ``properties/model/``.

    Parameters
    ----------
    name : str
        For example ``mine.yaml`` or ``CoCorrRec-paper``.
    """
    path = Path(name)
    return ([] if path.suffix or path.is_file() else property_files("model", name)) or [path]


def recbole_properties() -> Path:
    """Folder of RecBole's own property files."""
    require("train")
    return Path(importlib.util.find_spec("recbole").origin).resolve().parent / "properties"


@cache
def keys_of(path: Path) -> frozenset[str]:
    """The keys that a property file sets."""
    return frozenset(read_yaml(path, "configuration file"))


def known_names(kind: str) -> list[str]:
    """Names of the models, protocols or datasets for which there is a property file."""
    package = Path(__file__).resolve().parents[1]
    relative = Path("dataset_configs") if kind == "dataset" else Path("properties") / kind
    return sorted({p.stem for root in (Path.cwd(), package, package.parent) for p in (root / relative).glob("*.yaml")})


def closest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known name that looks most like ``name``, capitals aside; None if none looks like it."""
    by_lower = {k.lower(): k for k in sorted(known)}
    match = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[match[0]] if match else None


def nearest(name: Any, known: Iterable[str]) -> str:
    """A half sentence that names the known name closest to ``name``, or lists a few."""
    known = sorted(set(known))
    match = closest(str(name), known)
    if match is not None:
        return f"did you mean {match!r}?"
    return "known are " + ", ".join(known[:12]) + (" ..." if len(known) > 12 else "")
