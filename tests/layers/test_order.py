"""What keeps a run's digits the same: the order of CoCorrRec's parameters, and each step of a training.

The optimizer, the norm that clips gradients and the sum over processes go through the parameters in the order in which
they are registered, and the random start draws for them in the order in which they are made. Another order gives
other digits from the same seed.
"""

import copy

import pytest
import torch
import torch.nn.functional as F

from tests.layers import assert_same
from tests.models.test_cocorrrec import some_batch, trained
from tests.reference.gcn_naive import naive_gcn
from tests.reference.ttt_naive import naive_ttt

TTT = [
    *("inner_lr_weight", "inner_lr_bias", "token_scale", "inner_norm_weight", "inner_norm_bias", "W0", "b0"),
    *(f"{name}_proj.weight" for name in "qkvo"),
    *("post_norm.weight", "post_norm.bias"),
]
GRU = [f"gru.{kind}_{side}_l0" for kind in ("weight", "bias") for side in ("ih", "hh")]
GCN = [
    f"gcn.{net}.{name}"
    for net in ("attention_net", "bias_net")
    for name in (*GRU, *(f"fc{i}.weight" for i in (1, 2, 3)))
]
EXPECTED = [
    *(f"target_transform.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")),
    "item_embedding.weight",
    *(f"layers.{n}.{name}" for n in range(2) for name in ("input_norm.weight", *(f"ttt.{name}" for name in TTT))),
    "final_norm.weight",
    *GCN,
    "fusion.alpha",
    "fusion.beta",
]


def test_the_parameters_stand_in_this_order():
    model = trained(num_layers=2, target_transform="mlp")
    assert [name for name, _ in model.named_parameters()] == EXPECTED
    assert list(model.state_dict()) == EXPECTED


def naive_loss(model, rows, use_gcn: bool) -> torch.Tensor:
    """BCE of a batch, with every click, head and row by itself."""
    item_seq, lengths = rows["item_id_list"], rows["item_length"]
    x = model.layers[0].input_norm(model.item_embedding(item_seq))
    correction, fusion = (naive_gcn(model.gcn, x, lengths), model.fusion) if use_gcn else (None, None)
    outputs, _ = naive_ttt(model.layers[0].ttt, x, lengths, correction=correction, fusion=fusion)
    users = torch.stack([model.final_norm(row[-1]) for row in outputs])
    items = torch.cat([rows["item_id"][:, None], rows["neg_items"]], dim=1)
    scores = torch.stack([model.item_embedding(row) @ user for row, user in zip(items, users, strict=True)])
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1
    return F.binary_cross_entropy_with_logits(scores, labels)


@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("use_gcn", [True, False], ids=["gcn", "alone"])
def test_three_steps_are_those_of_the_naive_twin(use_gcn, size):
    """Losses and weights of three steps, in float64: the sums differ in their order alone."""
    model = trained(use_gcn=use_gcn, mini_batch_size=size).train()
    twin = copy.deepcopy(model)
    optimizers = [torch.optim.Adam(m.parameters(), lr=0.01) for m in (model, twin)]
    losses = {"model": [], "twin": []}
    for step in range(3):
        rows = some_batch(step, rows=5, negatives=2)
        ways = (("model", model.calculate_loss), ("twin", lambda rows: naive_loss(twin, rows, use_gcn)))
        for optimizer, (name, loss_of) in zip(optimizers, ways, strict=True):
            optimizer.zero_grad()
            loss = loss_of(rows)
            loss.backward()
            optimizer.step()
            losses[name].append(loss.detach())
    torch.testing.assert_close(torch.stack(losses["model"]), torch.stack(losses["twin"]), rtol=1e-9, atol=0)
    assert_same(model.state_dict(), twin.state_dict(), rtol=1e-7)
    assert losses["model"][0] != losses["model"][2]
