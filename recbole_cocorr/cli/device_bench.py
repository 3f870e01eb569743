"""Time a click and a ranking on the device, for CoCorrRec and the models it is compared with.

Exports each model and times it in a process of its own that has numpy and onnxruntime alone, one thread. Without
--checkpoint the weights are as training starts with them: the times are the same.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.arguments import count, output_file
from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import PRECISIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    from recbole_cocorr.experiments.device_bench.bench import HISTORIES
    from recbole_cocorr.models.catalogue import exportable

    parser.add_argument("--models", nargs="+", choices=exportable(), default=exportable(), metavar="MODEL")
    parser.add_argument("--checkpoint", nargs="*", type=Path, default=[], help="trained models to time in their place")
    parser.add_argument("--histories", nargs="+", type=count, default=list(HISTORIES), metavar="CLICKS")
    parser.add_argument("--items", type=count, default=100_000, help="items of the catalogue (default: 100000)")
    parser.add_argument("--candidates", type=count, default=100, help="of a ranking (default: 100)")
    parser.add_argument("--clicks", type=count, default=2000, help="clicks that are timed (default: 2000)")
    parser.add_argument("--table", choices=PRECISIONS, default="int8")
    parser.add_argument(
        "--neighbours", nargs="+", type=count, default=[], metavar="N", help="also with made-up tables of N neighbours"
    )
    parser.add_argument(
        "--runtime",
        nargs="+",
        choices=("onnx", "native"),
        default=["onnx"],
        help="native: rows of the native library too",
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep the artifacts in this empty folder")
    parser.add_argument("--out", type=output_file, metavar="FILE", help="also write the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("export")
    from recbole_cocorr.experiments.device_bench.bench import measure

    a = arguments
    times = measure(
        a.models,
        a.checkpoint,
        a.histories,
        a.items,
        a.candidates,
        a.clicks,
        a.table,
        a.work,
        a.neighbours,
        a.runtime,
    )
    print(times.text())
    if a.out:
        times.save(a.out)
    return 0
