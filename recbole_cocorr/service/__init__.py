"""Device and cloud together: the correction service, and the client that a device asks it with.

Names are looked up when they are asked for: the client needs numpy, grpcio and protobuf alone.
"""

import os
from importlib import import_module
from typing import Any

# gRPC's own handlers of a fork crash the child, in about one of seven, if a thread is inside gRPC. Without them a child
# must not use its parent's connections, and no client here does.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_NAMES = {
    "Answer": "client.client",
    "Client": "client.client",
    "CorrectedRanking": "client.session",
    "CorrectedSession": "client.session",
}

__all__ = ["Answer", "Client", "CorrectedRanking", "CorrectedSession"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
