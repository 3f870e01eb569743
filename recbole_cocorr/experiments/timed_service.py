"""The correction server as ``delay`` measures it: each answer says when its request came and when it was ready.

``python -m recbole_cocorr.experiments.timed_service CHECKPOINT`` prints its port and runs until it is terminated.
Times are of the machine's monotonic clock, which all its processes share.
"""

import sys
import time

import grpc

from recbole_cocorr.service.server.server import run, serve
from recbole_cocorr.service.server.service import Corrections
from recbole_cocorr.service.server.settings import ServeSettings

CAME, READY = "came-ns", "ready-ns"


class TimedCorrections(Corrections):
    """The service, with two times in the trailing metadata."""

    async def call(self, name: str, raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Answer an RPC, and say when."""
        came = time.monotonic_ns()
        reply = await super().call(name, raw, context)
        context.set_trailing_metadata(((CAME, str(came)), (READY, str(time.monotonic_ns()))))
        return reply


if __name__ == "__main__":
    settings = ServeSettings(sys.argv[1], "127.0.0.1:0")
    run(serve(settings, lambda server: print(server.port, flush=True), TimedCorrections))
