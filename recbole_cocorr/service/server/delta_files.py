"""The deltas of a folder over HTTP, from memory: what a CDN would serve, with ETag."""

from dataclasses import dataclass
from pathlib import Path

from recbole_cocorr.artifact.arrays import digest_of
from recbole_cocorr.artifact.delta import MOST_BYTES, parse_delta
from recbole_cocorr.artifact.latest import LATEST, MOST_TEXT, delta_file, parse_latest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import read_bytes

PATH = "/deltas/"
# What changes is asked for again each time, what does not is kept for a year.
_AGAIN, _FOR_EVER = "no-cache", "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Served:
    """One file in memory.

    Attributes
    ----------
    content : bytes
    etag : str
        With its quotation marks.
    caching : str
        ``Cache-Control``.
    kind : str
        ``Content-Type``.
    """

    content: bytes
    etag: str
    caching: str
    kind: str


def load_deltas(folder: str) -> dict[str, Served]:
    """latest.json, the delta that it names and the one before it, for who read an older latest.json; by name.

    Raises
    ------
    UserError
        If one of them is missing, but for the one before, or damaged.
    """
    place = Path(folder)
    raw = read_bytes(place / LATEST, "name of the newest delta", MOST_TEXT)
    latest = parse_latest(raw, str(place / LATEST))
    served = {LATEST: Served(raw, f'"{digest_of(raw)}"', _AGAIN, "application/json")}
    for version in (latest.version, latest.version - 1):
        file = place / delta_file(version)
        if version != latest.version and not file.is_file():
            continue
        content = read_bytes(file, "delta", MOST_BYTES)
        digest = digest_of(content)
        if version == latest.version and digest != latest.blake2b:
            raise UserError(f"{file} is not the delta that {LATEST} names")
        parse_delta(content, str(file))
        served[file.name] = Served(content, f'"{digest}"', _FOR_EVER, "application/octet-stream")
    return served


def is_known(served: Served, if_none_match: str | None) -> bool:
    """Whether a client's copies (``If-None-Match``) have the file."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return "*" in tags or served.etag in tags
