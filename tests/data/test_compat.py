"""RecBole runs with today's libraries where this package is imported, and nobody else notices anything."""

import contextlib
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
import types
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from recbole.utils import FeatureType

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data import compat
from recbole_cocorr.models import registry

RECBOLE = Path(find_spec("recbole").origin).parent


def module(name: str, without: str | None = None) -> types.ModuleType:
    """A module of RecBole of its own, read with all bridges but one."""
    bridges = [b for b in compat.BRIDGES if b.name != without]
    file = RECBOLE.joinpath(*name.split(".")).with_suffix(".py")
    made = types.ModuleType(f"recbole.{name}")
    made.__package__ = made.__name__.rpartition(".")[0]
    exec(compile(compat.rewritten(file.read_text(encoding="utf-8"), bridges), str(file), "exec"), vars(made))
    return made


# What each bridge is for. Every function fails where its bridge is missing, with old libraries too.


def ray(load: Callable, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    load("quick_start.quick_start").tune.report(recall=0.5)


def numpy_names(load: Callable, monkeypatch) -> None:
    for name in ("float_", "complex_", "unicode_"):
        monkeypatch.delattr(np, name, raising=False)
    load("config.configurator").Config.compatibility_settings(None)
    set_by_recbole = [getattr(np, name) for name in ("float", "complex", "unicode")]
    assert set_by_recbole == [np.float64, np.complex128, np.str_]


class Opened(Exception):
    pass


class NotATensor:
    def __getitem__(self, key):
        raise Opened


def torch_load(load: Callable, monkeypatch) -> None:
    torch.save({"config": NotATensor()}, "model.pth")
    with pytest.raises(Opened):
        load("quick_start.quick_start").load_data_and_model("model.pth")


@pytest.mark.parametrize("name", ["saved/CoCorrRec-small-Nov-28.safetensors", "m.training.safetensors", "latest"])
def test_recbole_says_what_to_call_for_a_checkpoint_of_this_package(name):
    """It would try to read it as a pickle."""
    words = rf"RecBole cannot read {name}, .*; call recbole_cocorr.load_model\('{name}'\) for the model, and \.data\(\)"
    for file in (name, Path(name)):
        with pytest.raises(UserError, match=words):
            module("quick_start.quick_start").load_data_and_model(file)


def dok_matrix_update(load: Callable, monkeypatch) -> None:
    monkeypatch.setattr(scipy.sparse.dok_matrix, "_update", None, raising=False)
    clicks = scipy.sparse.coo_matrix(([1, 1, 1], ([0, 0, 1], [0, 2, 1])), shape=(2, 3))
    model = types.SimpleNamespace(n_users=2, n_items=3, interaction_matrix=clicks)
    graph = load("model.general_recommender.lightgcn").LightGCN.get_norm_adj_mat(model).to_dense()
    assert (graph[:2, 2:] > 0).tolist() == [[True, False, True], [False, True, False]]
    assert torch.equal(graph, graph.T)


def copies_of_columns() -> contextlib.AbstractContextManager:
    """What pandas 3 always does."""
    if int(pd.__version__.partition(".")[0]) >= 3:
        return contextlib.nullcontext()
    return pd.option_context("mode.copy_on_write", True)


def fillna(load: Callable, monkeypatch) -> None:
    feat = pd.DataFrame({"age": [1.0, np.nan, 3.0], "item": [1.0, np.nan, 2.0]})
    kinds = {"age": FeatureType.FLOAT, "item": FeatureType.TOKEN}
    dataset = types.SimpleNamespace(feat_name_list=["f"], f=feat, field2type=kinds, logger=getLogger())
    with copies_of_columns(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas says that it fills nothing
        load("data.dataset.dataset").Dataset._fill_nan(dataset)
    assert feat["age"].tolist() == [1, 2, 3]
    assert feat["item"].tolist() == [1, 0, 2]


def agg_len(load: Callable, monkeypatch) -> None:
    monkeypatch.setattr(pd.Series, "agg", lambda column, function: function(column))  # as in pandas 3
    feat = pd.DataFrame({"class": [np.array(["a", "b"]), np.array(["b"]), np.array(["c", "a", "d"])]})
    kind = load("data.dataset.dataset").Dataset
    dataset = kind.__new__(kind)
    dataset.field2id_token, dataset.field2token_id = {}, {}
    dataset._remap([(feat, "class", FeatureType.TOKEN_SEQ)])
    assert [ids.tolist() for ids in feat["class"]] == [[1, 2], [2], [3, 1, 4]]


def read_only_columns(load: Callable, monkeypatch) -> None:
    feat = pd.DataFrame({"item": [1, 2, 3]})
    dataset = types.SimpleNamespace(field2type={"item": FeatureType.TOKEN}, config={})
    with copies_of_columns():
        tensors = load("data.dataset.dataset").Dataset._dataframe_to_interaction(dataset, feat)
    tensors["item"][0] = 7
    assert feat["item"].tolist() == [1, 2, 3]


def exhaustive_search(load: Callable, monkeypatch) -> None:
    hyperopt = pytest.importorskip("hyperopt", minversion="0.2.7")
    search = load("trainer.hyper_tuning").exhaustive_search
    space = hyperopt.hp.choice("x", [3, 5])
    trials = hyperopt.Trials()
    hyperopt.fmin(float, space, search, 5, trials=trials, verbose=False, show_progressbar=False)
    assert sorted(trials.losses()) == [3, 5]


def barrier(load: Callable, monkeypatch) -> None:
    load("data.dataset.dataset").Dataset._download(types.SimpleNamespace(config={"local_rank": 1}))


def anomaly_mode(load: Callable, monkeypatch) -> None:
    was = torch.is_anomaly_enabled()
    torch.autograd.set_detect_anomaly(False)
    try:
        load("model.sequential_recommender.sine")
        assert not torch.is_anomaly_enabled()
    finally:
        torch.autograd.set_detect_anomaly(was)


PURPOSES = {
    "ray": ray,
    "numpy names": numpy_names,
    "torch.load": torch_load,
    "dok_matrix._update": dok_matrix_update,
    "fillna": fillna,
    "agg(len)": agg_len,
    "read-only columns": read_only_columns,
    "exhaustive search": exhaustive_search,
    "barrier": barrier,
    "anomaly mode": anomaly_mode,
}


def test_every_bridge_has_a_purpose_that_is_tested():
    assert [b.name for b in compat.BRIDGES] == list(PURPOSES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PURPOSES)
def test_a_bridge_by_its_absence(name, monkeypatch):
    with monkeypatch.context() as patch:
        PURPOSES[name](module, patch)
    with pytest.raises((Exception, pytest.fail.Exception)), monkeypatch.context() as patch:
        PURPOSES[name](lambda module_name: module(module_name, without=name), patch)


def sources() -> dict[str, str]:
    return {str(f.relative_to(RECBOLE)): f.read_text(encoding="utf-8") for f in RECBOLE.rglob("*.py")}


@pytest.mark.parametrize("bridge", compat.BRIDGES, ids=lambda b: b.name)
def test_every_pattern_stands_in_recbole(bridge):
    for pattern in bridge.replacements:
        assert any(re.search(pattern, text, re.MULTILINE) for text in sources().values()), pattern


def test_lines_keep_their_numbers():
    for name, text in sources().items():
        assert len(compat.rewritten(text).splitlines()) == len(text.splitlines()), name


# Nobody else notices.

STRANGER = """
    import json, sys
    import recbole_cocorr
    before = set(sys.modules)
    import numpy, pandas, scipy.sparse, torch
    seen = [torch.load, torch.distributed.barrier, pandas.Series.agg, pandas.Series.fillna, pandas.DataFrame.fillna,
            numpy.dtype, numpy.concatenate]
    names = {m: set(vars(sys.modules[m])) for m in ("numpy", "pandas", "scipy.sparse", "torch", "torch.distributed")}
    dok = set(vars(scipy.sparse.dok_matrix))
    from recbole.quick_start import run_recbole, load_data_and_model
    import recbole.model.sequential_recommender
    assert seen == [torch.load, torch.distributed.barrier, pandas.Series.agg, pandas.Series.fillna,
                    pandas.DataFrame.fillna, numpy.dtype, numpy.concatenate]
    assert torch.load is torch.serialization.load
    assert dok == set(vars(scipy.sparse.dok_matrix))
    new = {m: sorted(n for n in set(vars(sys.modules[m])) - names[m] if not n.startswith("_")
                     and type(vars(sys.modules[m])[n]) is not type(sys)) for m in names}
    assert not any(new.values()), new
    assert "ray" not in sys.modules
    assert not torch.is_anomaly_enabled()
"""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run code in a new process that does not see this one's modules."""
    Path("program.py").write_text(textwrap.dedent(code))
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "program.py", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_no_library_is_changed():
    done = python(STRANGER)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_strangers_torch_load_refuses_a_pickle():
    import recbole.trainer  # noqa: F401

    torch.save({"config": NotATensor()}, "model.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load("model.pth")


def test_recbole_may_still_ask_for_tensors_only():
    torch.save({"config": NotATensor()}, "model.pth")
    namespace = {"torch": torch}
    exec(compat.rewritten("def load(): return torch.load('model.pth', weights_only=True)"), namespace)
    with pytest.raises(pickle.UnpicklingError):
        namespace["load"]()


def test_a_program_without_recbole_has_one_finder_more_and_nothing_else():
    code = """
        import sys
        finders, modules = list(sys.meta_path), set(sys.modules)
        import recbole_cocorr
        assert sys.meta_path[1:] == finders and len(sys.meta_path) == len(finders) + 1
        recbole_cocorr.data.compat.install()
        assert len(sys.meta_path) == len(finders) + 1
        new = {m.partition(".")[0] for m in set(sys.modules) - modules}
        assert not new - {"recbole_cocorr", *sys.stdlib_module_names}, new
        for name in ("recbolex", "recbole_cocorr.data", "json", "recbole"):
            assert sys.meta_path[0].find_spec(name) is None
    """
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_torch_alone_does_not_import_this_package():
    done = python("import sys, torch; assert not any(m.startswith('recbole') for m in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_what_was_imported_too_early_is_named():
    code = """
        import warnings
        import recbole.data.dataset.dataset
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import recbole_cocorr
        print([str(w.message) for w in caught if w.category is RuntimeWarning][0])
    """
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert "was imported before recbole_cocorr" in done.stdout


def test_recboles_compiled_files_stay_those_of_recbole(tmp_path):
    """A program without this package finds no bridge in a .pyc."""
    code = "{}import recbole.model.sequential_recommender.sine, torch; print(torch.is_anomaly_enabled())"
    settings = {"PYTHONPYCACHEPREFIX": str(tmp_path / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    bridged, bare = "import recbole_cocorr; ", ""
    answers = [python(code.format(first), **settings).stdout.split()[-1:] for first in (bare, bridged, bare)]
    assert answers == [["True"], ["False"], ["True"]]


# RecBole's own entry points.

STOCK = """
    import glob, json, sys
    import recbole_cocorr
    from recbole.quick_start import load_data_and_model, objective_function, run_recbole
    from recbole.trainer import HyperTuning, Trainer

    settings = {
        "data_path": sys.argv.pop(), "use_gpu": False, "epochs": 1, "show_progress": False, "state": "ERROR",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "loss_type": "CE", "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "MAX_ITEM_LIST_LENGTH": 10, "hidden_size": 8, "embedding_size": 8, "num_layers": 1, "dropout_prob": 0.1,
    }
    result = run_recbole("GRU4Rec", "small", config_dict=settings)
    (file,) = glob.glob("saved/*.pth")
    config, model, dataset, train, valid, test = load_data_and_model(file)
    again = Trainer(config, model).evaluate(test, load_best_model=False)

    def objective(config_dict=None, config_file_list=None):
        return objective_function({**settings, "model": "GRU4Rec", "dataset": "small", **config_dict}, config_file_list)

    with open("hyper.test", "w") as out:
        out.write("learning_rate choice [0.01, 0.001]")
    tuning = HyperTuning(objective, algo="exhaustive", max_evals=10, params_file="hyper.test")
    tuning.run()
    print(json.dumps({
        "first": dict(result["test_result"]), "again": dict(again), "best": tuning.best_params,
        "ours": sorted(name for name in sys.modules if name.startswith("recbole_cocorr")),
    }))
"""


def test_stock_recbole_trains_saves_loads_and_tunes(small_data):
    pytest.importorskip("hyperopt")
    done = python(STOCK, str(small_data))
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["first"] == answer["again"]
    assert answer["first"]["recall@10"] >= 0
    assert answer["best"]["learning_rate"] in (0.01, 0.001)
    assert answer["ours"] == ["recbole_cocorr", "recbole_cocorr.data", "recbole_cocorr.data.compat"]


def test_looking_a_model_up_leaves_autograds_anomaly_mode_alone(monkeypatch):
    """RecBole's SINE switches it on for the whole process when its module is imported."""
    name = "recbole.model.sequential_recommender.sine"
    registry.find_model("SINE")
    monkeypatch.delitem(sys.modules, name)
    assert registry.find_model("SINE").__name__ == "SINE"
    assert name in sys.modules
    assert not torch.is_anomaly_enabled()
