"""latest.json: which delta of a folder is the newest; numpy alone."""

import re
from dataclasses import dataclass
from pathlib import Path

from recbole_cocorr.artifact.arrays import digest_of
from recbole_cocorr.artifact.delta import MOST_BYTES, MOST_VERSION, Delta
from recbole_cocorr.base.files import write_versioned
from recbole_cocorr.base.readers import parse_json, read_bytes, versioned

LATEST = "latest.json"
FORMAT, FORMAT_VERSION = "recbole_cocorr.latest_delta", 1
MOST_TEXT = 1 << 12
_HEX = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Latest:
    """The contents of latest.json.

    Attributes
    ----------
    version : int
    series, base : str
        As the delta has them.
    bytes : int
    blake2b : str
        Of the whole file, 16 bytes, in hexadecimal.
    """

    version: int
    series: str
    base: str
    bytes: int
    blake2b: str

    @property
    def file(self) -> str:
        """The name of the delta, beside latest.json."""
        return delta_file(self.version)


def delta_file(version: int) -> str:
    """The name of a delta; a file of this name never changes."""
    return f"delta-{version}.bin"


def write_latest(folder: Path, delta: Delta, raw: bytes) -> None:
    """Write latest.json for a delta of these bytes."""
    content = {"version": delta.version, "series": delta.series, "base": delta.base, "file": delta_file(delta.version)}
    content |= {"bytes": len(raw), "blake2b": digest_of(raw)}
    write_versioned(folder / LATEST, "name of the newest delta", FORMAT, FORMAT_VERSION, content, end="\n")


def read_latest(path: Path) -> Latest:
    """Read the file of a folder; errors are those of :func:`parse_latest`."""
    return parse_latest(read_bytes(path, "name of the newest delta", MOST_TEXT), str(path))


def parse_latest(raw: bytes, source: str) -> Latest:
    """Read the bytes of latest.json; ``source`` names them in errors.

    Raises
    ------
    UserError
        If they are something else, of another version, or hold what cannot be.
    """
    head = versioned(parse_json(raw, source), source, FORMAT, "name of the newest delta", FORMAT_VERSION)
    version = head.whole("version", 1, MOST_VERSION)
    head.text("file", (delta_file(version),))
    for key in ("series", "base", "blake2b"):
        if not _HEX.fullmatch(head.text(key)):
            raise head.refuse(key, "32 digits in hexadecimal")
    return Latest(
        version, head.text("series"), head.text("base"), head.whole("bytes", 1, MOST_BYTES), head.text("blake2b")
    )
