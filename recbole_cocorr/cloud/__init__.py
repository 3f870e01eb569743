"""Device and cloud together: the correction service, and the client that a device asks it with.

Names are looked up when they are asked for: the client needs numpy, grpcio and protobuf, the service torch as well.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "Answer": "client",
    "Client": "client",
    "CorrectedRanking": "session",
    "CorrectedSession": "session",
}

__all__ = ["Answer", "Client", "CorrectedRanking", "CorrectedSession"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
