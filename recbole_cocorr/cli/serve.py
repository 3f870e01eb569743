"""Answer devices with corrections and item-item scores, over gRPC.

Serves the correction network of a CoCorrRec, the scores of a corrector, or both. Each setting is a flag, or an
environment variable RECBOLE_COCORR_SERVE_<NAME>, or a line of a yaml file (--config); the first of these that has it
counts. SIGHUP takes new files over, SIGTERM ends after what was taken in is answered.
"""

import argparse
import os
from typing import Any

from recbole_cocorr.base.extras import require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    from recbole_cocorr.service.server.settings import add_flags

    parser.add_argument("--config", metavar="FILE", help="a yaml file of settings")
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines are no JSON; before grpc is imported
    require("cloud")

    from recbole_cocorr.service.server.logs import set_up
    from recbole_cocorr.service.server.server import run as run_server
    from recbole_cocorr.service.server.server import serve
    from recbole_cocorr.service.server.settings import gather

    settings = gather(vars(arguments), arguments.config)
    set_up(settings.log_level)
    run_server(serve(settings, _say_ports))
    return 0


def _say_ports(server: Any) -> None:
    print(f"serving on port {server.port}", flush=True)
    if server.http_port:
        print(f"http on port {server.http_port}", flush=True)
    if server.metrics_port:
        print(f"metrics on port {server.metrics_port}", flush=True)
