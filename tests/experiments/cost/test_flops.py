"""The counter sees every operation, and the formulas agree with it to the last one."""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from recbole_cocorr.experiments.cost.field import build, history
from recbole_cocorr.experiments.cost.flops import FlopCounter, Flops, count_flops
from recbole_cocorr.experiments.cost.latency import one_user_scorer
from recbole_cocorr.experiments.cost.operations import UncountedOperation
from recbole_cocorr.experiments.entries import Entry, catalogue_entries
from recbole_cocorr.layers.selective_scan import selective_scan
from recbole_cocorr.models.cocorrrec.step import CoCorrStepper
from recbole_cocorr.models.step import stepper_of
from tests.reference import cost_formulas as formulas

FIELD = [entry for entry in catalogue_entries() if entry.label != "Pop"]
LABELS = {entry.label: entry for entry in FIELD}
CANDIDATES = 20


def ready(entry: Entry, length: int, size: int = 10):
    """A model, and the call that is one inference."""
    model = build(entry, length, 50, size)
    interaction, items = history(model, length), torch.arange(1, CANDIDATES + 1)[None]
    with torch.no_grad():
        scorer = one_user_scorer(model, interaction)
    return model, lambda: scorer.candidates(interaction, items)


# -- what runs, against the formulas ---------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 10, 11, 25, 30, 150])
@pytest.mark.parametrize("label", LABELS)
def test_an_inference_is_what_the_formula_says(label, length):
    model, infer = ready(LABELS[label], length)
    assert count_flops(infer) == formulas.inference(model, length, CANDIDATES)


@pytest.mark.parametrize(
    "entry",
    [
        Entry("wide", "GRU4Rec", {"embedding_size": 24, "hidden_size": 40, "num_layers": 2}),
        Entry("deep", "Mamba4Rec", {"hidden_size": 32, "num_layers": 2, "d_state": 8, "d_conv": 3, "expand": 3}),
        Entry("odd", "SASRec", {"hidden_size": 48, "n_heads": 4, "n_layers": 3, "inner_size": 100}),
        Entry("bert", "BERT4Rec", {"hidden_size": 48, "n_heads": 4, "n_layers": 1, "inner_size": 100}),
        Entry("din", "DIN", {"embedding_size": 12, "mlp_hidden_size": [30, 20]}),
        Entry("narrow", "CoCorrRec", {"hidden_size": 24, "num_heads": 3, "use_gcn": True}),
        Entry("gated", "CoCorrRec", {"hidden_size": 24, "num_heads": 3, "use_gcn": False, "block": "gated"}),
        Entry("alone", "CoCorrRec", {"hidden_size": 24, "num_heads": 3, "use_gcn": False}),
    ],
    ids=lambda entry: entry.label,
)
def test_other_sizes_too(entry):
    for length in (6, 17):
        model, infer = ready(entry, length, size=7)
        assert count_flops(infer) == formulas.inference(model, length, CANDIDATES)
        steps = stepper_of(model)
        if steps:
            state = steps.initial_state()
            assert count_flops(lambda: steps.step(torch.tensor([3]), state)) == formulas.click(model)  # noqa: B023


@pytest.mark.parametrize("size", [1, 4, 10])
@pytest.mark.parametrize("label", ["GRU4Rec", "Mamba4Rec", "CoCorrRec (w/o GCN)", "CoCorrRec"])
def test_a_click_is_what_the_formula_says(label, size):
    model = build(LABELS[label], 20, 50, size)
    steps = stepper_of(model)
    state = steps.initial_state()
    assert count_flops(lambda: steps.step(torch.tensor([3]), state)) == formulas.click(model)


def test_the_clouds_share_is_what_the_formula_says():
    model, _ = ready(LABELS["CoCorrRec"], 25)
    interaction = history(model, 25)
    with torch.no_grad():
        x = model.hidden_states(interaction[model.ITEM_SEQ])
    lengths = interaction[model.ITEM_SEQ_LEN]
    assert count_flops(lambda: model.correction(x, lengths)) == formulas.cocorrrec_cloud(25, 64, 4, 10)
    steps = CoCorrStepper(model)
    state = steps.initial_state()[1]
    assert count_flops(lambda: steps.cloud(x[:, 0], state)) == formulas.cocorrrec_cloud(1, 64, 4, 10)


def test_the_target_mlp_is_what_the_formula_says():
    model, _ = ready(Entry("phi", "CoCorrRec", {"hidden_size": 64, "target_transform": "mlp"}), 5)
    items = torch.arange(1, CANDIDATES + 1)[None]
    assert count_flops(lambda: model.item_vectors(items)) == formulas.target_mlp(CANDIDATES, 64)


@pytest.mark.parametrize("length", [1, 16, 17, 100, 300])
def test_the_scan_is_what_the_formula_says(length):
    """Its elementwise work is what torch's own counter leaves out."""
    channels, states = 128, 32
    u, delta = torch.randn(1, length, channels), torch.rand(1, length, channels)
    A, B, C = -torch.rand(channels, states), *torch.randn(2, 1, length, states)
    counted = count_flops(lambda: selective_scan(u, delta, A, B, C))
    assert counted == formulas.scan(length, channels, states) + Flops(2 * length * channels * states, 0)
    with FlopCounterMode(display=False) as torchs:
        selective_scan(u, delta, A, B, C)
    assert torchs.get_total_flops() == counted.products < counted.total / 2


def test_a_model_with_no_formula_has_none():
    model = build(Entry("deep", "CoCorrRec", {"hidden_size": 32, "num_layers": 2, "use_gcn": True}), 5, 50, 5)
    assert formulas.inference(model, 5, 9) is None and formulas.click(model) is None
    model = build(Entry("NARM", "NARM"), 5, 50, 5)
    assert formulas.inference(model, 5, 9) is None and formulas.click(model) is None


