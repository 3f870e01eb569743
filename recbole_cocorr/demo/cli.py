"""``python -m recbole_cocorr demo``."""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to ``python -m recbole_cocorr``."""
    parser = commands.add_parser(
        "demo",
        help="click through films in a browser, the model running in the page",
        description="Serves a page on loopback that runs an artifact with onnxruntime-web and ranks anew after every "
        "click. Without --checkpoint and --artifact it trains CoCorrRec on ml-100k for a few epochs (a minute or two) "
        "the first time, and uses what it finds in --out from then on.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--checkpoint", type=Path, metavar="FILE", help="a trained model to export and show")
    which.add_argument("--artifact", type=Path, metavar="DIR", help="what `export` wrote, shown as it is")
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="keeps what is made: ./demo")
    parser.add_argument("--epochs", type=int, default=3, help="of the training (default: 3)")
    parser.add_argument("--data_path", metavar="FOLDER", help="holds NAME/NAME.item, the titles of the items")
    parser.add_argument("--runtime", type=Path, metavar="DIR", help="folder dist of the npm package onnxruntime-web")
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1; 0 takes a free one (default: 8000)")
    parser.add_argument("--no_browser", action="store_true", help="print the address and open nothing")
    parser.set_defaults(func=run_demo)


def run_demo(arguments: argparse.Namespace) -> int:
    """Carry ``demo`` out; ends with Ctrl-C."""
    from recbole_cocorr.demo.prepare import find_artifact
    from recbole_cocorr.demo.runtime import find_runtime
    from recbole_cocorr.demo.server import bind
    from recbole_cocorr.demo.site import site_of

    # What can fail at once comes before a training that takes a minute.
    server = bind(arguments.port)
    try:
        runtime = find_runtime(arguments.out, arguments.runtime)
        artifact = find_artifact(arguments.out, arguments.checkpoint, arguments.artifact, arguments.epochs)
        server.site = site_of(artifact, runtime, arguments.data_path)
        print(f"{server.address}  (Ctrl-C ends)", flush=True)
        if not arguments.no_browser:
            _open_browser(server.address)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    finally:
        server.server_close()
    return 0


def _open_browser(address: str) -> None:
    """In a thread, because a browser in the terminal does not return."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
