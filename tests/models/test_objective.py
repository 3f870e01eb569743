"""The loss of any model equals the slow way: every sequence repeated for each of its candidates."""

import pytest
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.loss import BPRLoss

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.objective import Objective, bce_loss, bpr_loss
from recbole_cocorr.models.scoring import find_scorer
from tests.models.test_scoring import disturb


def prepared(config):
    """Model in evaluation mode (no dropout), its objective, and some training rows."""
    train, _, _ = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    model = build_model(config, train.dataset)
    disturb(model)
    rows = next(iter(train))[torch.arange(30)]
    objective = Objective(model, find_scorer(model, rows), config["loss_type"], rows)
    return model.double().eval(), objective, rows


def repeated(rows: Interaction, items: torch.Tensor) -> Interaction:
    """Row by row: the sequence of row b beside each of its items."""
    owner = torch.tensor([b for b in range(len(items)) for _ in range(items.shape[1])])
    columns = {k: v[owner] for k, v in rows.interaction.items() if k != "neg_items"}
    return Interaction({**columns, "item_id": items.flatten()})


def slow_loss(model, rows: Interaction, loss_type: str) -> torch.Tensor:
    """RecBole's way: ``predict`` of each pair, then its loss over the pairs that exist."""
    items = torch.cat([rows["item_id"][:, None], rows["neg_items"]], dim=1)
    scores = model.predict(repeated(rows, items)).view(items.shape)
    real = items > 0
    if loss_type == "BCE":
        labels = torch.zeros_like(scores)
        labels[:, 0] = 1
        return F.binary_cross_entropy_with_logits(scores[real], labels[real])
    kept = real[:, 1:]
    return BPRLoss()(scores[:, :1].expand_as(kept)[kept], scores[:, 1:][kept])


def gradients(model, loss) -> dict[str, torch.Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, found, strict=True)}


@pytest.mark.parametrize("missing", [False, True], ids=["all", "some-missing"])
@pytest.mark.parametrize("loss_type", ["BCE", "BPR"])
@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec", "BERT4Rec", "Caser", "NARM", "CoCorrRec"])
def test_dot_product_models(make_config, name, loss_type, missing):
    model, objective, rows = prepared(make_config(name, loss_type=loss_type))
    if missing:  # users of a small catalogue have fewer items left
        rows["neg_items"][3, 2:] = 0
        rows["neg_items"][7, :] = 0
    fast, slow = objective(rows), slow_loss(model, rows, loss_type)
    # RecBole's BPRLoss adds 1e-10 inside its logarithm.
    torch.testing.assert_close(fast, slow, rtol=1e-8, atol=1e-9)
    ours, theirs = gradients(model, fast), gradients(model, slow)
    for parameter, gradient in theirs.items():
        torch.testing.assert_close(ours[parameter], gradient, rtol=1e-7, atol=1e-9, msg=f"{name} {parameter}")


@pytest.mark.parametrize("name", ["HGN", "NPE", "FPMC", "TransRec", "SHAN"])
def test_bce_of_models_that_are_no_dot_product(make_config, name):
    model, objective, rows = prepared(make_config(name, loss_type="BCE"))
    rows["neg_items"][3, 2:] = 0
    fast, slow = objective(rows), slow_loss(model, rows, "BCE")
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(gradients(model, fast), gradients(model, slow))


@pytest.mark.parametrize("name", ["HGN", "TransRec"])
def test_bpr_of_models_that_are_no_dot_product_is_their_own(make_config, name):
    """It holds more than the pairs: HGN regularises, TransRec too."""
    model, objective, rows = prepared(make_config(name, loss_type="BPR"))
    rows["neg_items"][3, 2:] = 0
    pairs = repeated(rows, rows["neg_items"])
    pairs.update(Interaction({"neg_item_id": pairs["item_id"]}))
    pairs.update(Interaction({"item_id": rows["item_id"].repeat_interleave(4)}))
    pairs = pairs[pairs["neg_item_id"] > 0]
    assert len(pairs) == 118
    torch.testing.assert_close(objective(rows), model.calculate_loss(pairs))


