"""CoCorrRec as a model: every option does what it says, and nothing else moves a score."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recbole.data.interaction import Interaction
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.models.cocorrrec.network import CoCorrRec
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.training.checkpoint import load_weights
from recbole_cocorr.training.recommend import SavedConfig, Vocabulary
from tests.reference.gated_naive import naive_gated

ITEMS = 30
SETTINGS = {
    "model": "CoCorrRec",
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "LABEL_FIELD": "label",
    "LIST_SUFFIX": "_list",
    "ITEM_LIST_LENGTH_FIELD": "item_length",
    "NEG_PREFIX": "neg_",
    "MAX_ITEM_LIST_LENGTH": 7,
    "device": torch.device("cpu"),
    "block": "plain",
    "hidden_size": 16,
    "num_heads": 2,
    "num_layers": 1,
    "mini_batch_size": None,
    "inner_lr": 1.0,
    "use_gcn": True,
    "target_transform": "identity",
    "dropout_prob": 0.0,
    "initializer_range": 0.02,
    "loss_type": "BCE",
}


def build(**changed) -> CoCorrRec:
    """A model as training begins with it."""
    torch.manual_seed(0)
    config = SavedConfig({**SETTINGS, **changed})
    return build_model(config, Vocabulary(config, ["[PAD]", *map(str, range(1, ITEMS))], 5)).eval()


def trained(**changed) -> CoCorrRec:
    """A model in float64 with every parameter moved off its start, where alpha and some biases are 0."""
    model = build(**changed).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * (0.1 if "token_scale" in name else 0.4))
        model.item_embedding.weight[0] = 0
    return model


def batch(histories: list[list[int]], length: int = 7, **columns) -> Interaction:
    item_seq = torch.zeros(len(histories), length, dtype=torch.int64)
    for row, history in enumerate(histories):
        item_seq[row, : len(history)] = torch.tensor(history, dtype=torch.int64)
    lengths = torch.tensor([len(h) for h in histories])
    return Interaction({"item_id_list": item_seq, "item_length": lengths, **columns})


def some_batch(seed: int = 0, rows: int = 6, negatives: int = 4) -> Interaction:
    """Rows of every length, with distinct candidates."""
    generator = np.random.default_rng(seed)
    histories = [generator.integers(1, ITEMS, 1 + row % 7).tolist() for row in range(rows)]
    items = torch.from_numpy(np.stack([generator.permutation(np.arange(1, ITEMS)) for _ in range(rows)]))
    return batch(histories, item_id=items[:, 0], neg_items=items[:, 1 : 1 + negatives])


GCN = pytest.mark.parametrize("use_gcn", [True, False], ids=["gcn", "alone"])
BLOCK = pytest.mark.parametrize("block", ["plain", "gated"])
PHI = pytest.mark.parametrize("target_transform", ["identity", "mlp"])


# -- scores -------------------------------------------------------------------------------------


@GCN
@PHI
def test_a_score_is_the_user_vector_times_phi_of_the_item(use_gcn, target_transform):
    model = trained(use_gcn=use_gcn, target_transform=target_transform)
    rows = some_batch()
    items = model.item_embedding.weight
    if target_transform == "mlp":
        first, _, last = model.target_transform
        items = torch.tanh(items @ first.weight.T + first.bias) @ last.weight.T + last.bias
    users = model.forward(rows["item_id_list"], rows["item_length"])
    expected = users @ items.T
    torch.testing.assert_close(model.full_sort_predict(rows), expected)
    torch.testing.assert_close(model.predict(rows), expected.gather(1, rows["item_id"][:, None])[:, 0])


@given(
    st.lists(st.lists(st.integers(1, ITEMS - 1), max_size=9), min_size=1, max_size=4),
    st.sampled_from([1, 2, 3, 9]),
    st.booleans(),
    st.sampled_from(["plain", "gated"]),
)
@example([[1, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5, 4, 3, 2, 1]], 9, True, "plain")  # little padding
@example([[1], [2, 3], []], 9, True, "gated")  # a lot
@settings(max_examples=25, deadline=None)
def test_padding_never_changes_a_score(histories, size, use_gcn, block):
    model = trained(mini_batch_size=size, use_gcn=use_gcn, block=block)
    together = model.full_sort_predict(batch(histories, length=9))
    with torch.no_grad():  # what stands in the padding's place is nobody's business
        model.item_embedding.weight[0] = 3.0
    for row, history in enumerate(histories):
        alone = model.full_sort_predict(batch([history], length=max(1, len(history))))
        if history:
            torch.testing.assert_close(alone[0, 1:], together[row, 1:], rtol=1e-9, atol=1e-9)


def test_every_click_counts_and_so_does_the_order():
    model = trained()
    scores = model.full_sort_predict(batch([[3, 4, 5], [9, 4, 5], [4, 3, 5], [3, 4], [3, 4, 9]]))
    assert (torch.cdist(scores, scores) + torch.eye(5) > 1e-3).all()


@GCN
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 20])
def test_any_mini_batch_size_equals_reading_click_by_click(size, use_gcn):
    """The slow, obvious way: the layer's step form, one click after another, no padding."""
    model = trained(mini_batch_size=size, use_gcn=use_gcn)
    rows = some_batch()
    users = model.encode(rows)
    for row, length in enumerate(rows["item_length"].tolist()):
        x = model.hidden_states(rows["item_id_list"][row : row + 1, :length])
        correction = model.correction(x, torch.tensor([length])) if use_gcn else None
        fusion = model.fusion if use_gcn else None
        outputs, _ = model.layers[0].ttt.primal(x, correction=correction, fusion=fusion)
        torch.testing.assert_close(users[row], model.final_norm(outputs)[0, -1], rtol=1e-8, atol=1e-9)


