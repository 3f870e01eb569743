"""onnxruntime-web: two files of its npm package, fetched once, where the page's own WebAssembly does not do.

They are neither in the checkout nor in the wheel: the WebAssembly alone is larger than all the rest. ``npm ci``
compares what it fetches with ``web/package-lock.json``.
"""

import os
import shutil
import subprocess
from pathlib import Path

from recbole_cocorr.artifact.manifest import Manifest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import make_folder
from recbole_cocorr.base.leftovers import temporary_folder
from recbole_cocorr.base.readers import Record, read_json
from recbole_cocorr.demo.folder import web_folder

FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
PACKAGE = "onnxruntime-web"
_SECONDS = 600


def pinned_version() -> str:
    """The version of onnxruntime-web that the page was tested with."""
    path = web_folder() / "package-lock.json"
    packages = Record(read_json(path, "lock file of npm"), str(path)).record("packages")
    return packages.record(f"node_modules/{PACKAGE}").text("version")


def runs_without(manifest: Manifest) -> bool:
    """Whether the page reads clicks and ranks without onnxruntime-web; web/js/native.js decides alike."""
    return "native" in manifest.arrays and not any(name.startswith("popular_") for name in manifest.arrays)


def find_runtime(out: Path, folder: Path | None = None) -> Path:
    """Folder with the files of onnxruntime-web.

    Parameters
    ----------
    out : pathlib.Path
        Keeps them; they are fetched with npm if they are not there.
    folder : pathlib.Path, optional
        A folder that has them.

    Raises
    ------
    UserError
        If ``folder`` lacks a file, or npm is missing or fails.
    """
    if folder is not None:
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise UserError(f"{folder} has no {missing[0]}; --runtime names the folder dist of {PACKAGE}")
        return folder
    version = pinned_version()
    cache = out / f"{PACKAGE}-{version}"
    if not all((cache / name).is_file() for name in FILES):
        _fetch(cache, version)
    return cache


def _fetch(cache: Path, version: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"the page runs on {PACKAGE} {version}, which is fetched with npm, and npm is not installed: "
            f"install Node.js, or run `npm pack {PACKAGE}@{version}` elsewhere, unpack it and name its folder dist "
            "with --runtime=DIR"
        )
    print(f"fetching {PACKAGE} {version} with npm, this once", flush=True)
    make_folder(cache, "runtime")
    with temporary_folder(cache) as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(web_folder() / name, folder)
        _npm_ci(npm, str(folder))
        for name in FILES:  # of 140 MB that npm unpacks, 14 are needed
            os.replace(folder / "node_modules" / PACKAGE / "dist" / name, cache / name)


def _npm_ci(npm: str, folder: str) -> None:
    # No package's scripts are run: nothing here needs building.
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"`npm ci` did not fetch {PACKAGE} within {_SECONDS} seconds") from None
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise UserError(f"`npm ci` could not fetch {PACKAGE}: {' / '.join(lines[:3])[:400]}")
