"""The loss of windows equals that of each target's own history, one after another; others are refused with a reason."""

import pytest
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.fast_layers import use_fast_layers
from recbole_cocorr.models.objective import Objective
from recbole_cocorr.models.scoring import find_scorer
from recbole_cocorr.models.sequence_objective import SequenceObjective
from tests.conftest import write_inter
from tests.models.test_objective import gradients, slow_loss
from tests.models.test_scoring import disturb

L = 6
# Interactions of a user: one less is the number of targets.
COUNTS = [2, 3, L, L + 1, L + 2, 2 * L + 1, 2 * L + 2, 3 * L + 1, 1]
CAUSAL = {
    "CoCorrRec": {"use_gcn": False, "mini_batch_size": 4, "num_layers": 2, "hidden_size": 16},
    "CoCorrRec (gated)": {"use_gcn": False, "block": "gated", "mini_batch_size": 4, "num_layers": 2, "hidden_size": 16},
    "Mamba4Rec": {"num_layers": 2, "hidden_size": 16},
    "SASRec": {"hidden_size": 16, "inner_size": 16},
    "GRU4Rec": {"embedding_size": 16, "hidden_size": 16},
}


@pytest.fixture
def counted(tmp_path):
    chance = torch.Generator().manual_seed(1)
    rows = [
        (f"u{user}", f"i{int(torch.randint(40, (), generator=chance))}", place)
        for user, count in enumerate(COUNTS)
        for place in range(count)
    ]
    return write_inter(tmp_path / "counted", "counted", rows)


def prepared(make_config, folder, name, **more):
    """Model in evaluation mode (no dropout), the objective of windows, that of single rows, all windows in a batch."""
    arguments = {"split": {"RS": [1, 0, 0]}, "order": "TO", "group_by": "user", "mode": "full"}
    config = make_config(
        name.partition(" ")[0],
        "counted",
        data_path=str(folder),
        eval_args=arguments,
        MAX_ITEM_LIST_LENGTH=L,
        training_rows="sequence",
        item_init="random",
        **more,
    )
    train, _, _ = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    model = build_model(config, train.dataset)
    use_fast_layers(model)
    disturb(model)
    rows = train.dataset[torch.arange(6)]
    single = Objective(model, find_scorer(model, rows), config["loss_type"], rows)
    windows = next(iter(train))
    assert len(train) == 1 and set(windows["item_length"].tolist()) >= {1, L}
    return model, SequenceObjective(single, train.probe(8)), windows, next(train.batches()).sample


def rows_of(model, windows: Interaction) -> list[Interaction]:
    """One row per target: the window's clicks before it, padded to L."""
    rows = []
    for w in range(len(windows)):
        for t in range(int(windows["item_length"][w])):
            sequence = F.pad(windows["item_id_list"][w, : t + 1], (0, L - t - 1))
            columns = {
                "user_id": windows["user_id"][w],
                "item_id_list": sequence,
                "item_length": torch.tensor(t + 1),
                "item_id": windows["target_items"][w, t],
            }
            if "neg_items" in windows:
                columns["neg_items"] = windows["neg_items"][w, t]
            rows.append(Interaction({k: v[None] for k, v in columns.items()}))
    return rows


@pytest.mark.parametrize("loss_type", ["BCE", "BPR", "CE"])
@pytest.mark.parametrize("name", CAUSAL)
def test_a_window_has_the_loss_of_its_rows_one_by_one(make_config, counted, name, loss_type):
    model, objective, windows, _ = prepared(make_config, counted, name, loss_type=loss_type, **CAUSAL[name])
    model.double().eval()
    own = name.startswith(("CoCorrRec", "Mamba4Rec"))  # which leave padding out of the softmax

    def slow(row: Interaction) -> torch.Tensor:
        if loss_type != "CE":
            return slow_loss(model, row, loss_type)
        scores = model.full_sort_predict(row).view(1, -1)
        return F.cross_entropy(scores[:, 1:], row["item_id"] - 1) if own else F.cross_entropy(scores, row["item_id"])

    fast = objective(windows)
    wanted = torch.stack([slow(row) for row in rows_of(model, windows)]).mean()
    torch.testing.assert_close(fast, wanted, rtol=1e-8, atol=1e-9)
    ours, theirs = gradients(model, fast), gradients(model, wanted)
    for parameter, gradient in theirs.items():
        torch.testing.assert_close(ours[parameter], gradient, rtol=1e-6, atol=1e-8, msg=f"{name} {parameter}")


@pytest.mark.parametrize("name", ["CoCorrRec", "SASRec"])
def test_the_sampled_softmax_of_a_window_is_that_of_its_rows(make_config, counted, name):
    more = {"loss_type": "CE", "softmax_sample_num": 15, **CAUSAL[name]}
    model, objective, windows, sample = prepared(make_config, counted, name, **more)
    model.eval()
    rows = rows_of(model, windows)
    single = Objective(model, find_scorer(model, rows[0]), "CE", rows[0])
    wanted = torch.stack([single(row, sample) for row in rows]).mean()
    torch.testing.assert_close(objective(windows, sample), wanted, rtol=1e-5, atol=1e-6)


def test_a_row_short_of_negatives_counts_for_its_pairs(make_config, counted):
    model, objective, windows, _ = prepared(make_config, counted, "CoCorrRec", loss_type="BCE", **CAUSAL["CoCorrRec"])
    model.eval()
    windows["neg_items"][0, 0, 2:] = 0
    rows = rows_of(model, windows)
    pairs = torch.tensor([1 + int((row["neg_items"] > 0).sum()) for row in rows])
    losses = torch.stack([slow_loss(model, row, "BCE") for row in rows])
    torch.testing.assert_close(objective(windows), (losses * pairs).sum() / pairs.sum(), rtol=1e-5, atol=1e-6)


REFUSED = {
    "DIN": ({}, "DIN has a score or a loss that is not made of one vector of the history"),
    "NARM": ({}, "NARM does not give, at each click, the vector of the history that ends there"),
    "STAMP": ({}, "STAMP does not give, at each click, the vector of the history that ends there"),
    "Caser": ({}, "Caser has a score or a loss that is not made of one vector of the history"),
    "CoCorrRec": ({"use_gcn": True}, "the GCN corrects every click by the whole history"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_reads_later_clicks_is_refused(make_config, counted, name):
    settings, reason = REFUSED[name]
    with pytest.raises(UserError, match=reason) as refused:
        prepared(make_config, counted, name, loss_type="CE", **settings)
    assert str(refused.value).startswith("training_rows is sequence, and ")
    assert "training_rows: prefix" in str(refused.value)


def test_a_bidirectional_reader_is_refused_under_sampled_losses_too(make_config, counted):
    with pytest.raises(UserError, match="BERT4Rec does not give, at each click"):
        prepared(make_config, counted, "BERT4Rec", loss_type="BCE", transform=None)


def test_finding_out_leaves_the_model_as_it_was(make_config, counted):
    model, objective, windows, _ = prepared(make_config, counted, "SASRec", loss_type="CE", **CAUSAL["SASRec"])
    assert model.training and "gather_indexes" not in vars(model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    objective(windows)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert "gather_indexes" not in vars(model)
