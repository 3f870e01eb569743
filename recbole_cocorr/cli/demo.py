"""Click through films in a browser, the model running in the page.

Serves a page on loopback that runs an artifact in WebAssembly and ranks anew after every click. Without
--checkpoint and --artifact it trains CoCorrRec on ml-100k for a few epochs (a minute or two) the first time, and uses
what it finds in --out from then on.
"""

import argparse
from contextlib import suppress
from pathlib import Path

from recbole_cocorr.base.arguments import number
from recbole_cocorr.base.extras import require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--checkpoint", type=Path, metavar="FILE", help="a trained model to export and show")
    which.add_argument("--artifact", type=Path, metavar="DIR", help="what `export` wrote, shown as it is")
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="keeps what is made: ./demo")
    parser.add_argument("--epochs", type=int, default=3, help="of the training (default: 3)")
    parser.add_argument("--data_path", metavar="FOLDER", help="holds NAME/NAME.item, the titles, and NAME/NAME.inter")
    parser.add_argument("--runtime", type=Path, metavar="DIR", help="folder dist of the npm package onnxruntime-web")
    cloud = parser.add_mutually_exclusive_group()
    cloud.add_argument("--cloud", metavar="URL", help="of a service that runs (serve --http); else one is started")
    cloud.add_argument("--no_cloud", action="store_true", help="start no correction service")
    parser.add_argument(
        "--deadline_ms", type=_milliseconds, default=50.0, help="that the page waits for the cloud (default: 50)"
    )
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1; 0 takes a free one (default: 8000)")
    parser.add_argument("--no_browser", action="store_true", help="print the address and open nothing")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out; ends with Ctrl-C, SIGTERM or SIGHUP."""
    require("device")
    from recbole_cocorr.artifact.manifest import read_manifest
    from recbole_cocorr.demo.prepare import find_artifact
    from recbole_cocorr.demo.runtime import find_runtime, runs_without
    from recbole_cocorr.demo.server import bind
    from recbole_cocorr.demo.service import cloud_of, ended_by_signals
    from recbole_cocorr.demo.site import site_of
    from recbole_cocorr.demo.upstream import Upstream

    a = arguments
    with ended_by_signals():
        # What can fail at once comes before a training that takes a minute.
        if a.cloud is not None:
            Upstream(a.cloud)
        server = bind(a.port)
        try:
            runtime = None if a.runtime is None else find_runtime(a.out, a.runtime)
            shown = find_artifact(a.out, a.checkpoint, a.artifact, a.epochs, a.data_path)
            manifest = read_manifest(shown.artifact)
            if runtime is None and not runs_without(manifest):
                runtime = find_runtime(a.out)
            with cloud_of(manifest, shown.checkpoint, shown.corrector, a.cloud, not a.no_cloud) as cloud:
                server.cloud = cloud.upstream
                server.site = site_of(shown.artifact, runtime, a.data_path, cloud.page_settings(a.deadline_ms))
                print(f"{server.address}  (Ctrl-C ends)", flush=True)
                if cloud.reason:
                    print(f"without the cloud: {cloud.reason}", flush=True)
                if not a.no_browser:
                    _open_browser(server.address)
                with suppress(KeyboardInterrupt):
                    server.serve_forever()
        finally:
            server.server_close()
    return 0


def _milliseconds(text: str) -> float:
    return number(text, 60_000)


def _open_browser(address: str) -> None:
    """In a thread, because a browser in the terminal does not return."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
