"""Where numpy and onnxruntime are all there is."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device import Session
from recbole_cocorr.experiments.device_bench import bench
from tests.conftest import CHECKOUT
from tests.device import TOKENS, clicks, make, sent_to, tokens_of
from tests.service import save

SCRIPT = """
import json, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ImportError(name + " is not on the device")

sys.meta_path.insert(0, Refuse())
from recbole_cocorr.device import Session, Correction, verify
folder, clicks, sent = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
verify(folder)
session = Session.open(folder, policy="carry")
session.history(clicks[:-1])
session.click(clicks[-1])
upload = session.hidden_states()
first = session.rank_all(5)
import numpy
session.apply(Correction(*(numpy.array(s, numpy.float32) for s in sent)), clicks=upload.clicks)
session.save("state")
again = Session.open(folder, state="state", policy="carry")
extra = sorted({{m.partition(".")[0] for m in sys.modules}} & set({refused}))
print(json.dumps([first.items, again.rank_all(5).items, again.user_vector.tolist(), extra]))
"""
REFUSED = ["torch", "recbole", "pandas", "scipy", "onnx", "onnxscript", "safetensors", "yaml", "sklearn", "ray", "tqdm"]


def answers(python: str | Path, folder: Path, model, path: list[Path], refused: list[str]) -> None:
    rows = clicks(11)
    _, sent = sent_to(model)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [str(python), "-c", SCRIPT.format(refused=refused), str(folder), json.dumps(tokens_of(rows))]
    command.append(json.dumps([s.tolist() for s in sent]))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    first, corrected, user, extra = json.loads(done.stdout)
    session = Session.open(folder, policy="carry")
    session.history(tokens_of(rows))
    assert first == session.rank_all(5).items
    session.apply(sent, clicks=11)
    assert corrected == session.rank_all(5).items
    assert np.allclose(user, session.user_vector, atol=1e-6)
    assert extra == []


def test_nothing_else_is_imported(written):
    recommender, folder = written()
    answers(sys.executable, folder, recommender.model, [CHECKOUT], REFUSED)


def test_in_an_environment_that_has_nothing_else(written, wheel, tmp_path):
    """A new virtual environment, the wheel in it by one line of pip."""
    recommender, folder = written()
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess:
        command = [str(programs / program), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)

    try:
        flags = ["--quiet", "--disable-pip-version-check", "--retries", "0", "--timeout", "5"]
        done = run("python", "-m", "pip", "install", *flags, f"{wheel}[device]")
    except subprocess.TimeoutExpired:
        pytest.skip("the registry does not answer")
    if done.returncode:
        pytest.skip(f"no registry to install from: {done.stderr.strip()[-200:]}")
    assert run("python", "-m", "pip", "check").returncode == 0
    listed = json.loads(run("python", "-m", "pip", "list", "--format=json").stdout)
    versions = {row["name"].lower(): row["version"] for row in listed}
    assert not versions.keys() & {"torch", "recbole", "pandas", "scipy", "onnx", "pyyaml", "grpcio", "tqdm"}
    assert versions["numpy"].startswith("2.")

    done = run("recbole-cocorr", "--help")
    assert done.returncode == 0 and "import-released" in done.stdout, done.stderr
    assert run("recbole-cocorr", "convert", "--help").returncode == 0
    for verb, extra in (("run", "train"), ("serve", "cloud"), ("report results", "report")):
        done = run("recbole-cocorr", *verb.split())
        assert done.returncode == 2
        assert done.stderr.endswith(f" is not installed; type: pip install 'recbole_cocorr[{extra}]'\n"), done.stderr
        assert done.stderr.count("\n") == 1
    done = run("python", "-c", "import recbole_cocorr; recbole_cocorr.run('CoCorrRec', 'ml-100k')")
    assert "UserError: torch is not installed; type: pip install 'recbole_cocorr[train]'" in done.stderr
    answers(programs / "python", folder, recommender.model, [], [])


def test_the_bench_runs_and_imports_nothing_else():
    result = bench.measure(
        ["GRU4Rec", "SASRec"], (), (2, 5, 2), items=300, candidates=7, clicks=20, table="int8", neighbours=[4, 4]
    )
    assert (result.setting["histories"], result.setting["neighbours"]) == ([2, 5], [4]), "each once"
    tables = ", 4 neighbours"
    models = ["GRU4Rec", "GRU4Rec, window", f"GRU4Rec{tables}", f"GRU4Rec, window{tables}", "SASRec", f"SASRec{tables}"]
    assert list(result.models) == models
    sizes = {name: row["artifact_bytes"] for name, row in result.models.items()}
    assert 301 * 20 < sizes[f"GRU4Rec{tables}"] - sizes["GRU4Rec"] < 301 * 20 + 2000
    states = {name: row["state_bytes"] for name, row in result.models.items()}
    assert states[f"GRU4Rec{tables}"] - states["GRU4Rec"] == 4 * (219 - 10)
    for name, row in result.models.items():
        assert row["modules"] == []
        assert row["policy"] == ("carry" if name in ("GRU4Rec", f"GRU4Rec{tables}") else "window")
        assert set(row["click"]) == {"2", "5"}
        times = [*row["click"].values(), row["rank"]]
        assert all(0 < t["p25"] <= t["p50"] <= t["p75"] <= t["p99"] for t in times)
        assert 10 < row["peak_rss_mb"] < 400, "of the small process, not of this one"
        assert row["artifact_bytes"] > row["graph_bytes"] > 1000
    assert result.models["SASRec"]["window"] == 5, "SASRec is built for each length"
    text = result.text()
    assert text.splitlines()[1].split()[:1] == ["model"]
    assert len(text.splitlines()) == 8


def test_trained_models_are_named_after_what_tells_them_apart(tmp_path):
    """A benchmark's files are all called model.safetensors."""
    small = {"items": 30, "candidates": 5, "clicks": 4, "table": "fp32"}

    def names(*files):
        times = bench.measure(None, files, (2,), **small)
        assert times.setting["items"] == len(TOKENS) - 1, "those of the checkpoint"
        return [name for name in times.models if "window" not in name]

    files = {}
    for folder, model in (("a", "GRU4Rec"), ("b", "SASRec"), ("c", "GRU4Rec")):
        (tmp_path / folder).mkdir()
        files[folder] = save(make(model), tmp_path / folder / "model.safetensors")
    assert names(files["a"], files["b"]) == ["GRU4Rec", "SASRec"]
    assert names(files["a"], files["c"]) == ["a", "c"]
    assert names(files["a"], save(make("GRU4Rec"), tmp_path / "a" / "other.safetensors")) == ["model", "other"]
    with pytest.raises(UserError, match="two checkpoints are called a; name each once"):
        names(files["a"], files["a"])
