"""``torch_compile`` reaches the training of every model under every loss that it has."""

import pytest
import torch

from recbole_cocorr.models.compiling import compile_encoder
from recbole_cocorr.models.scoring import DotProductScorer, find_scorer
from recbole_cocorr.training.prepare import prepare

ALL = ("BCE", "BPR", "CE")
LOSSES = {
    "CoCorrRec": ALL,
    "Mamba4Rec": ALL,
    "GRU4Rec": ALL,
    "SASRec": ALL,
    "BERT4Rec": ALL,
    "Caser": ALL,
    "HGN": ALL,
    "NARM": ("BCE", "CE"),
    "SRGNN": ("BPR", "CE"),
    "SHAN": ("BPR", "CE"),
    "FPMC": ("BCE", "BPR"),
    "TransRec": ("BCE", "BPR"),
    "CORE": ("CE",),
    "RepeatNet": ("CE",),
    "DIN": ("BCE",),
}


@pytest.fixture
def gradients_through(monkeypatch):
    """Names of the compiled functions, once per call that a gradient goes through; nothing is really compiled."""
    calls: list[str] = []

    def stand_in(function):
        def call(*args, **kwargs):
            if torch.is_grad_enabled():
                calls.append(function.__name__)
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(torch, "compile", stand_in)
    return calls


@pytest.mark.parametrize(
    ("name", "loss_type", "more"),
    [(name, loss, {}) for name, losses in LOSSES.items() for loss in losses]
    + [("CoCorrRec", "BCE", {"use_gcn": False}), ("Mamba4Rec", "CE", {"softmax_sample_num": 20})],
    ids=str,
)
def test_every_batch_goes_through_the_compiled_function(make_config, gradients_through, name, loss_type, more):
    prepared = prepare(make_config(name, loss_type=loss_type, torch_compile=True, epochs=1, **more))
    prepared.trainer.fit(prepared.data.train, None, saved=False)
    assert len(gradients_through) >= len(prepared.data.train)


@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec", "Caser"])
def test_a_compiled_model_is_still_read_once_per_sequence(make_config, gradients_through, name):
    """RecBole's models are known by the arguments of ``forward``, which a compiled one must not hide."""
    prepared = prepare(make_config(name))
    rows = next(iter(prepared.data.train))[torch.arange(20)]
    compile_encoder(prepared.model)
    assert isinstance(find_scorer(prepared.model, rows), DotProductScorer)
