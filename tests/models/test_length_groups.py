"""Rows encoded in groups of similar length give the vectors and gradients of the padded batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.interaction import Interaction

from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.layers.gru import GRU
from recbole_cocorr.models import length_groups as module
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.fast_layers import use_fast_layers
from recbole_cocorr.models.length_groups import ByLength, length_groups
from recbole_cocorr.models.scoring import find_scorer
from tests.models.test_scoring import disturb


@given(st.lists(st.integers(0, 12), max_size=600), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_every_row_is_in_one_group_that_is_long_enough(lengths, width):
    lengths = torch.tensor([min(n, width) for n in lengths], dtype=torch.int64)
    groups = length_groups(lengths, width)
    if groups is None:
        return
    assert sorted(torch.cat([rows for rows, _ in groups]).tolist()) == list(range(len(lengths)))
    for rows, longest in groups:
        assert 1 <= longest <= width and lengths[rows].max() <= longest
    assert sum(len(rows) * longest for rows, longest in groups) <= 0.8 * len(lengths) * width


def prepared(make_config, name):
    config = make_config(name, MAX_ITEM_LIST_LENGTH=20)
    train, _, _ = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    model = build_model(config, train.dataset)
    disturb(model)
    rows = train.dataset[torch.arange(len(train.dataset))]
    return model.double().eval(), rows


@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec", "NARM"])
def test_stock_models_in_groups(make_config, name):
    model, rows = prepared(make_config, name)
    scorer = find_scorer(model, rows[torch.arange(0, 60, 9)])
    assert isinstance(scorer.encode, ByLength)
    assert len(length_groups(rows["item_length"], 20)) > 1
    grouped, whole = scorer.encode(rows), scorer.encode.encode(rows)
    torch.testing.assert_close(grouped, whole)
    weight = torch.randn_like(whole)
    parameters = [p for p in model.parameters() if p.requires_grad]
    ours, theirs = (torch.autograd.grad((v * weight).sum(), parameters, allow_unused=True) for v in (grouped, whole))
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["GRU4Rec", "NARM"])
def test_a_recurrent_model_is_told_the_lengths(make_config, monkeypatch, name):
    model, rows = prepared(make_config, name)
    whole = model(rows["item_id_list"], rows["item_length"])
    use_fast_layers(model)
    scorer = find_scorer(model, rows[torch.arange(0, 60, 9)])
    told, real = [], module.known_lengths
    monkeypatch.setattr(module, "known_lengths", lambda m, lengths: told.append(lengths) or real(m, lengths))
    torch.testing.assert_close(scorer.encode(rows), whole)
    assert len(told) == 1 and torch.equal(told[0], rows["item_length"])


def test_a_model_made_for_one_length_is_left_whole(make_config):
    model, rows = prepared(make_config, "Caser")
    assert not isinstance(getattr(find_scorer(model, rows[torch.arange(0, 60, 9)]), "encode", None), ByLength)


def test_a_model_that_reads_its_padding_or_mixes_rows_is_left_whole():
    class Reads(torch.nn.Module):
        ITEM_SEQ, ITEM_SEQ_LEN, USER_ID = "item_seq", "item_length", "user"

        def __init__(self, *more):
            super().__init__()
            self.more = torch.nn.ModuleList(more)

    rows = Interaction({"item_seq": torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0]]), "item_length": torch.tensor([2, 1])})

    def last(i):
        return i["item_seq"].gather(1, i["item_length"][:, None] - 1).float()

    def width(i):
        return last(i) + i["item_seq"].shape[1]

    assert module.padding_is_idle(last, Reads(), rows)
    assert not module.padding_is_idle(width, Reads(), rows)
    assert not module.padding_is_idle(last, Reads(torch.nn.BatchNorm1d(2)), rows)


def test_a_recurrent_layer_that_reads_something_else_is_not_told_the_lengths():
    class Other(torch.nn.Module):
        ITEM_SEQ, ITEM_SEQ_LEN, USER_ID = "item_seq", "item_length", "user"

        def __init__(self):
            super().__init__()
            self.gru = GRU(2, 3, batch_first=True)

    model = Other()
    rows = Interaction({"item_seq": torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0]]), "item_length": torch.tensor([2, 1])})

    def encode(i):
        """Three steps for everyone, however long the history."""
        return model.gru(torch.ones(len(i["item_seq"]), 3, 2))[0][:, -1]

    assert not module.padding_is_idle(encode, model, rows)
