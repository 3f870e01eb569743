"""Many devices against a real server, with faults.

Device sessions in processes of their own replay the checkpoint's test users against a server process, which is
killed, frozen, flooded, and replaced by one that lies. Every list is compared with the single-process model's. The
exit status is 1 if one is wrong or lost.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.arguments import count, not_negative, output_file, positive
from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import add_data_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="a CoCorrRec with its correction network; with --corrector any"
    )
    parser.add_argument("--corrector", type=Path, metavar="DIR", help="of fit-corrector: devices ask for scores too")
    add_data_path(parser, " of the checkpoint")
    parser.add_argument("--lists", type=count, default=10_000, help="rankings, at least (default: 10000)")
    parser.add_argument("--devices", type=count, default=4, help="processes (default: 4)")
    parser.add_argument("--deadline_ms", type=not_negative, default=20.0, help="of a ranking (default: 20)")
    parser.add_argument("--seconds", type=positive, default=4.0, help="that a fault lasts (default: 4)")
    parser.add_argument("--users", type=count, default=2000, help="test users that are replayed (default: 2000)")
    parser.add_argument("--out", type=output_file, metavar="FILE", help="write the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("cloud")
    require("export")
    from recbole_cocorr.experiments.simulate.measure import measure

    a = arguments
    simulation = measure(
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
    print(simulation.text())
    if a.out:
        simulation.save(a.out)
    return 0 if simulation.right else 1
