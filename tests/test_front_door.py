"""``import recbole_cocorr``: cheap, and everything that most people need."""

import subprocess
import sys

import pytest

import recbole_cocorr
from recbole_cocorr.device.session import Session
from recbole_cocorr.service.client.session import CorrectedSession
from tests.conftest import CHECKOUT

CHEAP = """
import sys
import recbole_cocorr
from recbole_cocorr import UserError, open_session
assert not {"torch", "recbole", "numpy", "yaml", "onnxruntime"} & set(sys.modules)
for name in recbole_cocorr.__all__:
    assert name == "__version__" or callable(getattr(recbole_cocorr, name)), name
"""
QUIET = {"use_gpu": False, "epochs": 1, "show_progress": False}


def test_it_is_cheap_and_all_names_can_be_called():
    done = subprocess.run([sys.executable, "-c", CHEAP], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = recbole_cocorr.nothing


@pytest.mark.parametrize("name", ["run", "load_model", "benchmark", "Recommender", "export"])
def test_without_the_extra_it_says_the_line(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "recbole", None)
    with pytest.raises(recbole_cocorr.UserError, match="recbole is not installed; type: pip install --no-deps recbole"):
        getattr(recbole_cocorr, name)


def test_a_session_with_and_without_the_cloud(written):
    folder = written()[1]
    assert type(recbole_cocorr.open_session(folder, policy="carry")) is Session
    with recbole_cocorr.open_session(folder, cloud="127.0.0.1:9", deadline_ms=1) as session:
        assert type(session) is CorrectedSession
    with pytest.raises(recbole_cocorr.UserError, match="deadline_ms has no meaning without cloud"):
        recbole_cocorr.open_session(folder, deadline_ms=1)


def test_from_data_to_a_session(small_data):
    settings = {**QUIET, "data_path": str(small_data), "hidden_size": 8, "num_heads": 2}
    result = recbole_cocorr.run("CoCorrRec", "small", config_dict=settings, overrides={})
    model = recbole_cocorr.load_model(result["saved_model_file"], use_gcn=False)  # a session without a cloud is alone
    item = model.vocabulary.items[1]
    recbole_cocorr.export(result["saved_model_file"], "artifact")
    session = recbole_cocorr.open_session("artifact")
    session.click(item)
    assert session.rank_all(3).items == model.recommend([item], k=3).items


def test_a_benchmark_in_one_call(small_data):
    settings = {**QUIET, "data_path": str(small_data)}
    given = {"models": ["Pop", "GRU4Rec"], "seeds": [1], "learning_rates": [0.01], "settings": settings}
    records = recbole_cocorr.benchmark(["small"], out="results", threads=1, **given)
    assert [(r.label, r.seed) for r in records] == [("Pop", 1), ("GRU4Rec", 1)]
    assert all(0 <= r.test["ndcg@10"] <= 1 for r in records)
    again = recbole_cocorr.benchmark(["small"], out="results", threads=1, **given)
    assert [r.test for r in again] == [r.test for r in records]
    with pytest.raises(recbole_cocorr.UserError, match="it must be a list of names"):
        recbole_cocorr.benchmark("small")
