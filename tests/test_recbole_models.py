"""RecBole's own models train, save, load and evaluate: ten of them here, all in `make test-recbole`."""

import math

import pytest

from tests import recbole_models

# One of each thing that a bridge is for, and of each kind of model and trainer.
SAMPLE = ("BPR", "CKE", "DIN", "DeepFM", "FDSA", "GRU4Rec", "LightGCN", "MultiVAE", "RecVAE", "SINE")


def cases() -> list:
    names = recbole_models.models()
    return [pytest.param(n, marks=() if n in SAMPLE else pytest.mark.every_model) for n in names]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", cases())
def test_it_trains_and_evaluates(name):
    if name in recbole_models.STOPS:
        pytest.skip(recbole_models.STOPS[name])
    if name in recbole_models.NEEDS:
        pytest.importorskip(recbole_models.NEEDS[name])
    result = recbole_models.run(name)
    assert result and all(math.isfinite(value) for value in result.values())
