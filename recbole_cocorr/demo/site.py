"""What the page is made of: every address, and the file or the bytes behind it."""

import json
from pathlib import Path
from typing import Any

from recbole_cocorr.artifact.manifest import NAME
from recbole_cocorr.demo.folder import web_folder
from recbole_cocorr.demo.runtime import FILES
from recbole_cocorr.demo.titles import find_items, titles_of
from recbole_cocorr.device.artifact import Artifact, verify

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}


# The settings of the page where there is no cloud.
NO_CLOUD = {"reason": "no correction service is at hand", "service": "", "deadline_ms": 0, "methods": []}


def site_of(
    artifact: Path, runtime: Path | None, data_path: str | None = None, cloud: dict[str, Any] = NO_CLOUD
) -> dict[str, Path | bytes]:
    """All addresses of the site.

    Parameters
    ----------
    artifact : pathlib.Path
        Folder of the device artifact.
    runtime : pathlib.Path or None
        Folder of onnxruntime-web; None where the page does without it.
    data_path : str, optional
        Holds ``NAME/NAME.item``.
    cloud : dict
        What the page knows of the cloud: ``reason`` why there is no service, or "", ``service``, ``deadline_ms`` and
        ``methods``.

    Returns
    -------
    dict of str to pathlib.Path or bytes
        By path of the address. Nothing else is served, so that no address leads out of the site.

    Raises
    ------
    UserError
        If the artifact is damaged.
    """
    verify(artifact)  # the page compares sizes alone
    files = Artifact(artifact)
    tokens = [files.vocabulary.token(row) for row in range(1, files.manifest.items)]
    items = find_items(str(files.manifest.model.get("dataset", "")), data_path)
    site: dict[str, Path | bytes] = {"/titles.json": json.dumps(titles_of(items, tokens)).encode()}
    site["/cloud.json"] = json.dumps(cloud).encode()
    web = web_folder()
    site["/"] = web / "index.html"
    code = sorted(f for f in (web / "js").iterdir() if f.suffix in (".js", ".wasm"))
    for file in ("style.css", "icon.svg", *(f"js/{f.name}" for f in code)):
        site[f"/{file}"] = web / file
    site |= {f"/artifact/{name}": artifact / name for name in (NAME, *files.manifest.files())}
    if runtime is not None:
        site |= {f"/runtime/{name}": runtime / name for name in FILES}
    return site


def content_type(address: str) -> str:
    """The media type of an address."""
    suffix = ".html" if address == "/" else Path(address).suffix
    return _TYPES.get(suffix, "application/octet-stream")