@GCN
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_gated_blocks_equal_the_slow_and_obvious_reading(layers, size, use_gcn):
    """Outputs at every position, the user vector, and the gradient of every parameter."""
    model = trained(block="gated", num_layers=layers, mini_batch_size=size, use_gcn=use_gcn)
    for history in ([5], [3, 4, 5], [3, 4, 5, 9, 3, 3, 11]):
        item_seq, length = torch.tensor([history + [0] * (7 - len(history))]), torch.tensor([len(history)])
        x = model.hidden_states(item_seq)
        correction = model.correction(x, length) if use_gcn else None
        expected = naive_gated(model, history, correction)
        torch.testing.assert_close(model.device_outputs(x, correction)[0, : len(history)], expected)
        user = model.forward(item_seq, length)[0]
        torch.testing.assert_close(user, expected[-1])
        weight = torch.linspace(-1, 1, 16, dtype=torch.float64)
        ours, theirs = gradients(model, user @ weight), gradients(model, expected[-1] @ weight)
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_half_the_dropout_acts_on_the_branches_of_a_gated_block():
    model = build(block="gated", dropout_prob=0.5)
    assert (model.dropout.p, model.layers[0].dropout.p) == (0.5, 0.25)
    model.dropout.p = 0.0
    rows = some_batch()
    assert torch.equal(model.encode(rows), build(block="gated").encode(rows))
    model.train()
    assert not torch.equal(model.encode(rows), model.encode(rows))


def test_a_checkpoint_that_names_no_block_is_plain():
    names = build().state_dict().keys()
    assert build(block=None).state_dict().keys() == names
    assert not any("gate" in name or "embedding_norm" in name for name in names)
    with pytest.raises(UserError, match="block is 'gate'; it must be plain or gated"):
        build(block="gate")


# -- options ------------------------------------------------------------------------------------


def test_without_a_mini_batch_size_it_is_the_longest_history():
    assert build().layers[0].ttt.token_scale.shape == (7,)
    assert build(mini_batch_size=3).layers[0].ttt.token_scale.shape == (3,)


def test_layers_stand_one_after_another_and_the_first_is_corrected():
    model = trained(num_layers=3)
    rows = some_batch()
    x = model.hidden_states(rows["item_id_list"])
    correction = model.correction(x, rows["item_length"])
    x = model.layers[0].ttt(x, correction=correction, fusion=model.fusion)
    for layer in model.layers[1:]:
        x = layer.ttt(layer.input_norm(x))
    last = model.final_norm(x)[torch.arange(6), rows["item_length"] - 1]
    torch.testing.assert_close(model.encode(rows), last)
    assert len(model.layers) == 3


def test_the_inner_learning_rate_is_how_fast_the_layer_learns():
    histories = [[3, 4, 5], [9, 8, 5]]
    still = trained(inner_lr=0.0, use_gcn=False).encode(batch(histories))
    # A model that learns nothing while reading sees the last click only, at the same place.
    torch.testing.assert_close(still[0], still[1])
    moved = [trained(inner_lr=rate, use_gcn=False).encode(batch(histories)) for rate in (0.0, 0.5, 1.0)]
    assert not torch.allclose(moved[1][0], moved[1][1])
    assert not torch.allclose(moved[1], moved[2])


