"""Artifacts that all of pytest's processes share: the exporter takes a second or more for each graph."""

import fcntl
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from recbole_cocorr.artifact.manifest import read_manifest
from recbole_cocorr.artifact.writer import write_catalogue
from recbole_cocorr.exporter.export import targets_of, write_artifact
from recbole_cocorr.models.device_graphs import graphs_of
from tests.device import make

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

FINGERPRINT = "0123456789abcdef" * 2
_OF_MODEL = ("state", "upload_norm", "weights", "native")
# Recommenders and folders: one for all folders of tests that use the fixture.
_WRITTEN = {}


def in_precision(plain: Path, folder: Path, recommender, table: str) -> None:
    """An artifact with the graphs of another one, as an export with ``table`` writes it."""
    manifest = read_manifest(plain)
    for name in _OF_MODEL:
        if name in manifest.arrays:
            shutil.copy(plain / manifest.arrays[name].file, folder)
    for graph in manifest.graphs.values():
        shutil.copy(plain / graph.file, folder)
    model = recommender.model
    vectors = model.item_embedding.weight.detach().numpy()
    phi = targets_of(model, graphs_of(model))
    arrays, probes = write_catalogue(folder, recommender.vocabulary.items, vectors, table, phi)
    other_arrays = {n: e for n, e in manifest.arrays.items() if n in _OF_MODEL}
    new_manifest = replace(manifest, table=table, arrays={**other_arrays, **arrays}, probes=probes)
    (folder / "manifest.json").write_text(new_manifest.to_json())


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Write the artifact of a model by name, once; returns the recommender and the folder, to be left as it is."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "artifacts"

    def write(name: str = "CoCorrRec", table: str = "fp32", **settings):
        key = (name, table, *sorted(settings.items()))
        if key not in _WRITTEN:
            recommender, plain = (make(name, **settings), None) if table == "fp32" else write(name, **settings)
            folder = shared / f"{name}-{table}-{hashlib.sha256(repr(key).encode()).hexdigest()[:12]}"
            folder.mkdir(parents=True, exist_ok=True)
            with open(f"{folder}.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (folder / "manifest.json").exists():  # the file that is written last
                    if plain is None:
                        write_artifact(folder, recommender, FINGERPRINT, table)
                    else:
                        in_precision(plain, folder, recommender, table)
            _WRITTEN[key] = recommender, folder
        return _WRITTEN[key]

    return write


@pytest.fixture
def own_copy(written, tmp_path: Path):
    """A copy of an artifact that a test may damage; returns the recommender and the folder."""

    def copy(*args, **settings):
        recommender, folder = written(*args, **settings)
        target = tmp_path / "artifact"
        if not target.exists():
            shutil.copytree(folder, target)
        return recommender, target

    return copy
