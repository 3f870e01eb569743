"""What the demo shows: named, found or trained; and the command around it."""

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.artifact.manifest import read_manifest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.settings import corrector_settings
from recbole_cocorr.demo.prepare import find_artifact
from recbole_cocorr.demo.runtime import FILES
from recbole_cocorr.exporter import export as device_export
from recbole_cocorr.training import fit_corrector as fit
from recbole_cocorr.training import run as quick_start
from recbole_cocorr.training.checkpoint import Checkpoint, plain_config, save_checkpoint
from recbole_cocorr.training.data_of import DataNotHere
from tests.conftest import CHECKOUT
from tests.device import TOKENS, make


def save(path: Path, name: str = "GRU4Rec") -> Path:
    recommender = make(name)
    config = plain_config({**recommender.config, "dataset": "ml-100k", "data_path": "nowhere/ml-100k"})
    checkpoint = Checkpoint("model", config, TOKENS, recommender.model.state_dict(), 1, 0, {"ndcg@10": 0.25})
    save_checkpoint(path, checkpoint)
    return path


@pytest.fixture
def trained(monkeypatch):
    """Training, replaced by a made-up checkpoint; the settings it was called with."""
    calls = []

    def run(model, dataset, config_dict, overrides):
        calls.append((model, dataset, config_dict))
        return {"saved_model_file": str(save(Path(config_dict["checkpoint_dir"]) / "made.safetensors"))}

    monkeypatch.setattr(quick_start, "run", run)
    return calls


def test_it_trains_once_and_uses_what_is_there(trained, tmp_path, capsys):
    out = tmp_path / "out"
    made, checkpoint, corrector = find_artifact(out, epochs=2)
    assert (checkpoint, corrector) == (out / "checkpoint.safetensors", None)
    assert read_manifest(made).model["name"] == "GRU4Rec"
    ((model, dataset, settings),) = trained
    assert (model, dataset, settings["epochs"]) == ("CoCorrRec", "ml-100k", 2)
    said = capsys.readouterr().out
    assert "2 epochs: a minute or two, this once" in said
    assert "the page has no item-item scores: the data set 'ml-100k' of" in said and "(nowhere/ml-100k)" in said
    assert sorted(f.name for f in out.iterdir()) == ["artifact", "checkpoint.safetensors"]

    before = (made / "manifest.json").stat().st_mtime_ns
    assert find_artifact(out) == (made, checkpoint, None)
    assert (made / "manifest.json").stat().st_mtime_ns == before
    assert "--checkpoint=FILE replaces it" in capsys.readouterr().out

    (made / "manifest.json").unlink()
    for file in made.iterdir():
        file.unlink()
    assert find_artifact(out).artifact == made, "an export that was interrupted is done again, from the checkpoint"
    assert len(trained) == 1

    mine = save(tmp_path / "mine.safetensors", "SASRec")
    assert find_artifact(out, checkpoint=mine) == (made, mine, None)
    assert read_manifest(made).model["name"] == "SASRec"


def test_the_corrector_is_fitted_and_exported(monkeypatch, tmp_path):
    """Both appear at once: an artifact trusts one corrector."""
    calls = []
    out, mine = tmp_path / "out", save(tmp_path / "mine.safetensors")

    def made(what, folder, *rest):
        assert not (out / folder.name).exists()
        folder.mkdir()
        (folder / what).touch()
        calls.append((what, folder.name, *rest))

    def export(checkpoint, folder, check, corrector, data_path):
        made("manifest.json", folder, checkpoint, corrector and corrector.name, data_path)

    def fit_corrector(checkpoint, folder, *rest):
        if not Path("data/ml-100k/ml-100k.inter").is_file():
            raise DataNotHere("the data are not there")
        made("trust", folder, checkpoint, *rest)

    monkeypatch.setattr(fit, "fit_corrector", fit_corrector)
    monkeypatch.setattr(device_export, "export", export)
    find_artifact(out, mine, data_path="data")
    assert calls == [("manifest.json", "artifact", mine, None, "data")], "the data are not there"
    calls.clear()
    shutil.rmtree(out)
    Path("data/ml-100k").mkdir(parents=True)
    Path("data/ml-100k/ml-100k.inter").touch()
    assert find_artifact(out, mine, data_path="data") == (out / "artifact", mine, out / "corrector")
    fitted, exported = calls
    assert fitted == ("trust", "corrector", mine, corrector_settings({}), "data")
    assert exported == ("manifest.json", "artifact", mine, "corrector", "data")
    assert sorted(str(f.relative_to(out)) for f in out.rglob("*.*")) == ["artifact/manifest.json"]


