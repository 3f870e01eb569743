"""Small data sets and configurations for the tests."""

import functools
import logging
import os
import shutil
import subprocess
import sys

# Before torch, and for the processes that tests start: their work is too small for more than one thread, and threads
# that wait for each other on a busy machine take several times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

pytest_plugins = ["tests.device.fixtures", "tests.service.fixtures"]
CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def _one_onnx_registry() -> Iterator[None]:
    """One table of ONNX operators: torch builds it anew for each graph, which takes two fifths of an export."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(autouse=True)
def _onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions run on ONNX Runtime, whether or not the native library was built; tests of the library build it."""
    monkeypatch.setenv("RECBOLE_COCORR_NATIVE", "")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """RecBole writes logs and checkpoints into the working directory: give every test one of its own."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["pytest"])
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    # RecBole's SINE switches it on when its package is imported, and every training after that is several times slower.
    on = torch.is_anomaly_enabled()
    torch.autograd.set_detect_anomaly(False)
    assert not on, "autograd's anomaly mode was left on: look RecBole's models up with registry.find_model"
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, logging.FileHandler):
            root.removeHandler(handler)
            handler.close()


def write_inter(
    folder: Path, name: str, rows: list[tuple], header: str = "user_id:token\titem_id:token\ttimestamp:float"
) -> Path:
    """Write rows as ``folder/name/name.inter``; returns ``folder``, the data_path."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    lines = [header, *("\t".join(str(v) for v in row) for row in rows)]
    (folder / name / f"{name}.inter").write_text("\n".join(lines) + "\n")
    return folder


def random_rows(
    users: int, items: int, low: int, high: int, seed: int = 0, times: Callable | None = None
) -> list[tuple]:
    """Interactions of random users, in shuffled file order; distinct times within a user."""
    generator = np.random.default_rng(seed)
    rows = []
    clock = 0
    for user in range(1, users + 1):
        for _ in range(int(generator.integers(low, high + 1))):
            clock += int(generator.integers(1, 5))
            rows.append((f"u{user}", f"i{int(generator.integers(1, items + 1))}", clock))
    generator.shuffle(rows)
    return rows


@pytest.fixture
def small_data(tmp_path: Path) -> Path:
    """A data_path with the data set ``small``: 60 users, 200 items, 3 to 30 interactions each."""
    return write_inter(tmp_path / "data", "small", random_rows(60, 200, 3, 30))


@pytest.fixture
def make_config(small_data: Path):
    """Make a Config for the data set ``small`` with given settings."""
    from recbole_cocorr.training.config import Config

    def make(model: str = "CoCorrRec", dataset: str = "small", **settings):
        defaults = {
            "data_path": str(small_data),
            "show_progress": False,
            "use_gpu": False,
            "epochs": 2,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "save_training_state": True,
        }
        return Config(model, dataset, None, {**defaults, **settings}, overrides={})

    return make


def shared_folder(name: str) -> Path:
    """A folder of reference data beside the checkout, or skip the test."""
    root = Path(os.environ.get("RECBOLE_COCORR_SHARED", CHECKOUT.parent / "shared"))
    if not (root / name).is_dir():
        pytest.skip(f"the folder {name} with reference data is not here")
    return root / name


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """Build the wheel from a copy of the checkout, which stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    for name in ("recbole_cocorr", "properties", "dataset_configs", "web"):
        ignored = shutil.ignore_patterns("__pycache__", "node_modules", "_native.*")
        shutil.copytree(CHECKOUT / name, source / name, ignore=ignored)
    # setuptools' own build backend, without pip: pip would look for the package `wheel`, which setuptools
    # has not needed since 70.1.
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = folder.glob("*.whl")
    return file
