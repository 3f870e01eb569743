"""The trained model on a device: numpy and onnxruntime are all that is needed to run it.

Names are looked up when they are asked for, so that writing an artifact, which needs torch, and running one do not
import each other.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "Session": "session",
    "Ranking": "ranking",
    "Correction": "correction",
    "Evidence": ".artifact.evidence",
    "Upload": "correction",
    "apply_delta": "deltas",
    "fetch_delta": "fetch",
    "update_catalogue": "update",
    "verify": "artifact",
}

__all__ = [
    "Correction",
    "Evidence",
    "Ranking",
    "Session",
    "Upload",
    "apply_delta",
    "fetch_delta",
    "update_catalogue",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_NAMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