def test_what_a_killed_demo_had_begun_to_put_into_place_is_finished(tmp_path):
    for name in ("artifact/manifest.json", ".switch/folders/artifact/manifest.json", ".switch/folders/corrector/trust"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".checkpoint.safetensors.0123456789abcdef.tmp").mkdir()
    assert find_artifact(tmp_path).corrector == tmp_path / "corrector"
    assert (tmp_path / "artifact" / "manifest.json").read_text().startswith(".switch")
    assert not (tmp_path / ".switch").exists()


def test_whose_artifact_it_is_is_known_of_the_trained_alone(tmp_path):
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "manifest.json").touch()
    assert find_artifact(tmp_path) == (tmp_path / "artifact", None, None)
    (tmp_path / "checkpoint.safetensors").touch()
    (tmp_path / "corrector").mkdir()
    assert find_artifact(tmp_path) == (
        tmp_path / "artifact",
        tmp_path / "checkpoint.safetensors",
        tmp_path / "corrector",
    )
    assert find_artifact(tmp_path, artifact=tmp_path) == (tmp_path, None, None)


def test_a_training_that_is_interrupted_leaves_nothing(monkeypatch, tmp_path):
    def run(model, dataset, config_dict, overrides):
        save(Path(config_dict["checkpoint_dir"]) / "half.safetensors")
        raise KeyboardInterrupt

    monkeypatch.setattr(quick_start, "run", run)
    with pytest.raises(KeyboardInterrupt):
        find_artifact(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_settings_of_the_training_are_those_that_training_knows(trained, tmp_path):
    from recbole_cocorr.training.config import Config

    find_artifact(tmp_path / "out")
    ((model, dataset, settings),) = trained
    assert Config(model, dataset, None, settings, overrides={})["epochs"] == 3


def test_what_is_named_and_wrong(tmp_path, capsys):
    with pytest.raises(UserError, match="epochs is 0"):
        find_artifact(tmp_path / "out", epochs=0)
    with pytest.raises(UserError, match=r"nothing\.safetensors"):
        find_artifact(tmp_path / "out", checkpoint=tmp_path / "nothing.safetensors")
    for name in FILES:
        (tmp_path / name).write_text("")
    flags = ["--no_browser", "--port=0", f"--runtime={tmp_path}"]
    assert main(["demo", f"--artifact={tmp_path}", *flags]) == 2
    assert "manifest.json" in capsys.readouterr().err


def test_what_the_page_cannot_run_alone_needs_npm(written, tmp_path, monkeypatch, capsys):
    _, folder = written("GRU4Rec")
    monkeypatch.setenv("PATH", str(tmp_path))
    flags = [f"--out={tmp_path / 'out'}", "--no_browser", "--port=0", "--no_cloud"]
    assert main(["demo", f"--artifact={folder}", *flags]) == 2
    assert "npm is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["GRU4Rec", "CoCorrRec"])
def test_the_command_prints_its_address_serves_and_ends_with_ctrl_c(written, tmp_path, name):
    """A CoCorrRec is shown where there is no npm."""
    _, folder = written(name)
    command = [sys.executable, "-m", "recbole_cocorr", "demo", f"--artifact={folder}", f"--out={tmp_path}"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    if name == "CoCorrRec":
        environment["PATH"] = str(tmp_path)
    else:
        command.append(f"--runtime={tmp_path}")
        for file in FILES:
            (tmp_path / file).write_text("runtime")
    command += ["--port=0", "--no_browser"]
    pipe = subprocess.PIPE
    # A test run in the background ignores Ctrl-C, and hands that on.
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, preexec_fn=hears) as process:
        try:
            address = process.stdout.readline().split()[0]
            with urllib.request.urlopen(address + "artifact/manifest.json", timeout=10) as answer:
                assert answer.read() == (folder / "manifest.json").read_bytes()
            with urllib.request.urlopen(address + "js/cocorr.wasm", timeout=10) as answer:
                assert answer.headers["Content-Type"] == "application/wasm"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()
