"""The demo's own correction service: when it is started, and that it ends with the demo."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("grpc_health")
pytest.importorskip("grpc_reflection")
pytest.importorskip("prometheus_client")
pytest.importorskip("httptools")

from recbole_cocorr.artifact.manifest import Manifest, read_manifest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.demo import service
from recbole_cocorr.demo.service import cloud_of, ended_by_signals, started
from recbole_cocorr.demo.upstream import AwayError, Upstream
from tests.conftest import CHECKOUT
from tests.demo.test_cloud_page import folder
from tests.service.fixtures import checkpoint, corrector, item_item, trained

__all__ = ["checkpoint", "corrector", "folder", "item_item", "trained"]


@pytest.fixture
def manifest(folder) -> Manifest:
    return read_manifest(folder)


@pytest.fixture
def starts(monkeypatch):
    """What would be started; nothing is. The fake service has what it is asked for, or ``starts.serves``."""

    class Starts(list):
        serves = None

    made = Starts()

    class Fake:
        def __init__(self, checkpoint, corrector):
            made.append((checkpoint, corrector))

        def __enter__(self):
            made.upstream = Upstream("http://127.0.0.1:1")
            made.upstream.ask = lambda *_: (200, {}, json.dumps(made.serves).encode())
            return made.upstream

        def __exit__(self, *_):
            made.append("ended")

    monkeypatch.setattr(service, "started", Fake)
    return made


def test_what_the_artifact_can_use_is_started_and_ends(manifest, starts):
    both = {"fingerprint": manifest.fingerprint, "corrector": manifest.trust["corrector"]}
    starts.serves = both
    with cloud_of(manifest, Path("a"), Path("b")) as cloud:
        assert cloud.page_settings(50.0) == {
            "reason": "",
            "service": "http://127.0.0.1:1",
            "deadline_ms": 50.0,
            "methods": ("correct", "score"),
        }
    assert starts == [(Path("a"), Path("b")), "ended"]
    starts.serves = {**both, "corrector": "of another time"}
    with cloud_of(manifest, Path("a"), Path("b")) as cloud:
        assert cloud.methods == ("correct",)
    manifest.trust = {**manifest.trust, "items": "another catalogue"}  # as after update_catalogue
    with cloud_of(manifest, Path("a"), Path("b")) as cloud:
        assert (starts[-1], cloud.methods) == ((Path("a"), None), ("correct",))
    starts.serves = {"fingerprint": "of another model"}
    with cloud_of(manifest, Path("a")) as cloud:
        assert cloud.upstream is None
        assert cloud.reason == "a is not what the artifact was exported from"
    starts.serves = []
    with cloud_of(manifest, Path("a")) as cloud:
        assert (cloud.upstream, cloud.methods) == (None, ())
        assert cloud.reason.startswith("the correction service does not say what it serves")
    assert starts[-1] == "ended"


def test_when_none_is_started(manifest, starts, monkeypatch):
    def reason(*args, **more) -> str:
        with cloud_of(*args, **more) as cloud:
            assert (cloud.upstream, cloud.methods) == (None, ())
            return cloud.reason

    assert reason(manifest, Path("a"), wanted=False) == "the demo was started with --no_cloud"
    assert "--cloud names a service" in reason(manifest, None)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "grpc", None)
        assert reason(manifest, Path("a")) == "grpc is not installed; type: pip install 'recbole_cocorr[cloud]'"
    manifest.correction = manifest.trust = None
    assert "neither a correction network nor trust" in reason(manifest, Path("a"))
    assert starts == []


def test_one_that_runs_is_joined_whether_it_is_there_or_not(manifest, starts):
    with cloud_of(manifest, None, url="http://cloud:8080/") as cloud:
        assert (cloud.upstream.url, cloud.methods, cloud.reason) == ("http://cloud:8080", ("correct", "score"), "")
    assert starts == []
    with pytest.raises(UserError, match="it must be http"), cloud_of(manifest, None, url="cloud:8080"):
        pass


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'a log' >&2; echo 'error: nothing is as it should be' >&2; exit 2", "nothing is as it should be"),
        ("exit 1", "it said nothing"),
        ("echo serving on port 1; exec sleep 60", "it said nothing"),
    ],
)
def test_one_that_cannot_start_says_why_and_is_ended(tmp_path, monkeypatch, script, said):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/id\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    if "sleep" in script:
        monkeypatch.setattr(service, "_START", 0.5)
    with pytest.raises(UserError, match=f"^the correction service did not start: {said}$"), started(Path("a")):
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "id").read_text()), 0)


def test_the_page_does_without_one_that_cannot_start(manifest, tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'error: a is no checkpoint' >&2; exit 2\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with cloud_of(manifest, Path("a")) as cloud:
        assert cloud == (None, (), "the correction service did not start: a is no checkpoint")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_starts_it_and_ends_it(folder, checkpoint, corrector, tmp_path, number):
    out = tmp_path / "out"
    shutil.copytree(folder, out / "artifact")
    shutil.copytree(corrector, out / "corrector")
    shutil.copy(checkpoint, out / "checkpoint.safetensors")
    command = [sys.executable, "-m", "recbole_cocorr", "demo", f"--out={out}"]
    command += ["--port=0", "--no_browser", "--deadline_ms=7"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = str(tmp_path)  # without npm
    environment["RECBOLE_COCORR_SERVE_MAX_BATCH"] = "no number"  # of somebody's other service
    pipe = subprocess.PIPE
    # A test run in the background ignores Ctrl-C, and hands that on.
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, preexec_fn=hears) as process:
        try:
            address = next(line for line in process.stdout if line.startswith("http")).split()[0]
            with urllib.request.urlopen(address + "cloud.json", timeout=10) as answer:
                told = json.load(answer)
            assert (told["reason"], told["deadline_ms"], told["methods"]) == ("", 7, ["correct", "score"])
            upstream = Upstream(told["service"])
            assert upstream.ask("GET", "/v1/describe")[0] == 200
            process.send_signal(number)
            assert process.wait(60) == 0
            assert process.stderr.read() == ""
            with pytest.raises(AwayError):
                upstream.ask("GET", "/v1/describe")
        finally:
            process.terminate()


@pytest.fixture
def _default_sigterm():
    """Whatever another test's imports have set: Ray has a handler of its own."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_default_sigterm")
def test_signals_are_as_before_after_the_block():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    with ended_by_signals():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        if before[1] is signal.SIG_DFL:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGHUP)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before
