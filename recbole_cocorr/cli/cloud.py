"""``python -m recbole_cocorr serve``, ``delay``, ``privacy`` and ``simulate``."""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from recbole_cocorr.base.arguments import count, number, output_binary, output_file
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import write_json
from recbole_cocorr.service.server.settings import add_flags


def add_parser(commands: Any) -> None:
    """Add the commands to ``python -m recbole_cocorr``."""
    _add_serve(commands)
    _add_delay(commands)
    _add_privacy(commands)
    _add_simulate(commands)


def need_cloud() -> None:
    """Say which packages are missing, if any are.

    Raises
    ------
    UserError
        If the extra ``cloud`` is not installed.
    """
    names = ("grpc", "google.protobuf", "grpc_health.v1", "grpc_reflection.v1alpha", "prometheus_client")
    for name in (*names, "uvicorn", "httptools"):
        try:
            import_module(name)
        except ImportError:
            raise UserError(f"{name} is not installed; install recbole_cocorr[cloud]") from None


def _add_serve(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="answer devices with corrections and item-item scores, over gRPC",
        description="Serves the correction network of a CoCorrRec, the scores of a corrector, or both. Each setting is "
        "a flag, or an environment variable RECBOLE_COCORR_SERVE_<NAME>, or a line of a yaml file (--config); the "
        "first of these that has it counts. SIGHUP takes new files over, SIGTERM ends after what was taken in is "
        "answered.",
    )
    parser.add_argument("--config", metavar="FILE", help="a yaml file of settings")
    add_flags(parser)
    parser.set_defaults(func=run_serve)


def run_serve(arguments: argparse.Namespace) -> int:
    """Carry ``serve`` out."""
    need_cloud()
    import asyncio

    from recbole_cocorr.service.server.logs import set_up
    from recbole_cocorr.service.server.server import serve
    from recbole_cocorr.service.server.settings import gather

    settings = gather(vars(arguments), arguments.config)
    set_up(settings.log_level)
    asyncio.run(serve(settings, _say_ports))
    return 0


def _say_ports(server: Any) -> None:
    print(f"serving on port {server.port}", flush=True)
    if server.http_port:
        print(f"http on port {server.http_port}", flush=True)
    if server.metrics_port:
        print(f"metrics on port {server.metrics_port}", flush=True)


def _add_delay(commands: Any) -> None:
    parser = commands.add_parser(
        "delay",
        help="measure a correction's way over a slow network, and the quality that results (Table 5)",
        description="A server, a network shaped by a proxy, and requests one at a time, each a process of its own, "
        "over sockets of this machine. With a checkpoint whose data set is at hand, also NDCG@10 as a function of the "
        "share of corrections that arrive.",
    )
    parser.add_argument("--checkpoint", type=Path, help="a CoCorrRec; a fresh one of the paper's sizes, if left out")
    parser.add_argument("--data_path", metavar="FOLDER", help="holds NAME/NAME.inter of the checkpoint")
    parser.add_argument("--bandwidths", nargs="+", type=_positive, default=[5, 15, 50, 100], metavar="MB/S")
    parser.add_argument("--round_trips", nargs="+", type=_not_negative, default=[0, 10, 50], metavar="MS")
    parser.add_argument("--lengths", nargs="+", type=count, default=[10, 20, 50, 100, 200, 500, 1000], metavar="L")
    parser.add_argument("--requests", type=count, default=100, help="of each cell (default: 100)")
    parser.add_argument("--out", type=output_file, metavar="FILE", help="write everything as JSON")
    parser.add_argument(
        "--picture", type=output_binary, metavar="FILE", help=".svg or .png; needs a checkpoint with its data"
    )
    parser.set_defaults(func=run_delay)


def run_delay(arguments: argparse.Namespace) -> int:
    """Carry ``delay`` out."""
    need_cloud()
    if arguments.picture and arguments.checkpoint is None:
        raise UserError("the picture shows quality; name a checkpoint with --checkpoint")
    from recbole_cocorr.experiments.delay import delays, draw, table_text

    quality = []
    if arguments.checkpoint is not None:
        from recbole_cocorr.experiments.arrival import quality_by_share

        # First: where the data are missing this says so before the long part.
        quality = quality_by_share(arguments.checkpoint, arguments.data_path, [n / 10 for n in range(11)])
    found = delays(
        arguments.checkpoint, arguments.bandwidths, arguments.round_trips, arguments.lengths, arguments.requests
    )
    found["quality"] = quality
    print(table_text(found))
    for row in quality:
        print(f"{row['share']:5.0%} arrive: NDCG@10 {row['ndcg@10']:.5f} (deviation of a draw {row['deviation']:.5f})")
    if arguments.out:
        write_json(arguments.out, found)
    if arguments.picture:
        draw(quality, found["rows"], arguments.picture)
    return 0


