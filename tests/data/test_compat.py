"""Stock RecBole works where this package is installed, and nobody else's calls are changed."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch

from recbole_cocorr.data import compat
from recbole_cocorr.models import registry

STOCK = """
    import json, sys
    from recbole.quick_start import load_data_and_model, run_recbole
    import torch

    settings = {
        "data_path": sys.argv.pop(), "use_gpu": False, "epochs": 1, "show_progress": False, "state": "ERROR",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "loss_type": "CE", "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "MAX_ITEM_LIST_LENGTH": 10, "hidden_size": 8, "embedding_size": 8,
    }
    result = run_recbole("GRU4Rec", "small", config_dict=settings)
    import glob
    config, model, dataset, train, valid, test = load_data_and_model(*glob.glob("saved/*.pth"))
    from recbole.trainer import Trainer
    again = Trainer(config, model).evaluate(test, load_best_model=False)
    print(json.dumps({
        "first": dict(result["test_result"]), "again": dict(again),
        "ours": sorted(name for name in sys.modules if name.startswith("recbole_cocorr")),
    }))
"""


def test_stock_recbole_trains_saves_and_loads_without_our_package_being_imported(small_data):
    """Only torch's entry point brings in the module that knows what RecBole breaks on, and nothing else."""
    Path("stock.py").write_text(textwrap.dedent(STOCK))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "stock.py", str(small_data)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["first"] == answer["again"]
    assert answer["first"]["recall@10"] >= 0
    assert answer["ours"] == ["recbole_cocorr", "recbole_cocorr.data", "recbole_cocorr.data.compat"]


def test_the_entry_point_is_installed():
    (point,) = (p for p in entry_points(group="torch.backends") if p.name == "recbole_cocorr")
    assert point.load() is compat.on_torch_import


class NotATensor:
    pass


def as_module(name: str, function: str, **known):
    """A function of the given source whose module is called ``name``."""
    namespace = {"__name__": name, "torch": torch, **known}
    exec(f"def call(*a, **k):\n    return {function}(*a, **k)", namespace)
    return namespace["call"]


def test_torch_load_is_recboles_old_one_for_recbole_only(tmp_path):
    compat.apply()
    file = tmp_path / "model.pth"
    torch.save({"config": NotATensor()}, file)
    assert isinstance(as_module("recbole.trainer.trainer", "torch.load")(file)["config"], NotATensor)
    assert isinstance(as_module("recbole", "torch.load")(file)["config"], NotATensor)
    for stranger in ("__main__", "recbole_cocorr.training.checkpoint", "recbolex", "my.recbole"):
        with pytest.raises(pickle.UnpicklingError):
            as_module(stranger, "torch.load")(file)


def test_recbole_may_still_ask_for_tensors_only(tmp_path):
    file = tmp_path / "model.pth"
    torch.save({"config": NotATensor()}, file)
    with pytest.raises(pickle.UnpicklingError):
        as_module("recbole.trainer.trainer", "torch.load")(file, weights_only=True)


def test_a_barrier_without_a_process_group_is_nothing_for_recbole_only():
    assert as_module("recbole.data.dataset.dataset", "torch.distributed.barrier")() is None
    with pytest.raises((ValueError, RuntimeError), match="process group"):
        as_module("__main__", "torch.distributed.barrier")()


def test_applying_it_again_changes_nothing():
    compat.apply()
    load, barrier = torch.load, torch.distributed.barrier
    compat.apply()
    compat.on_torch_import()
    assert torch.load is load
    assert torch.distributed.barrier is barrier
    assert torch.load.__wrapped__.__module__ == "torch.serialization"


@pytest.mark.parametrize("before", [False, True])
def test_looking_a_model_up_leaves_autograds_anomaly_mode_alone(monkeypatch, before):
    """RecBole's SINE switches it on for the whole process when its module is imported."""
    module = "recbole.model.sequential_recommender.sine"
    registry.find_model("SINE")
    monkeypatch.delitem(sys.modules, module)
    was = torch.is_anomaly_enabled()
    torch.autograd.set_detect_anomaly(before)
    try:
        assert registry.find_model("SINE").__name__ == "SINE"
        assert module in sys.modules
        assert torch.is_anomaly_enabled() is before
    finally:
        torch.autograd.set_detect_anomaly(was)


IMPORTS = """
    import importlib, pkgutil, torch, recbole_cocorr

    for module in pkgutil.walk_packages(recbole_cocorr.__path__, "recbole_cocorr."):
        if module.name.rpartition(".")[2] not in ("__main__", "properties", "dataset_configs", "web"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:  # of an extra that is not installed
                if error.name.startswith("recbole"):
                    raise
            if torch.is_anomaly_enabled():
                raise SystemExit(f"{module.name} switches anomaly mode on")
"""


def test_no_module_of_this_package_switches_the_anomaly_mode_on():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(IMPORTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_anomaly_mode_comes_back_after_an_error_too():
    before = torch.is_anomaly_enabled()
    with pytest.raises(ImportError), compat.anomaly_mode_kept():
        torch.autograd.set_detect_anomaly(not before)
        raise ImportError
    assert torch.is_anomaly_enabled() is before
