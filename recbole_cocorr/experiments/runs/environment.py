"""Where and with what a figure was measured."""

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_cocorr import __version__


def versions() -> dict[str, str]:
    """Versions of what computed, and the commit of a checkout ("+" after it: with changes)."""
    import recbole

    numbers = {
        "python": platform.python_version(),
        "recbole_cocorr": __version__,
        "torch": torch.__version__,
        "recbole": recbole.__version__,
        "numpy": np.__version__,
    }
    commit = _commit(Path(__file__).resolve().parents[3])
    return {**numbers, "commit": commit} if commit else numbers


def _commit(folder: Path) -> str | None:
    if not (folder / ".git").exists():
        return None
    try:
        process = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip() or None


def machine() -> dict[str, Any]:
    """Processor, cores, threads used, system and GPU."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def origin(config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a :class:`~recbole_cocorr.experiments.results.base.CheckpointResult` says of itself.

    Parameters
    ----------
    config : mapping of str to any, optional
        The checkpoint's; without one there are versions and the machine alone.
    """
    names = {} if config is None else {n: config.get(n) or "" for n in ("dataset", "protocol", "model")}
    seed = None if config is None else config.get("seed")
    return {**names, "seed": seed, "versions": versions(), "machine": machine()}
