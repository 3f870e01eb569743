"""``python -m recbole_cocorr device-bench``: what a click, a ranking, memory and start-up cost on the device."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.device_times import (
    NATIVE_SUFFIX,
    NEIGHBOURS_SUFFIX,
    WINDOW_SUFFIX,
    DeviceTimes,
)
from recbole_cocorr.models.catalogue import cards, exportable

HISTORIES = (10, 50, 200, 1000)
# The paper's L and K, for a model that carries a state on.
_WINDOW = 10


def _untrained(name: str, items: int, window: int) -> Any:
    """A model as training starts with it, with the settings of its property files."""
    import torch

    from recbole_cocorr.models.factory import build_model
    from recbole_cocorr.training.config import Config
    from recbole_cocorr.training.recommend import Recommender, SavedConfig, Vocabulary

    settings = {"MAX_ITEM_LIST_LENGTH": window, "use_gpu": False, "hidden_size": 64}
    config = Config(name, "ml-100k", None, settings, overrides={})
    saved = SavedConfig({**config.final_config_dict, "device": torch.device("cpu")})
    torch.manual_seed(0)
    vocabulary = Vocabulary(saved, ["[PAD]", *(f"item-{i}" for i in range(1, items + 1))], 1)
    return Recommender(build_model(saved, vocabulary), saved, vocabulary, {})


def _write(work: Path, name: str, recommender: Any, table: str) -> Path:
    from recbole_cocorr.artifact.fingerprint import model_fingerprint
    from recbole_cocorr.exporter.export import write_artifact

    folder = work / name
    folder.mkdir()
    weights = {n: t.numpy() for n, t in recommender.model.state_dict().items()}
    write_artifact(folder, recommender, model_fingerprint(weights, recommender.config), table)
    return folder


def _put_neighbours(folder: Path, count: int) -> None:
    """Give an artifact a neighbour table of ``count`` random items for each on average, or none.

    One row in sixteen has as many as a row may have, so that the 99th percentile of a click is that of the longest row.
    """
    import numpy as np

    from recbole_cocorr.artifact.manifest import LONGEST_ROW, NAME, neighbour_type, read_manifest
    from recbole_cocorr.artifact.neighbours import NeighbourTable, clicks_that_count

    manifest = read_manifest(folder)
    for name in [name for name in manifest.arrays if name.startswith("neighbour_")]:
        (folder / manifest.arrays.pop(name).file).unlink()
    manifest.neighbours = None
    if count:
        generator, most = np.random.default_rng(0), LONGEST_ROW * count
        lengths = np.where(np.arange(manifest.items) % 16 == 1, most, count // 2 + 1)
        lengths[0] = 0
        indptr = np.r_[0, lengths.cumsum()].astype(np.uint32)
        numbers = generator.integers(1, manifest.items, indptr[-1]).astype(neighbour_type(manifest.items))
        weights = generator.integers(1, 128, indptr[-1]).astype(np.int8)
        table = NeighbourTable(indptr, numbers, weights, np.full(manifest.items, 1e-3, np.float32))
        manifest.arrays |= table.write(folder)
        manifest.neighbours = {"count": count, "decay": 0.9, "clicks": clicks_that_count(0.9), "form": "asinh"}
        manifest.neighbours |= {"base": 1.0, "per_log_click": 0.0, "scale": 0.01}
    (folder / NAME).write_text(manifest.to_json())


def _models(models: Sequence[str], checkpoints: Sequence[Path], items: int, histories: Sequence[int]) -> Iterator:
    """Names, and functions of a history's length that give a model, or None for the one before."""
    from recbole_cocorr.training.recommend import load_model

    first = histories[0]
    trained = [load_model(path) for path in checkpoints]
    for name, recommender in zip(_names(checkpoints, trained), trained, strict=True):
        yield name, lambda length, recommender=recommender: recommender if length == first else None
    for name in () if checkpoints else models:
        if not cards()[name].can("step"):
            yield name, lambda length, name=name: _untrained(name, items, length)
        else:
            yield name, lambda length, name=name: _untrained(name, items, _WINDOW) if length == first else None


