"""Device and cloud together: the correction service, and the client that a device asks it with.

Names are looked up when they are asked for: the client needs numpy, grpcio and protobuf alone.
"""

import os
from importlib import import_module
from typing import Any

# A forked child must be able to open a connection of its own. It can if both of gRPC's layers prepare for the fork, and
# they do only if this is set before grpc is imported: else the child has none of the threads that wait for answers.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

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
