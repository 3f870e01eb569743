"""Write a trained model as an artifact for a device.

Writes a folder that recbole_cocorr.device.Session runs with numpy and onnxruntime alone, and checks it against the
model: user vectors on made-up histories, and NDCG@10 where the data set is at hand.
"""

import argparse
from pathlib import Path
from typing import Any

from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import POLICIES, PRECISIONS, add_data_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="a .safetensors file that training wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--table", choices=PRECISIONS, default="fp32", help="precision of the item table")
    parser.add_argument("--format", choices=("onnx",), default="onnx", help="of the graphs")
    parser.add_argument("--policy", choices=POLICIES, help="of sessions with more clicks than the model was trained on")
    add_data_path(parser, " (default: where training found it)")
    parser.add_argument("--corrector", type=Path, metavar="DIR", help="what fit-corrector wrote for this checkpoint")
    parser.add_argument(
        "--neighbours",
        type=int,
        metavar="N",
        help="items in a row of the neighbour table, on average; 0: none (default: 20 with --corrector, otherwise 0)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier artifact")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("export")
    from recbole_cocorr.exporter.check import check_artifact
    from recbole_cocorr.exporter.export import export
    from recbole_cocorr.training.data_of import DataNotHere, data_of

    result: dict[str, Any] = {}

    def check(recommender: Any, folder: Path) -> dict[str, Any]:
        try:
            source = str(arguments.checkpoint)
            test = data_of(recommender.config, recommender.vocabulary.items, source, arguments.data_path).test
        except DataNotHere:
            test = None
        _, result["check"] = check_artifact(recommender.model, folder, test)
        return result["check"]

    manifest = export(
        arguments.checkpoint,
        arguments.out,
        arguments.table,
        arguments.policy,
        arguments.overwrite,
        arguments.corrector,
        check,
        arguments.neighbours,
        arguments.data_path,
    )
    graphs = manifest.graph_bytes()
    tables = sum(e.bytes for n, e in manifest.arrays.items() if n.split("_")[0] in ("item", "target"))
    neighbours = sum(e.bytes for n, e in manifest.arrays.items() if n.startswith("neighbour_"))
    rest = sum(e.bytes for e in manifest.files().values()) - graphs - tables - neighbours
    print(f"{arguments.out}: {manifest.model['name']}, {manifest.items - 1} items, table {manifest.table}")
    print(f"bytes: graphs {graphs:,}, item table {tables:,}, vocabulary and the rest {rest:,}")
    print(check_text(result["check"], manifest.table))
    if manifest.neighbours is not None:
        print(neighbours_text(manifest.neighbours, manifest.check["neighbours"], neighbours))
    elif arguments.corrector is not None and arguments.neighbours is None:
        print("no neighbour table: it takes an item-item corrector and the data set (--data_path=FOLDER)")
    return 0


def neighbours_text(described: dict[str, Any], validation: dict[str, dict[str, float]], size: int) -> str:
    """What is known of a neighbour table, for people."""
    trust = f"trust {described['base']:.3f} {described['per_log_click']:+.3f} ln(clicks)"
    lines = [f"neighbour table: {described['count']} items for each on average, {size:,} bytes; {trust}"]
    for name in ("ndcg@10", "hit@10"):
        if name in validation["none"]:
            none, own = (validation[which][name] for which in ("none", "own"))
            lines.append(f"  validation {name}: {none:.4f} without the table, {own:.4f} with it")
    return "\n".join(lines)


def check_text(check: dict[str, Any], table: str) -> str:
    """The result of the check, for people."""
    lines = [f"against PyTorch, {check['histories']} made-up histories: largest error {check['max_error']:.1e}"]
    if "max_error_corrected" in check:
        lines[0] += f", corrected {check['max_error_corrected']:.1e}"
    if "max_error_native" in check:
        lines[0] += f", native {check['max_error_native']:.1e}"
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
        for precision in PRECISIONS:
            value = ndcg[precision + suffix]
            mark = ""
            if precision == table:
                mark = f" (standard error {ndcg['change' + suffix]['standard_error']:.5f})  <- written"
            lines.append(f"    {precision}  {value:.5f}  change {value - ndcg['torch' + suffix]:+.5f}{mark}")
    return "\n".join(lines)
