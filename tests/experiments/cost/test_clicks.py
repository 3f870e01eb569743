"""Reading click by click gives the user vector of reading the history at once, from a state that does not grow."""

import pytest
import torch

from recbole_cocorr.experiments.cost.field import build, history
from recbole_cocorr.experiments.cost.latency import one_user_scorer
from recbole_cocorr.experiments.entries import Entry, catalogue_entries
from recbole_cocorr.models.step import state_bytes, stepper_of
from tests.models.test_scoring import disturb

FIELD = [entry for entry in catalogue_entries() if entry.label != "Pop"]
LABELS = {entry.label: entry for entry in FIELD}
ENTRIES = [
    LABELS["GRU4Rec"],
    LABELS["Mamba4Rec"],
    LABELS["CoCorrRec (w/o GCN)"],
    LABELS["CoCorrRec"],
    Entry("GRU4Rec, deep", "GRU4Rec", {"hidden_size": 32, "num_layers": 2}),
    Entry("CoCorrRec, gated", "CoCorrRec", {"hidden_size": 32, "block": "gated", "num_layers": 2, "use_gcn": False}),
    Entry("CoCorrRec, deep", "CoCorrRec", {"hidden_size": 32, "num_layers": 2, "use_gcn": False}),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.label)
@torch.no_grad()
def test_steps_give_the_models_own_user_vectors(entry):
    length, size = 13, 5
    model = build(entry, length, 50, size)
    disturb(model)
    model.eval()
    steps = stepper_of(model)
    clicks = history(model, length)[model.ITEM_SEQ]
    state, kept = steps.initial_state(), state_bytes(steps.initial_state())
    scorer = one_user_scorer(model, history(model, length))
    for t in range(length):
        user, state = steps.step(clicks[:, t], state)
        interaction = history(model, length)
        interaction[model.ITEM_SEQ][0, t + 1 :] = 0
        interaction[model.ITEM_SEQ_LEN][:] = t + 1
        torch.testing.assert_close(user, scorer.encode(interaction), rtol=1e-4, atol=1e-5)
        assert state_bytes(state) == kept


@pytest.mark.parametrize("label", ["DIN", "SASRec", "BERT4Rec"])
def test_who_has_to_read_again_has_no_steps(label):
    assert stepper_of(build(LABELS[label], 4, 20, 4)) is None


def test_state_bytes_are_those_of_the_tensors():
    d, H, f, K = 64, 4, 16, 10
    device, cloud = stepper_of(build(LABELS["CoCorrRec"], 20, 20, K)).initial_state()
    # W, S_W; b, S_b; keys and gradients of the mini-batch; the place in it, a 64-bit number
    assert state_bytes(device) == 4 * (2 * H * f * f + 2 * d + 2 * K * d) + 8
    assert state_bytes(cloud) == 4 * 2 * d
    assert state_bytes(stepper_of(build(LABELS["CoCorrRec (w/o GCN)"], 20, 20, K)).initial_state()[1]) == 0
    mamba = stepper_of(build(LABELS["Mamba4Rec"], 20, 20, K)).initial_state()
    assert state_bytes(mamba) == 4 * 128 * (4 + 32)
    assert state_bytes(stepper_of(build(LABELS["GRU4Rec"], 20, 20, K)).initial_state()) == 4 * d
