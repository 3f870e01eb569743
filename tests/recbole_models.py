"""RecBole's own models, one after another: each is built, trains an epoch, is saved, loaded and evaluated.

    python -m tests.recbole_models [MODEL ...]      a line of JSON for each: name, kind, seconds, test result or error

The data are the first 3,000 interactions of ml-100k with the features of users and items and the knowledge graph, which
all lie in the recbole package. The entry point is RecBole's own ``run_recbole``.
"""

import contextlib
import io
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

SETTINGS = {
    "epochs": 1,
    "use_gpu": False,
    "show_progress": False,
    "state": "ERROR",
    "MAX_ITEM_LIST_LENGTH": 10,
    "val_interval": {"timestamp": "[0,875074329]"},
}
SECONDS = 120  # of processor time, for a model
NO_NEGATIVES = {"train_neg_sample_args": None}
# Models that RecBole refuses to train with its default settings.
SPECIAL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ["CDAE", "DiffRec", "ENMF", "LDiffRec", "MacridVAE", "MultiDAE", "MultiVAE", "RaCT", "RecVAE"], NO_NEGATIVES
    ),
    "DGCF": {"train_batch_size": 64},  # it draws as many users as a batch has items
    "NCL": {"num_clusters": 10},  # fewer than users
    "S3Rec": {"pretrain_epochs": 1, "save_step": 1},
}
# Packages beside RecBole's own requirements.
NEEDS = {
    "KGAT": "dgl",
    "KGIN": "torch_scatter",
    "LDiffRec": "kmeans_pytorch",
    "MCCLK": "torch_scatter",
    "NCL": "faiss",
}
# Models that stop for reasons of their own, with old libraries too.
STOPS = {
    "GRU4RecCPR": "its predict is `assert False`, and run_recbole calls it when it counts FLOPs",
    "GRU4RecKG": "it asks for vectors of entities (ml-100k.ent), which do not exist",
    "KSR": "it asks for vectors of entities (ml-100k.ent), which do not exist",
    "SASRecCPR": "its predict is `assert False`, and run_recbole calls it when it counts FLOPs",
    "lightgbm": "the class is LightGBM, its settings are in lightgbm.yaml: by either name RecBole misses one of them",
    "xgboost": "the class is XGBoost, its settings are in xgboost.yaml: by either name RecBole misses one of them",
}
SEQUENTIAL_PAIRS = ("DIEN", "DIN", "FPMC", "TransRec")


def models() -> dict[str, str]:
    """Every model of RecBole's with its kind: ``{"BPR": "general", ...}``."""
    import recbole

    root = Path(recbole.__file__).parent
    folders = {f.stem: f.parent.name.removesuffix("_recommender") for f in root.glob("model/*_recommender/*.py")}
    names = sorted(f.stem for f in root.glob("properties/model/*.yaml"))
    return {name: folders[name.lower()] for name in names if name.lower() in folders}


def settings_of(name: str, kind: str) -> dict[str, Any]:
    """What RecBole has to be told to train the model at all."""
    own = SPECIAL.get(name, {})
    if kind == "sequential" and name not in SEQUENTIAL_PAIRS:
        return {**SETTINGS, **NO_NEGATIVES, **own}
    return {**SETTINGS, **own}


def run(name: str) -> dict[str, float]:
    """Train and evaluate one of RecBole's models by its ``run_recbole``, in a folder of its own.

    Returns
    -------
    dict of str to float
        The test result.
    """
    import recbole_cocorr  # noqa: F401, I001 (before RecBole)
    from recbole.quick_start import run_recbole

    before = Path.cwd()
    root = logging.getLogger()
    handlers = root.handlers[:]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                result = run_recbole(model=name, dataset="ml-100k", config_dict=settings_of(name, models()[name]))
        finally:
            os.chdir(before)
            for handler in set(root.handlers).difference(handlers):
                root.removeHandler(handler)
                handler.close()
    return {key: float(value) for key, value in result["test_result"].items()}


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} s of processor time")


def main(names: list[str]) -> None:
    sys.argv = sys.argv[:1]  # RecBole's Config reads it
    signal.signal(signal.SIGPROF, _too_long)
    for name in names or models():
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        answer: dict[str, Any] = {"model": name, "kind": models()[name]}
        try:
            answer["test"] = run(name)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{last.filename.rpartition('site-packages/')[2]}:{last.lineno}"
            answer["error"] = f"{type(error).__name__}: {error} ({place})"
        answer["seconds"] = round(time.process_time() - start, 1)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