def _names(checkpoints: Sequence[Path], trained: Sequence[Any]) -> list[str]:
    """Names that differ: those of the models, else of the files, else of their folders."""
    ways = (
        [r.config["model"] for r in trained],
        [p.stem for p in checkpoints],
        [p.resolve().parent.name for p in checkpoints],
    )
    for names in ways:
        if len(set(names)) == len(names):
            return names
    raise UserError(f"two checkpoints are called {max(names, key=names.count)}; name each once, or copy one elsewhere")


def measure(
    models: Sequence[str] | None = None,
    checkpoints: Sequence[Path] = (),
    histories: Sequence[int] = HISTORIES,
    items: int = 100_000,
    candidates: int = 100,
    clicks: int = 2000,
    table: str = "int8",
    work: Path | None = None,
    neighbours: Sequence[int] = (),
    runtimes: Sequence[str] = ("onnx",),
) -> DeviceTimes:
    """Export and time models, one thread, each in a process of its own.

    A model that keeps a state is timed twice: carrying it on, and reading its window of L clicks anew. A model without
    one reads its window anew for every click, so it is built once for each length of the history, as its L. A trained
    one reads no more than the L it was trained with.

    Parameters
    ----------
    models : sequence of str
        Built with random weights, unless ``checkpoints`` are given.
    checkpoints : sequence of pathlib.Path
    histories : sequence of int
        Clicks before those that are timed.
    items, candidates, clicks : int
    table : {"fp32", "fp16", "int8"}
    work : pathlib.Path, optional
        An empty folder for the artifacts.
    neighbours : sequence of int
        Sizes of made-up neighbour tables; a model with one has rows of its own.
    runtimes : sequence of {"native", "onnx"}
        A model that both run has rows for both; with the native one alone, others have none.

    Raises
    ------
    UserError
        If ``work`` is not empty, or a model cannot be exported or timed.
    """
    from recbole_cocorr.artifact.manifest import read_manifest

    # What is named twice is measured once.
    models, histories, neighbours, runtimes = (
        list(dict.fromkeys(named)) for named in (models or exportable(), histories, neighbours, runtimes)
    )
    with ExitStack() as stack:
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        if any(work.iterdir()):
            raise UserError(f"{work} is not empty")
        rows: dict[str, Row] = {}
        catalogues = []
        for name, build in _models(models, checkpoints, items, histories):
            folders = {}
            for length in histories:
                recommender = build(length)
                if recommender is not None:
                    latest = _write(work, f"{name}-{length}", recommender, table)
                folders[str(length)] = str(latest)
            manifest = read_manifest(latest)
            catalogues.append(manifest.items - 1)  # without padding
            policies = ("carry", "window") if "state" in manifest.arrays else ("window",)
            known = [r for r in runtimes if r == "onnx" or "native" in manifest.arrays]
            for number, policy, runtime in product((0, *neighbours), policies, known):
                for folder in set(folders.values()):
                    _put_neighbours(Path(folder), number)
                label = f"{name}{WINDOW_SUFFIX}" if policy == "window" and len(policies) > 1 else name
                label += NEIGHBOURS_SUFFIX.format(number) if number else ""
                label += NATIVE_SUFFIX if runtime == "native" else ""
                spec = {"artifacts": folders, "candidates": candidates, "clicks": clicks, "seed": 0}
                spec |= {"policy": policy, "runtime": runtime}
                rows[label] = {
                    "policy": policy,
                    "window": manifest.window,
                    "graph_bytes": manifest.graph_bytes(),
                    "artifact_bytes": sum(f.stat().st_size for f in latest.iterdir()),
                    **_in_process(spec),
                }
    setting = {
        "items": max(catalogues),
        "candidates": candidates,
        "clicks": clicks,
        "table": table,
        "histories": histories,
    }
    if neighbours:
        setting["neighbours"] = neighbours
    return DeviceTimes(setting, rows)


def _in_process(spec: dict[str, Any]) -> dict[str, Any]:
    environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
    # The copy of the package that runs here, whatever is installed.
    root = str(Path(__file__).resolve().parents[3])
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "recbole_cocorr.experiments.device_bench.one", json.dumps(spec)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise UserError(f"timing {next(iter(spec['artifacts'].values()))} failed: {process.stderr.strip()[-500:]}")
    return json.loads(process.stdout)
