"""``python -m recbole_cocorr export``, ``device-eval`` and ``device-bench``."""

import argparse
from pathlib import Path
from typing import Any

from recbole_cocorr.base.arguments import count, output_file
from recbole_cocorr.base.files import write_json

_PRECISIONS = ("fp32", "fp16", "int8")
_POLICIES = ("carry", "window")


def add_parser(commands: Any) -> None:
    """Add the commands to ``python -m recbole_cocorr``."""
    _add_export(commands)
    _add_eval(commands)
    _add_bench(commands)


def _add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write a trained model as an artifact for a device",
        description="Writes a folder that recbole_cocorr.device.Session runs with numpy and onnxruntime alone, and "
        "checks it against the model: user vectors on made-up histories, and NDCG@10 where the data set is at hand.",
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="a .safetensors file that training wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--table", choices=_PRECISIONS, default="fp32", help="precision of the item table")
    parser.add_argument("--format", choices=("onnx",), default="onnx", help="of the graphs")
    parser.add_argument(
        "--policy", choices=_POLICIES, help="of sessions with more clicks than the model was trained on"
    )
    parser.add_argument(
        "--data_path", metavar="FOLDER", help="holds NAME/NAME.inter (default: where training found it)"
    )
    parser.add_argument("--corrector", type=Path, metavar="DIR", help="what fit-corrector wrote for this checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier artifact")
    parser.set_defaults(func=run_export)


def run_export(arguments: argparse.Namespace) -> int:
    """Carry ``export`` out."""
    from recbole_cocorr.export.check import check_artifact
    from recbole_cocorr.export.export import export
    from recbole_cocorr.training.data_of import DataNotHere, data_of

    found: dict[str, Any] = {}

    def check(recommender: Any, folder: Path) -> dict[str, Any]:
        try:
            source = str(arguments.checkpoint)
            test = data_of(recommender.config, recommender.vocabulary.items, source, arguments.data_path).test
        except DataNotHere:
            test = None
        _, found["check"] = check_artifact(recommender.model, folder, test)
        return found["check"]

    manifest = export(
        arguments.checkpoint,
        arguments.out,
        arguments.table,
        arguments.policy,
        arguments.overwrite,
        arguments.corrector,
        check,
    )
    graphs = manifest.graph_bytes()
    tables = sum(e.bytes for n, e in manifest.arrays.items() if n.split("_")[0] in ("item", "target"))
    rest = sum(e.bytes for e in manifest.files().values()) - graphs - tables
    print(f"{arguments.out}: {manifest.model['name']}, {manifest.items - 1} items, table {manifest.table}")
    print(f"bytes: graphs {graphs:,}, item table {tables:,}, vocabulary and the rest {rest:,}")
    print(check_text(found["check"], manifest.table))
    return 0


def check_text(check: dict[str, Any], table: str) -> str:
    """What the check found, for people."""
    lines = [f"against PyTorch, {check['histories']} made-up histories: largest error {check['max_error']:.1e}"]
    if "max_error_corrected" in check:
        lines[0] += f", corrected {check['max_error_corrected']:.1e}"
    lines[0] += f" (tolerance {check['tolerance']:.0e})"
    ndcg = check.get("ndcg@10")
    if ndcg is None:
        return "\n".join([*lines, "NDCG@10 was not measured: the data set is not here (--data_path=FOLDER)"])
    lines.append(
        f"NDCG@10 on {ndcg['rows']} test rows (refused: a loss above {ndcg['tolerance']} and "
        f"{ndcg['standard_errors']:g} standard errors together):"
    )
    for suffix, title in (("", "the device alone"), ("_corrected", "corrected")):
        if "torch" + suffix not in ndcg:
            continue
        lines.append(f"  {title}: PyTorch {ndcg['torch' + suffix]:.5f}")
        for precision in _PRECISIONS:
            value = ndcg[precision + suffix]
            mark = ""
            if precision == table:
                mark = f" (standard error {ndcg['change' + suffix]['standard_error']:.5f})  <- written"
            lines.append(f"    {precision}  {value:.5f}  change {value - ndcg['torch' + suffix]:+.5f}{mark}")
    return "\n".join(lines)


def _add_eval(commands: Any) -> None:
    parser = commands.add_parser(
        "device-eval",
        help="compare the two ways to read a history that is longer than the model was trained on",
        description="NDCG@10 of an artifact on the test rows, each user's whole history given: carrying the state on "
        "through all of it, and reading the last L clicks anew.",
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="the checkpoint that the artifact is made of")
    parser.add_argument("--policy", choices=(*_POLICIES, "both"), default="both")
    parser.add_argument("--table", choices=_PRECISIONS, default="fp32")
    parser.add_argument(
        "--data_path", metavar="FOLDER", help="holds NAME/NAME.inter (default: where training found it)"
    )
    parser.add_argument("--phase", choices=("test", "valid"), default="test", help="which rows")
    parser.add_argument("--out", type=output_file, metavar="FILE", help="also write the result as JSON")
    parser.set_defaults(func=run_eval)


def run_eval(arguments: argparse.Namespace) -> int:
    """Carry ``device-eval`` out."""
    from recbole_cocorr.export.evaluate import compare_policies, table_text

    policies = _POLICIES if arguments.policy == "both" else (arguments.policy,)
    result = compare_policies(arguments.checkpoint, policies, arguments.table, arguments.data_path, arguments.phase)
    print(table_text(result))
    if arguments.out:
        write_json(arguments.out, result)
    return 0


def _add_bench(commands: Any) -> None:
    from recbole_cocorr.experiments.device_bench.bench import HISTORIES
    from recbole_cocorr.models.catalogue import exportable

    parser = commands.add_parser(
        "device-bench",
        help="time a click and a ranking on the device, for CoCorrRec and the models it is compared with",
        description="Exports each model and times it in a process of its own that has numpy and onnxruntime alone, "
        "one thread. Without --checkpoint the weights are as training starts with them: the times are the same.",
    )
    parser.add_argument("--models", nargs="+", choices=exportable(), default=exportable(), metavar="MODEL")
    parser.add_argument("--checkpoint", nargs="*", type=Path, default=[], help="trained models to time in their place")
    parser.add_argument("--histories", nargs="+", type=count, default=list(HISTORIES), metavar="CLICKS")
    parser.add_argument("--items", type=count, default=100_000, help="items of the catalogue (default: 100000)")
    parser.add_argument("--candidates", type=count, default=100, help="of a ranking (default: 100)")
    parser.add_argument("--clicks", type=count, default=2000, help="clicks that are timed (default: 2000)")
    parser.add_argument("--table", choices=_PRECISIONS, default="int8")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep the artifacts in this empty folder")
    parser.add_argument("--out", type=output_file, metavar="FILE", help="also write the result as JSON")
    parser.set_defaults(func=run_bench)


def run_bench(arguments: argparse.Namespace) -> int:
    """Carry ``device-bench`` out."""
    from recbole_cocorr.experiments.device_bench.bench import bench, table_text

    result = bench(
        arguments.models,
        arguments.checkpoint,
        arguments.histories,
        arguments.items,
        arguments.candidates,
        arguments.clicks,
        arguments.table,
        arguments.work,
    )
    print(table_text(result))
    if arguments.out:
        write_json(arguments.out, result)
    return 0