@pytest.mark.parametrize("loss_type", ["BCE", "BPR", "CE"])
def test_a_model_that_scores_pairs_has_its_own_loss_on_labels(make_config, loss_type):
    model, objective, rows = prepared(make_config("DIN", loss_type=loss_type, MAX_ITEM_LIST_LENGTH=5))
    model.float()  # its predict mixes in a float32 mask
    rows["neg_items"][3, 2:] = 0
    items = torch.cat([rows["item_id"][:, None], rows["neg_items"]], dim=1)
    stock = repeated(rows, items)
    stock.update(Interaction({"label": torch.eye(5)[0].repeat(30)}))
    torch.testing.assert_close(objective(rows), model.calculate_loss(stock[stock["item_id"] > 0]))
    chance = model.predict(stock)[stock["item_id"] > 0]
    expected = F.binary_cross_entropy(chance, stock["label"][stock["item_id"] > 0])
    torch.testing.assert_close(objective(rows), expected, rtol=1e-4, atol=1e-5)


def test_repeatnet_keeps_its_likelihood(make_config):
    model, objective, rows = prepared(make_config("RepeatNet", loss_type="BCE"))
    model.float()
    torch.testing.assert_close(objective(rows), model.calculate_loss(rows))


def test_cross_entropy_takes_no_negatives_though_a_batch_holds_some(make_config):
    """SINE says that it wants pairs, and gets them under every loss."""
    model, objective, rows = prepared(make_config("SINE", loss_type="CE"))
    assert "neg_items" in rows
    expected = F.cross_entropy(model.full_sort_predict(rows), rows["item_id"])
    torch.testing.assert_close(objective(rows), expected)


@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec", "CoCorrRec"])
def test_cross_entropy_is_over_the_catalogue(make_config, name):
    model, objective, rows = prepared(make_config(name, loss_type="CE"))
    assert "neg_items" not in rows
    first = int(name == "CoCorrRec")  # RecBole's own models count padding as an item
    expected = F.cross_entropy(model.full_sort_predict(rows)[:, first:], rows["item_id"] - first)
    torch.testing.assert_close(objective(rows), expected)


@pytest.mark.parametrize("ft_ratio", [0.0, 1.0])
def test_bert4rec_learns_by_its_cloze_task(make_config, ft_ratio):
    """In blocks, over the masked positions alone; with the loss and every gradient that RecBole computes."""
    config = make_config("BERT4Rec", ft_ratio=ft_ratio)
    assert config["loss_type"] == "CE"
    model, _, rows = prepared(config)
    model.float()
    assert "Mask_item_id_list" in rows
    with torch.no_grad():
        model.output_bias.normal_()
    objective = Objective(model, find_scorer(model, rows), "CE", rows)
    assert objective._cloze_in_blocks
    counted = int((rows["MASK_INDEX"] > 0).sum())
    assert 0 < counted < rows["MASK_INDEX"].numel()
    fast, slow = objective(rows), model.calculate_loss(rows)
    torch.testing.assert_close(fast, slow)
    ours, theirs = gradients(model, fast), gradients(model, slow)
    for parameter, gradient in theirs.items():
        torch.testing.assert_close(ours[parameter], gradient, rtol=1e-4, atol=1e-6, msg=parameter)


def test_a_cloze_loss_of_another_kind_stays_the_models_own(make_config):
    model, _, rows = prepared(make_config("BERT4Rec"))
    model.float()
    own = model.calculate_loss
    model.calculate_loss = lambda interaction: 2 * own(interaction)
    objective = Objective(model, find_scorer(model, rows), "CE", rows)
    assert not objective._cloze_in_blocks
    torch.testing.assert_close(objective(rows), 2 * own(rows))


def test_every_sequence_is_encoded_once(make_config):
    model, objective, rows = prepared(make_config("GRU4Rec"))
    read = []
    model.gru_layers.register_forward_hook(lambda module, inputs, output: read.append(len(inputs[0])))
    objective(rows)
    assert read == [30]


def test_dropout_acts_in_training(make_config):
    model, objective, rows = prepared(make_config("GRU4Rec", dropout_prob=0.5))
    model.train()
    assert objective(rows) != objective(rows)


@pytest.mark.parametrize("loss", [bce_loss, bpr_loss])
def test_rows_without_any_negative_are_no_division_by_zero(loss):
    scores = torch.zeros(2, 3, requires_grad=True)
    real = torch.tensor([[True, False, False]] * 2)
    value = loss(scores, real)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(scores.grad).all()


