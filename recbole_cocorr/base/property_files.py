"""Where property files lie, and which known name a misspelt one means."""

import difflib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from recbole_cocorr.base.extras import require
from recbole_cocorr.base.yaml_reader import read_yaml


def property_file(kind: str, name: str) -> Path | None:
    """Find ``properties/<kind>/<name>.yaml``: the working directory's first, then the packaged one.

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
    if Path(name).name != name:
        return None  # a path, not a name
    relative = Path("dataset_configs") if kind == "dataset" else Path("properties") / kind
    package = Path(__file__).resolve().parents[1]
    # In a wheel the two folders lie inside the package, in a checkout beside it.
    for root in (Path.cwd(), package, package.parent):
        candidate = root / relative / f"{name}.yaml"
        if candidate.is_file():
            return candidate
    return None


def configuration_file(name: str) -> Path:
    """The file that ``--config_files`` means: a path, or else the name of a file in ``properties/model/``.

    Parameters
    ----------
    name : str
        For example ``mine.yaml`` or ``CoCorrRec-paper``.
    """
    path = Path(name)
    named = None if path.suffix or path.is_file() else property_file("model", name)
    return named or path


def recbole_properties() -> Path:
    """Folder of RecBole's own property files."""
    require("train")
    return Path(importlib.util.find_spec("recbole").origin).resolve().parent / "properties"


@cache
def keys_of(path: Path) -> frozenset[str]:
    """The keys that a property file sets."""
    return frozenset(read_yaml(path, "configuration file"))


def known_names(kind: str) -> list[str]:
    """Names of the protocols or datasets for which there is a property file."""
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