def _add_privacy(commands: Any) -> None:
    parser = commands.add_parser(
        "privacy",
        help="measure which clicks can be read from what a device uploads, and what hiding them costs",
        description="For the test users of a checkpoint: the share of uploaded clicks that somebody who holds the item "
        "table recovers, and NDCG@10, for every way to upload; with a corrector, also what requests for scores tell.",
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="a CoCorrRec with its correction network; with --corrector any"
    )
    parser.add_argument("--corrector", type=Path, metavar="DIR", help="of fit-corrector, for the checkpoint")
    parser.add_argument("--data_path", metavar="FOLDER", help="holds NAME/NAME.inter of the checkpoint")
    parser.add_argument("--epsilons", nargs="+", type=_positive, default=[1, 10, 100, 1000], metavar="E")
    parser.add_argument("--delta", type=_probability, default=1e-5, help="of the noise (default: 1e-5)")
    parser.add_argument("--clicks", type=count, default=10_000, help="to recover, drawn at random (default: 10000)")
    parser.add_argument("--seed", type=count, default=1)
    parser.add_argument("--out", type=output_file, metavar="FILE", help="write the result as JSON")
    parser.set_defaults(func=run_privacy)


def run_privacy(arguments: argparse.Namespace) -> int:
    """Carry ``privacy`` out."""
    from recbole_cocorr.experiments.privacy.hidden_states import measure_privacy, table_text

    a, found = arguments, {}
    scores = None
    if a.corrector is not None:
        from recbole_cocorr.experiments.privacy import scores as score_privacy
        from recbole_cocorr.models.catalogue import configured_to_take_corrections
        from recbole_cocorr.training.checkpoint import load_checkpoint

        # First: it is the shorter part, and says where something does not fit.
        scores = score_privacy.measure_score_privacy(a.checkpoint, a.corrector, a.data_path)
        config = load_checkpoint(a.checkpoint).config
    if scores is None or configured_to_take_corrections(config):
        found = measure_privacy(a.checkpoint, a.data_path, a.epsilons, a.delta, a.clicks, a.seed)
        print(table_text(found))
    if scores is not None:
        print(score_privacy.table_text(scores))
        found["scores"] = scores
    if arguments.out:
        write_json(arguments.out, found)
    return 0


def _add_simulate(commands: Any) -> None:
    parser = commands.add_parser(
        "simulate",
        help="many devices against a real server, with faults",
        description="Device sessions in processes of their own replay the checkpoint's test users against a server "
        "process, which is killed, frozen, flooded, and replaced by one that lies. Every list is compared with the "
        "single-process model's. The exit status is 1 if one is wrong or lost.",
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="a CoCorrRec with its correction network; with --corrector any"
    )
    parser.add_argument("--corrector", type=Path, metavar="DIR", help="of fit-corrector: devices ask for scores too")
    parser.add_argument("--data_path", metavar="FOLDER", help="holds NAME/NAME.inter of the checkpoint")
    parser.add_argument("--lists", type=count, default=10_000, help="rankings, at least (default: 10000)")
    parser.add_argument("--devices", type=count, default=4, help="processes (default: 4)")
    parser.add_argument("--deadline_ms", type=_not_negative, default=20.0, help="of a ranking (default: 20)")
    parser.add_argument("--seconds", type=_positive, default=4.0, help="that a fault lasts (default: 4)")
    parser.add_argument("--users", type=count, default=2000, help="test users that are replayed (default: 2000)")
    parser.add_argument("--out", type=output_file, metavar="FILE", help="write the result as JSON")
    parser.set_defaults(func=run_simulate)


def run_simulate(arguments: argparse.Namespace) -> int:
    """Carry ``simulate`` out."""
    need_cloud()
    from recbole_cocorr.experiments.simulate.simulate import simulate, table_text

    a = arguments
    found = simulate(
        a.checkpoint,
        a.data_path,
        a.lists,
        a.devices,
        a.deadline_ms,
        a.seconds,
        a.users,
        corrector=a.corrector,
        say=lambda t: print(t, flush=True),
    )
    print(table_text(found))
    if a.out:
        write_json(a.out, found)
    return 1 if found["total"]["wrong"] or found["total"]["lost"] else 0


def _not_negative(text: str) -> float:
    return number(text, 1e6)


def _probability(text: str) -> float:
    number = _not_negative(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return number


def _positive(text: str) -> float:
    number = _not_negative(text)
    if not number:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
