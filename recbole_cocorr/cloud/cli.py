"""``python -m recbole_cocorr serve``."""

import argparse
from importlib import import_module
from typing import Any

from recbole_cocorr.cloud.settings import add_flags
from recbole_cocorr.errors import UserError


def add_parser(commands: Any) -> None:
    """Add the commands to ``python -m recbole_cocorr``."""
    _add_serve(commands)


def need_cloud() -> None:
    """Say which packages are missing, if any are.

    Raises
    ------
    UserError
        If the extra ``cloud`` is not installed.
    """
    for name in ("grpc", "google.protobuf", "grpc_health.v1", "grpc_reflection.v1alpha", "prometheus_client"):
        try:
            import_module(name)
        except ImportError:
            raise UserError(f"{name} is not installed; install recbole_cocorr[cloud]") from None


def _add_serve(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="answer devices' hidden states with corrections, over gRPC",
        description="Serves the correction network of a CoCorrRec. Each setting is a flag, or an environment variable "
        "RECBOLE_COCORR_SERVE_<NAME>, or a line of a yaml file (--config); the first of these that has it counts. "
        "SIGHUP takes a new checkpoint over, SIGTERM ends after what was taken in is answered.",
    )
    parser.add_argument("--config", metavar="FILE", help="a yaml file of settings")
    add_flags(parser)
    parser.set_defaults(func=run_serve)


def run_serve(arguments: argparse.Namespace) -> int:
    """Carry ``serve`` out."""
    need_cloud()
    import asyncio

    from recbole_cocorr.cloud.logs import set_up
    from recbole_cocorr.cloud.server import serve
    from recbole_cocorr.cloud.settings import gather

    settings = gather(vars(arguments), arguments.config)
    set_up(settings.log_level)
    asyncio.run(serve(settings, lambda server: print(f"serving on port {server.port}", flush=True)))
    return 0