# -- models that refuse their settings ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("CORE", r"CORE cannot be built with these settings: Make sure 'loss_type' in \['CE'\]"),
        ("GRU4RecF", "GRU4RecF cannot be built with these settings: it asks for 'class'"),
        ("SASRecCPR", "SASRecCPR cannot be built with these settings: it quit, for the reason above"),
    ],
)
def test_a_refusal_is_a_sentence(make_config, name, sentence):
    config = make_config(name, loss_type="BPR")
    train = data_preparation(config, create_dataset(config))[0]
    with pytest.raises(UserError, match=sentence):
        build_model(config, train.dataset)


@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec"])
def test_a_stock_models_cross_entropy_is_taken_in_blocks_with_its_own_gradient(make_config, name):
    model, objective, rows = prepared(make_config(name, loss_type="CE"))
    assert objective._in_blocks
    fast, slow = objective(rows), model.calculate_loss(rows)
    torch.testing.assert_close(fast, slow)
    ours, theirs = gradients(model, fast), gradients(model, slow)
    for parameter, gradient in theirs.items():
        torch.testing.assert_close(ours[parameter], gradient, rtol=1e-7, atol=1e-9, msg=parameter)


def test_a_loss_that_is_another_stays_the_models_own(make_config):
    model, objective, rows = prepared(make_config("CORE", loss_type="CE"))  # CORE divides by a temperature
    assert not objective._in_blocks
    torch.testing.assert_close(objective(rows), model.calculate_loss(rows))


@pytest.mark.parametrize("name", ["GRU4Rec", "CoCorrRec"])
def test_sampled_softmax_is_the_softmax_of_the_sample(make_config, name):
    config = make_config(name, loss_type="CE", softmax_sample_num=50, softmax_sample_alpha=0.7)
    train, _, _ = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    model = build_model(config, train.dataset).double().eval()
    batch = next(train.batches())
    rows, sample = batch.interaction, batch.sample
    assert sample.items.shape == (50,) and (sample.items > 0).all()
    count = torch.bincount(train.dataset.inter_feat["item_id"], minlength=train.dataset.item_num)
    chance = (1.0 + count) ** 0.7
    chance[0] = 0
    chance /= chance.sum()
    torch.testing.assert_close(sample.log_expected, (50 * chance[sample.items]).log().float())
    scores, target = model.full_sort_predict(rows), rows["item_id"]
    slow = []
    for row in range(len(rows)):  # row by row
        kept = sample.items != target[row]
        logits = torch.cat([scores[row, target[row]][None], (scores[row, sample.items] - sample.log_expected)[kept]])
        slow.append(-torch.log_softmax(logits, 0)[0])
    fast = Objective(model, find_scorer(model, rows), "CE", rows)(rows, sample)
    torch.testing.assert_close(fast.double(), torch.stack(slow).mean(), rtol=1e-5, atol=0)


def test_the_shared_sample_is_that_of_epoch_and_batch_alone(make_config):
    config = make_config(loss_type="CE", softmax_sample_num=20, train_batch_size=64)
    train, _, _ = data_preparation(config, create_dataset(config))
    first = [b.sample.items.tolist() for b in train.batches()]
    assert first == [b.sample.items.tolist() for b in train.batches()]
    train.set_epoch(1)
    others = [b.sample.items.tolist() for b in train.batches()]
    assert len({tuple(s) for s in first + others}) == len(first + others) > 4


@pytest.mark.parametrize("name", ["CORE", "BERT4Rec"])  # a temperature, and the cloze task
def test_sampled_softmax_takes_the_place_of_no_other_loss(make_config, name):
    config = make_config(name, loss_type="CE", softmax_sample_num=20)
    train, _, _ = data_preparation(config, create_dataset(config))
    model = build_model(config, train.dataset)
    batch = next(train.batches())
    objective = Objective(model, find_scorer(model, batch.interaction), "CE", batch.interaction)
    with pytest.raises(UserError, match=f"softmax_sample_num needs a model whose CE loss is a softmax.*{name}"):
        objective(batch.interaction, batch.sample)
