"""The correction service of the demo: one that runs already, or one of its own, as a child process."""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from recbole_cocorr.artifact.manifest import Manifest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from recbole_cocorr.base.readers import Record, parse_json
from recbole_cocorr.demo.upstream import AwayError, Upstream
from recbole_cocorr.service.server.settings import PREFIX, TOKENS

# Seconds in which it must listen (it loads torch), and in which it must end.
_START, _STOP = 120, 10


class Cloud(NamedTuple):
    """What the page knows of the cloud.

    Attributes
    ----------
    upstream : Upstream or None
        Whom to ask; None where there is nobody.
    methods : tuple of str
        What it can be asked for: "correct", "score".
    reason : str
        Why there is nobody.
    """

    upstream: Upstream | None
    methods: tuple[str, ...] = ()
    reason: str = ""

    def page_settings(self, deadline_ms: float) -> dict[str, Any]:
        """The settings of the page; see :func:`recbole_cocorr.demo.site.site_of`."""
        service = "" if self.upstream is None else self.upstream.url
        return {"reason": self.reason, "service": service, "deadline_ms": deadline_ms, "methods": self.methods}


@contextmanager
def cloud_of(
    manifest: Manifest,
    checkpoint: Path | None,
    corrector: Path | None = None,
    url: str | None = None,
    wanted: bool = True,
) -> Iterator[Cloud]:
    """The service for an artifact; one that is started here ends with the block.

    Parameters
    ----------
    manifest : Manifest
        The artifact that is shown.
    checkpoint : pathlib.Path, optional
        What the artifact was exported from.
    corrector : pathlib.Path, optional
        A folder of ``fit-corrector``, whose trust the artifact has.
    url : str, optional
        Address of a service that runs already.
    wanted : bool
        Whether to start a service where no url is named.

    Raises
    ------
    UserError
        If the url is no address of a service.
    """
    upstream = None if url is None else Upstream(url)
    reads = _read_by(manifest)
    if not reads:
        name = manifest.model["name"]
        yield Cloud(None, reason=f"this {name} has neither a correction network nor trust in item-item scores")
    elif upstream is not None:
        try:
            yield Cloud(upstream, tuple(reads))
        finally:
            upstream.close()
    elif not wanted:
        yield Cloud(None, reason="the demo was started with --no_cloud")
    elif checkpoint is None:
        yield Cloud(None, reason="the demo knows no checkpoint of this artifact; --cloud names a service")
    elif missing := _missing():
        yield Cloud(None, reason=missing)
    else:
        corrects = checkpoint if "correct" in reads else None
        with ExitStack() as stack:
            try:
                upstream = stack.enter_context(started(corrects, corrector if "score" in reads else None))
                fingerprints = _fingerprints_of(upstream)
            except UserError as error:  # the page can do without
                cloud = Cloud(None, reason=str(error))
            else:
                methods = tuple(name for name, fingerprint in reads.items() if fingerprints.get(name) == fingerprint)
                reason = "" if methods else f"{checkpoint} is not what the artifact was exported from"
                cloud = Cloud(upstream if methods else None, methods, reason)
            yield cloud


def _read_by(manifest: Manifest) -> dict[str, str]:
    """What an artifact can use of the cloud, each with the fingerprint of the model or corrector behind it."""
    reads = {} if manifest.correction is None else {"correct": manifest.fingerprint}
    trust = manifest.trust
    # Scores are asked for by rows, so the rows must be those that the corrector knows.
    if trust is not None and trust.get("items") == manifest.catalogue():
        reads["score"] = trust["corrector"]
    return reads


def _missing() -> str:
    try:
        require("cloud")
    except UserError as error:
        return str(error)
    return ""


def _fingerprints_of(upstream: Upstream) -> dict[str, str]:
    """Fingerprints of what a service has."""
    try:
        source = f"{upstream.url}/v1/describe"
        description = Record(parse_json(upstream.ask("GET", "/v1/describe")[2], source), source)
        keys = {"correct": "fingerprint", "score": "corrector"}
        return {name: description.text(key) for name, key in keys.items() if not description.absent(key)}
    except (AwayError, UserError) as error:
        raise UserError(f"the correction service does not say what it serves: {error}") from None


@contextmanager
def started(checkpoint: Path | None, corrector: Path | None = None) -> Iterator[Upstream]:
    """``serve`` in a process of its own, on free ports of loopback; stopped with the block.

    Raises
    ------
    UserError
        If it does not listen within two minutes; the sentence is its own.
    """
    command = [sys.executable, "-m", "recbole_cocorr", "serve", "--log_level=error", "--grace=1"]
    command += ["--listen=127.0.0.1:0", "--http=127.0.0.1:0"]
    paths = {"checkpoint": checkpoint, "corrector": corrector}
    command += [f"--{name}={path}" for name, path in paths.items() if path is not None]
    # Settings that somebody made for a service of another kind are not this one's.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) and k != TOKENS}
    print("starting the correction service", flush=True)
    with tempfile.TemporaryFile() as errors:
        # A session of its own: Ctrl-C in the terminal reaches the demo alone, which then stops it.
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            port = _port_of(process)
            if port is None:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
                raise UserError(f"the correction service did not start: {lines[-1].removeprefix('error: ')}")
            upstream = Upstream(f"http://127.0.0.1:{port}")
            try:
                yield upstream
            finally:
                upstream.close()
        finally:
            _stop(process)


def _port_of(process: subprocess.Popen) -> int | None:
    """The port that it says it listens on for HTTP; None if it ends, or is silent for too long."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        # To its end, so that what it says later does not fill the pipe.
        for line in process.stdout:
            lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, daemon=True).start()
    with suppress(queue.Empty):
        while line := lines.get(timeout=_START):
            if line.startswith(b"http on port "):
                return int(line.split()[-1])
    return None


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP do what Ctrl-C does: raise KeyboardInterrupt, so that all is cleaned up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    # What is ignored, as nohup does with SIGHUP, stays so; elsewhere than in the main thread Python allows no handler.
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) is signal.SIG_DFL}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