def test_dropout_acts_in_training_on_the_clicks_only():
    rows = some_batch()
    model = trained(dropout_prob=0.5)
    assert torch.equal(model.encode(rows), trained().encode(rows))
    model.train()
    assert not torch.equal(model.encode(rows), model.encode(rows))
    assert torch.equal(model.item_vectors(), model.item_embedding.weight)
    without = trained().train()
    assert torch.equal(without.encode(rows), without.encode(rows))


def test_the_initial_range_is_the_deviation_of_the_weights():
    narrow, wide = build(initializer_range=0.02), build(initializer_range=0.2)
    for name in ("item_embedding.weight", "layers.0.ttt.q_proj.weight", "gcn.attention_net.fc3.weight"):
        assert narrow.get_parameter(name).std().item() == pytest.approx(0.02, rel=0.15), name
        assert wide.get_parameter(name).std().item() == pytest.approx(0.2, rel=0.15), name
    assert (narrow.item_embedding.weight[0] == 0).all()


def test_the_device_starts_from_the_same_weights_with_and_without_the_cloud():
    with_gcn, alone = build().state_dict(), build(use_gcn=False).state_dict()
    assert not any(name.startswith(("gcn.", "fusion.")) for name in alone)
    assert any(name.startswith("gcn.") for name in with_gcn)
    for name, weight in alone.items():
        assert torch.equal(weight, with_gcn[name]), name


@pytest.mark.parametrize("loss_type", ["BCE", "BPR", "CE"])
@GCN
@PHI
@BLOCK
def test_every_parameter_learns(loss_type, use_gcn, target_transform, block):
    model = trained(loss_type=loss_type, use_gcn=use_gcn, target_transform=target_transform, num_layers=2, block=block)
    model.calculate_loss(some_batch()).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        # The MLP's last bias shifts a user's scores alike: a loss of their differences does not see it.
        if not (name == "target_transform.2.bias" and loss_type != "BCE"):
            assert p.grad.abs().max() > 1e-9, name
    if loss_type != "CE":  # whose softmax, as in RecBole's models, runs over the padding item too
        assert (model.item_embedding.weight.grad[0] == 0).all()


def test_a_gcn_checkpoint_can_be_used_without_the_gcn():
    corrected = trained()
    alone = build(use_gcn=False).double()
    load_weights(alone, corrected.state_dict(), "a.safetensors")
    rows = some_batch()
    x = corrected.hidden_states(rows["item_id_list"])
    outputs = corrected.device_outputs(x, None)[torch.arange(6), rows["item_length"] - 1]
    torch.testing.assert_close(alone.encode(rows), outputs)
    assert not torch.allclose(alone.encode(rows), corrected.encode(rows), atol=1e-3)
    with pytest.raises(UserError, match=r"a\.safetensors lacks the weight 'fusion\.alpha'"):
        load_weights(corrected, alone.state_dict(), "a.safetensors")


# -- losses -------------------------------------------------------------------------------------


@GCN
def test_bce_is_the_mean_over_one_positive_and_its_negatives(use_gcn):
    model, rows = trained(use_gcn=use_gcn), some_batch()
    scores = model.full_sort_predict(rows)
    total = 0.0
    for row, positive in enumerate(rows["item_id"].tolist()):
        total += -F.logsigmoid(scores[row, positive])
        total += sum(-F.logsigmoid(-scores[row, item]) for item in rows["neg_items"][row].tolist())
    torch.testing.assert_close(model.calculate_loss(rows), total / 30)


def test_bpr_is_the_mean_over_the_pairs():
    model, rows = trained(loss_type="BPR"), some_batch()
    scores = model.full_sort_predict(rows)
    pairs = [
        -F.logsigmoid(scores[row, positive] - scores[row, item])
        for row, positive in enumerate(rows["item_id"].tolist())
        for item in rows["neg_items"][row].tolist()
    ]
    torch.testing.assert_close(model.calculate_loss(rows), sum(pairs) / len(pairs))


def test_ce_is_over_the_whole_catalogue_but_padding():
    model, rows = trained(loss_type="CE"), some_batch()
    expected = nn.CrossEntropyLoss()(model.full_sort_predict(rows)[:, 1:], rows["item_id"] - 1)
    loss = model.calculate_loss(rows)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert (model.item_embedding.weight.grad[0] == 0).all(), "padding is not trained"


def gradients(model, loss) -> dict[str, torch.Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, materialize_grads=True), strict=True))