# -- nothing is hidden -----------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_products_are_those_of_torchs_own_counter(label):
    _, infer = ready(LABELS[label], 25)
    with torch.no_grad(), FlopCounterMode(display=False) as torchs:
        infer()
    assert count_flops(infer).products == torchs.get_total_flops() > 0


@pytest.mark.parametrize("label", LABELS)
def test_inference_mode_hides_nothing(label):
    _, infer = ready(LABELS[label], 12)
    expected = count_flops(infer)
    with torch.inference_mode(), FlopCounter() as counter:
        infer()
    assert counter.flops == expected


# CoCorrRec's inner gradient and GRUs take another path where gradients are recorded.
@pytest.mark.parametrize("label", ["DIN", "GRU4Rec", "SASRec", "BERT4Rec", "Mamba4Rec"])
def test_gradients_change_nothing(label):
    """The work inside an autograd function is seen, whether gradients are recorded or not."""
    _, infer = ready(LABELS[label], 12)
    expected = count_flops(infer)
    with torch.enable_grad(), FlopCounter() as counter:
        infer()
    if label == "GRU4Rec":  # torch's GRU out of place
        assert counter.flops.products == expected.products
    else:
        assert counter.flops == expected


def test_torchs_fused_transformer_layer_is_refused_not_passed_over():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    x = torch.randn(1, 5, 16)
    with pytest.raises(UncountedOperation, match="_transformer_encoder_layer_fwd"):
        count_flops(lambda: layer(x))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("where", [torch.no_grad, torch.inference_mode])
def test_torchs_gru_is_seen_through(bias, where):
    gru = nn.GRU(8, 6, bias=bias, batch_first=True)
    x = torch.randn(1, 7, 8)
    with where(), FlopCounter() as counter:
        gru(x)
    assert counter.flops.products == 7 * 2 * 3 * 6 * (8 + 6)
    assert counter.flops.elementwise == 7 * 6 * (16 if bias else 10)


# -- the convention ----------------------------------------------------------------------------------

X, Y = torch.rand(3, 4) + 0.5, torch.rand(3, 4) + 0.5


@pytest.mark.parametrize(
    ("work", "products", "elementwise"),
    [
        (lambda: X @ Y.T, 2 * 3 * 4 * 3, 0),
        (lambda: X @ Y[0], 2 * 3 * 4, 0),
        (lambda: torch.dot(X[0], Y[0]), 8, 0),
        (lambda: torch.addmm(X[0, :3], X, Y.T), 72, 9),
        (lambda: torch.addmm(X[0, :3], X, Y.T, beta=0), 72, 0),
        (lambda: torch.addmv(X[:, 0], X, Y[0]), 24, 3),
        (lambda: torch.einsum("ab,cb->ac", X, Y), 72, 0),
        (lambda: X + Y, 0, 12),
        (lambda: X.clone().mul_(2), 0, 12),
        (lambda: torch.addcmul(X, X, Y), 0, 24),
        (lambda: torch.lerp(X, Y, 0.5), 0, 36),
        (lambda: X.exp(), 0, 12),
        (lambda: X.sigmoid().tanh(), 0, 24),
        (lambda: X.sum(), 0, 12),
        (lambda: X.mean(dim=1), 0, 12),
        (lambda: X.max(), 0, 12),
        (lambda: torch.maximum(X, Y), 0, 12),
        (lambda: X.softmax(dim=1), 0, 60),
        (lambda: nn.functional.layer_norm(X, (4,)), 0, 60),
        (lambda: nn.functional.layer_norm(X, (4,), X[0], Y[0]), 0, 84),
        (lambda: nn.functional.rms_norm(X, (4,), X[0], 1e-6), 0, 12 * 4 + 2 * 3),
        (lambda: nn.functional.gelu(X), 0, 60),
        (lambda: nn.functional.silu(X), 0, 24),
        (lambda: nn.functional.softplus(X), 0, 36),
        (lambda: torch.complex(X, Y) * torch.complex(Y, X), 0, 72),
        (lambda: torch.complex(X, Y) + torch.complex(Y, X), 0, 24),
        (lambda: X.new_zeros(2, 4).index_add(0, torch.tensor([0, 1, 1]), X), 0, 12),
        (lambda: X.new_zeros(3, 4).scatter_add(0, torch.zeros(2, 4, dtype=torch.int64), X[:2]), 0, 8),
        (lambda: torch.linalg.vector_norm(X, dim=1), 0, 2 * 12 + 3),
        (lambda: nn.functional.max_pool2d(X[None], (3, 2)), 0, 2 * 6),
        (lambda: torch.where(X > 1, X, Y)[:, [1, 0]].T.contiguous(), 0, 0),
        (lambda: torch.arange(12) * 7 % 5 + 1, 0, 0),
        (lambda: X.double(), 0, 0),
    ],
)
def test_convention(work, products, elementwise):
    with torch.no_grad():
        assert count_flops(work) == Flops(products, elementwise)


@pytest.mark.parametrize("work", [lambda: torch.linalg.inv(torch.eye(3)), lambda: torch.complex(X, Y).exp()])
def test_what_the_table_does_not_know_is_refused(work):
    with pytest.raises(UncountedOperation, match="no entry in the table"):
        count_flops(work)


def test_flops_add_up():
    a, b = Flops(5, 3), Flops(2, 1)
    assert (a.total, a + b, a - b) == (8, Flops(7, 4), Flops(3, 2))


def test_what_is_made_once_is_not_counted():
    kept = []

    def work():
        if not kept:
            kept.append(X.exp())
        return kept[0] + 1

    assert count_flops(work) == Flops(0, math.prod(X.shape))
