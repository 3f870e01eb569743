"""How many processors this process may use: not how many the machine has."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def allowed_cpus(root: str | os.PathLike = "/") -> int:
    """The processors that the affinity and the cgroup's quota allow this process, rounded down; at least 1.

    A container with a limit of half a processor still sees all of the machine's, and as many threads as the machine
    has then wait for each other.

    Parameters
    ----------
    root : path
        Root of the file system that holds ``proc/self/cgroup`` and ``sys/fs/cgroup``.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([count, *_quotas(Path(root))])))


def _quotas(root: Path) -> Iterator[float]:
    """Processors that each cgroup allows, of the process's own up to the highest that can be seen."""
    groups = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for mount in (groups, groups / "unified"):  # version 2, alone or beside version 1
                for folder in _upwards(mount, path):
                    yield from _quota(_text(folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for mount in dict.fromkeys((groups / controllers, groups / "cpu")):
                for folder in _upwards(mount, path):
                    yield from _quota([_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")])


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    # In a container the path may be the host's, which is not there; the container's own group is then the mount itself.
    names = [name for name in PurePosixPath(path).parts if name not in ("/", "..")]
    for length in range(len(names), -1, -1):
        yield mount.joinpath(*names[:length])


def _quota(words: list[str]) -> Iterator[float]:
    """A quota and a period in microseconds; nothing for "max", -1 and files that are not there."""
    if len(words) == 2 and all(word.isascii() and word.isdigit() and int(word) for word in words):
        yield int(words[0]) / int(words[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