@GCN
@PHI
def test_recboles_label_rows_give_the_same_loss(use_gcn, target_transform):
    model, rows = trained(use_gcn=use_gcn, target_transform=target_transform), some_batch()
    items = torch.cat([rows["item_id"][:, None], rows["neg_items"]], dim=1)
    labels = torch.zeros(6, 5, dtype=torch.float64)
    labels[:, 0] = 1
    sequences = Interaction({k: rows[k] for k in ("item_id_list", "item_length")})
    stock = sequences.repeat_interleave(5)
    stock.update(Interaction({"item_id": items.flatten(), "label": labels.flatten()}))
    ours, theirs = model.calculate_loss(rows), model.calculate_loss(stock)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(model, ours), gradients(model, theirs))


@pytest.mark.parametrize("loss_type", ["BPR", "BCE"])
def test_recboles_rows_with_one_negative_give_the_same_loss(loss_type):
    model, rows = trained(loss_type=loss_type), some_batch(negatives=1)
    stock = Interaction({k: rows[k] for k in ("item_id_list", "item_length", "item_id")})
    stock.update(Interaction({"neg_item_id": rows["neg_items"][:, 0]}))
    torch.testing.assert_close(model.calculate_loss(rows), model.calculate_loss(stock))


@pytest.mark.parametrize("loss_type", ["BCE", "BPR"])
def test_missing_negatives_do_not_count(loss_type):
    model, rows = trained(loss_type=loss_type), some_batch(negatives=4)
    rows["neg_items"][2, 1:] = 0
    rows["neg_items"][4, :] = 0
    total, count = 0.0, 0
    scores = model.full_sort_predict(rows)
    for row, positive in enumerate(rows["item_id"].tolist()):
        negatives = [item for item in rows["neg_items"][row].tolist() if item]
        if loss_type == "BCE":
            total, count = total - F.logsigmoid(scores[row, positive]), count + 1
        base = scores[row, positive] if loss_type == "BPR" else 0.0
        total -= sum(F.logsigmoid(base - scores[row, item]) for item in negatives)
        count += len(negatives)
    torch.testing.assert_close(model.calculate_loss(rows), total / count)


# -- numbers at the edge ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, None])
@GCN
@BLOCK
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_nothing_is_nan(size, use_gcn, half, block):
    model = build(mini_batch_size=size, use_gcn=use_gcn, block=block).train()
    rows = some_batch()
    rows["item_id_list"][0], rows["item_length"][0] = 0, 0  # a user without a click
    rows["item_id_list"][1] = 5  # the same click again and again
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        loss = model.calculate_loss(rows)
        scores = model.full_sort_predict(rows)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores).all()
    for name, p in model.named_parameters():
        assert torch.isfinite(p.grad).all(), name


def test_half_precision_scores_are_near_the_full_ones():
    model, rows = trained().float(), some_batch()
    full = model.full_sort_predict(rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.full_sort_predict(rows)
    assert F.cosine_similarity(full, half.float(), dim=1).min() > 0.98


# -- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("hidden_size", 15, "hidden_size is 15 and num_heads 2; hidden_size must be a multiple of twice num_heads"),
        ("hidden_size", 64.0, "hidden_size is 64.0; it must be a whole number of at least 1"),
        ("hidden_size", None, "hidden_size is None; it must be a whole number"),
        ("num_heads", 0, "num_heads is 0; it must be a whole number of at least 1"),
        ("num_heads", 16, "must be a multiple of twice num_heads"),
        ("num_layers", True, "num_layers is True; it must be a whole number"),
        ("mini_batch_size", -1, "mini_batch_size is -1; it must be a whole number of at least 1"),
        ("mini_batch_size", "ten", "mini_batch_size is 'ten'; it must be a whole number"),
        ("loss_type", "NLL", "loss_type is 'NLL'; it must be BCE, BPR or CE"),
        ("target_transform", "linear", "target_transform is 'linear'; it must be identity or mlp"),
        ("use_gcn", "yes", "use_gcn is 'yes'; it must be True or False"),
        ("dropout_prob", 1.0, "dropout_prob is 1.0; it must be at least 0 and below 1"),
        ("dropout_prob", "0.2", "dropout_prob is '0.2'; it must be at least 0 and below 1"),
        ("inner_lr", -0.1, "inner_lr is -0.1; it must be a finite number of at least 0"),
        ("initializer_range", None, "initializer_range is None; it must be a finite number of at least 0"),
    ],
)
def test_settings_that_do_not_fit_are_named(setting, value, sentence):
    with pytest.raises(UserError, match="CoCorrRec cannot be built with these settings: ") as caught:
        build(**{setting: value})
    assert sentence in str(caught.value)
