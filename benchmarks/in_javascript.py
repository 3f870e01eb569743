"""CoCorrRec in JavaScript: the C library in WebAssembly beside ONNX Runtime Web, in node; and what a page has to fetch.

    npm pack onnxruntime-web@1.30.0 && tar xzf onnxruntime-web-1.30.0.tgz
    python benchmarks/in_javascript.py --runtime package/dist

Needs node. An untrained CoCorrRec, d = 64, H = 4, K = L = 10, an int8 table.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from recbole_cocorr.demo.folder import web_folder
from recbole_cocorr.demo.site import site_of
from recbole_cocorr.experiments.device_bench.bench import _put_neighbours, _untrained, _write


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--neighbours", type=int, default=0, help="of the neighbour table (default: no table)")
    parser.add_argument("--runtime", type=Path, required=True, help="folder dist of onnxruntime-web")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        artifact = _write(work, "CoCorrRec", _untrained("CoCorrRec", arguments.items, 10), "int8")
        _put_neighbours(artifact, arguments.neighbours)
        print_bytes(artifact, arguments.runtime)
        print_times(artifact, arguments.runtime)


def print_bytes(artifact: Path, runtime: Path) -> None:
    """Bytes of the page, the artifact's included."""
    site = site_of(artifact, runtime)
    sizes = {a: len(c) if isinstance(c, bytes) else c.stat().st_size for a, c in site.items()}
    unused = ("token_index", "click.onnx", "slot.onnx", "targets.onnx")  # by the page
    by_graphs = ("/runtime/", "onnx_runtime.js", ".onnx", "/artifact/weights")
    onnx = {a for a in sizes if not any(part in a for part in (*unused, "cocorr.wasm"))}
    native = {a for a in sizes if not any(part in a for part in (*unused, *by_graphs))}
    for name, addresses in (("native", native), ("onnx", onnx)):
        print(f"{sum(sizes[a] for a in addresses):>12,} bytes, {name}")


def print_times(artifact: Path, runtime: Path) -> None:
    """Microseconds of both, and their ratio."""
    script = Path(__file__).with_suffix(".mjs")
    command = ["node", str(script), (web_folder() / "js").as_uri(), artifact.as_uri(), runtime.absolute().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    times = json.loads(done.stdout)
    for what in ("click carry", "click window", "rankAll carry"):
        native, onnx = times[f"{what} native"], times[f"{what} onnx"]
        shown = [f"{q[1]:.1f} ({q[0]:.1f} to {q[2]:.1f})" for q in (native, onnx)]
        print(f"{what:<14} native {shown[0]:<28} onnx {shown[1]:<34} ratio {onnx[1] / native[1]:.1f}")


if __name__ == "__main__":
    main()
