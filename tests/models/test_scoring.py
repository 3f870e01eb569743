"""Whatever the shortcut, the scores are the model's own."""

import numpy as np
import pytest
import torch
from torch import nn

from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.registry import find_model
from recbole_cocorr.models.scoring import (
    DotProductScorer,
    FullScoreScorer,
    PredictScorer,
    TwoWayScorer,
    find_scorer,
    repeat_for,
)

# Not imported from RecBole: its package would switch torch's anomaly mode on for the whole session.
GRU4Rec = find_model("GRU4Rec")

SCORERS = {
    "CoCorrRec": DotProductScorer,
    "GRU4Rec": DotProductScorer,
    "SASRec": DotProductScorer,
    "BERT4Rec": DotProductScorer,
    "NARM": DotProductScorer,
    "STAMP": DotProductScorer,
    "Caser": DotProductScorer,
    "NextItNet": DotProductScorer,
    "SRGNN": DotProductScorer,
    "GCSAN": DotProductScorer,
    "LightSANs": DotProductScorer,
    "SINE": DotProductScorer,
    "FOSSIL": DotProductScorer,
    "HRM": DotProductScorer,
    "HGN": FullScoreScorer,  # another table for the targets
    "NPE": FullScoreScorer,  # a ReLU on the targets
    "FPMC": FullScoreScorer,  # two products
    "TransRec": FullScoreScorer,  # a distance
    "RepeatNet": FullScoreScorer,
    "SHAN": TwoWayScorer,  # predict reads the history from the other side
    "CORE": TwoWayScorer,  # full_sort_predict divides by a temperature
    "DIN": PredictScorer,
    "DIEN": PredictScorer,
}


def disturb(model: nn.Module, seed: int = 3) -> None:
    """Weights as after some training: what begins at zero no longer is."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.1)


def prepared(config):
    """Model, four probe rows, and the test rows."""
    train, _, test = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    model = build_model(config, train.dataset)
    probe = train.transform(train.dataset, train.dataset[torch.arange(4)])
    return model, probe, next(iter(test.batches()))


@pytest.mark.parametrize("name", SCORERS)
@torch.no_grad()
def test_scores_are_the_models_own(make_config, name):
    loss_type = "CE" if name == "CORE" else "BPR"
    model, probe, rows = prepared(make_config(name, loss_type=loss_type, MAX_ITEM_LIST_LENGTH=8))
    scorer = find_scorer(model, probe)
    assert type(scorer) is SCORERS[name]
    disturb(model)  # after the search: a shortcut that holds at the start only is none
    model.eval()
    scorer.prepare()
    some = rows.interaction[torch.arange(20)]
    items = rows.candidates[:20, :30] if name != "DIEN" else rows.candidates[:20, :5]
    expected = model.predict(repeat_for(some, items, "item_id")).view(items.shape)
    torch.testing.assert_close(scorer.candidates(some, items), expected, rtol=1e-4, atol=1e-5)
    if not issubclass(SCORERS[name], PredictScorer):
        whole = model.full_sort_predict(some).view(20, -1)
        torch.testing.assert_close(scorer.all_items(some), whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_without_full_sort_predict_every_item_is_predicted(make_config):
    model, probe, rows = prepared(make_config("DIN", MAX_ITEM_LIST_LENGTH=4))
    scorer = find_scorer(model, probe)
    model.eval()
    some = rows.interaction[torch.arange(3)]
    every = torch.arange(model.n_items).expand(3, -1)
    whole = scorer.all_items(some)
    assert whole.shape == every.shape
    torch.testing.assert_close(whole.flatten(), model.predict(repeat_for(some, every, "item_id")))


@torch.no_grad()
def test_pairs_are_predicted_in_parts(make_config, monkeypatch):
    """One call for all pairs would need memory for every history once per candidate."""
    import recbole_cocorr.models.scoring as module

    model, probe, rows = prepared(make_config("DIN", MAX_ITEM_LIST_LENGTH=4))
    scorer = find_scorer(model, probe)
    model.eval()
    at_once = scorer.candidates(rows.interaction, rows.candidates)
    monkeypatch.setattr(module._predict, "__defaults__", (250,))
    sizes = []
    predict = model.predict
    model.predict = lambda interaction: sizes.append(len(interaction)) or predict(interaction)
    torch.testing.assert_close(scorer.candidates(rows.interaction, rows.candidates), at_once)
    assert set(sizes) == {202}


@torch.no_grad()
def test_a_sequence_is_encoded_once_however_many_candidates(make_config):
    model, probe, rows = prepared(make_config("GRU4Rec"))
    scorer = find_scorer(model, probe)
    scorer.prepare()
    read = []
    model.gru_layers.register_forward_hook(lambda module, inputs, output: read.append(len(inputs[0])))
    scorer.candidates(rows.interaction, rows.candidates)
    assert read == [len(rows.interaction)]


@pytest.mark.parametrize("name", ["GRU4Rec", "BERT4Rec", "DIN"])
def test_the_search_leaves_the_model_as_it_was(make_config, name):
    model, probe, _ = prepared(make_config(name))
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    find_scorer(model, probe)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None for p in model.parameters())


GRU_SETTINGS = {"embedding_size": 16, "hidden_size": 16, "num_layers": 1, "dropout_prob": 0.1}


class BiasedGRU(GRU4Rec):
    """A user's own model: its item bias begins at zero, as biases do."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.bias = nn.Parameter(torch.zeros(self.n_items))

    def predict(self, interaction):
        return super().predict(interaction) + self.bias[interaction[self.ITEM_ID]]

    def full_sort_predict(self, interaction):
        return super().full_sort_predict(interaction) + self.bias


@torch.no_grad()
def test_a_term_that_begins_at_zero_is_not_lost(make_config):
    model, probe, rows = prepared(make_config(BiasedGRU, loss_type="CE", **GRU_SETTINGS))
    scorer = find_scorer(model, probe)
    model.bias.copy_(torch.arange(model.n_items))
    model.eval()
    scorer.prepare()
    expected = model.full_sort_predict(rows.interaction)
    torch.testing.assert_close(scorer.all_items(rows.interaction), expected)
    torch.testing.assert_close(
        scorer.candidates(rows.interaction, rows.candidates), expected.gather(1, rows.candidates)
    )


class OwnArguments(GRU4Rec):
    """A user's own model whose forward has arguments of other names, in another order."""

    def forward(self, lengths, clicks):
        return super().forward(clicks, lengths)

    def predict(self, interaction):
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID][:, None])[:, 0]

    def full_sort_predict(self, interaction):
        users = self.forward(interaction[self.ITEM_SEQ_LEN], interaction[self.ITEM_SEQ])
        return users @ self.item_embedding.weight.T


@torch.no_grad()
def test_arguments_of_other_names_are_not_guessed(make_config):
    model, probe, rows = prepared(make_config(OwnArguments, loss_type="CE", **GRU_SETTINGS))
    scorer = find_scorer(model, probe)
    assert type(scorer) is FullScoreScorer
    model.eval()
    torch.testing.assert_close(scorer.all_items(rows.interaction), model.full_sort_predict(rows.interaction))


def test_equal_item_vectors_get_equal_scores_to_the_last_bit(make_config):
    """Ties are counted by equality, wherever the items stand in the row."""
    model, probe, rows = prepared(make_config("CoCorrRec"))
    with torch.no_grad():
        model.item_embedding.weight[1:] = model.item_embedding.weight[1]
        scorer = find_scorer(model, probe)
        scorer.prepare()
        scores = scorer.candidates(rows.interaction, rows.candidates)
    assert np.ptp(scores.numpy(), axis=1).max() == 0
