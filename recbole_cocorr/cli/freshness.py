"""Freeze the device's model at a time and measure what the cloud's item-item scores recover later.

The device's model is trained on the interactions before a time; each later one is ranked in the order of time, with
its user's clicks before it: without a correction, with item-item scores learned before that time too, and with scores
that go on learning up to the start of each slice of time.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from recbole_cocorr.base.files import exclusive, make_folder
from recbole_cocorr.base.together import write_files
from recbole_cocorr.cli._flags import add_corrector_flags, corrector_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.epilog = "Further settings of the training: --key=value, as for run."
    parser.allow_abbrev = False
    parser.set_defaults(takes_settings=True)
    parser.add_argument("--dataset", required=True, help="a name in dataset_configs/, or of a folder in --data_path")
    parser.add_argument(
        "--model", default="CoCorrRec (w/o GCN)", help="the device's: a label of properties/benchmark.yaml or a model"
    )
    parser.add_argument("--freeze", type=float, default=0.8, help="quantile of the interactions' times (default: 0.8)")
    parser.add_argument("--slices", type=int, default=5, help="parts of the time after it (default: 5)")
    parser.add_argument("--seeds", default="2020", help="separated by commas (default: 2020)")
    parser.add_argument(
        "--retrain", action="store_true", help="also train the device's model anew at the start of each slice"
    )
    parser.add_argument("--deltas", action="store_true", help="also rank with a delta every day, and nothing uploaded")
    add_corrector_flags(parser)
    parser.add_argument("--out", default="results/freshness", metavar="DIR", help="(default: results/freshness)")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("report")
    from recbole_cocorr.correctors.settings import corrector_settings
    from recbole_cocorr.experiments.entries import find_entries
    from recbole_cocorr.experiments.freshness.later import Request
    from recbole_cocorr.experiments.freshness.measure import measure
    from recbole_cocorr.experiments.runs.plan import numbers
    from recbole_cocorr.report.freshness import picture_of, tables_of
    from recbole_cocorr.report.plot_style import save
    from recbole_cocorr.report.table_formats import markdown
    from recbole_cocorr.training.config import parse_overrides

    if not 0 < arguments.freeze < 1:
        raise UserError(f"--freeze is {arguments.freeze:g}; it must be between 0 and 1")
    if arguments.slices < 1:
        raise UserError(f"--slices is {arguments.slices}; it must be at least 1")
    (entry,) = find_entries([arguments.model])
    corrector, settings = corrector_settings(corrector_flags(arguments)), parse_overrides(arguments.settings)
    for key in ("protocol", "seed"):
        if key in settings:
            raise UserError(f"freshness has the paper's protocol and --seeds; leave --{key} out")
    if "resume" in settings:
        raise UserError("freshness begins every training anew; leave --resume out")
    seeds = numbers(arguments.seeds, "--seeds", int, [])
    out = Path(arguments.out)
    requests = [
        Request(
            entry,
            arguments.dataset,
            arguments.freeze,
            arguments.slices,
            seed,
            corrector,
            arguments.retrain,
            settings,
            arguments.deltas,
        )
        for seed in seeds
    ]
    with exclusive(make_folder(out, "result")) as alone:
        if not alone:
            raise UserError(f"another freshness is running in {out}; wait for it, or name another --out")
        result = measure(requests, out / "models")
        figure = picture_of(result).figure
        tables = [markdown(table) for table in tables_of(result)]
        files: dict[str, str | bytes] = {
            result.FILE: result.json_text(),
            "freshness.md": "\n".join(tables),
            "freshness.png": save(figure, "png"),
            "freshness.svg": save(figure, "svg"),
        }
        write_files(out, "result of freshness", files)
    print("\n".join(tables[:2]))
    print(result.text())
    print(f"written: {', '.join(str(out / name) for name in files)}")
    return 0
