"""Names of the released code; that they carry the right numbers is tests/models/test_conformance.py's."""

import numpy as np
import pytest

from recbole_cocorr.models.cocorrrec.released_names import our_name, released_to_ours

BLOCK = "ttt.layers.0.seq_modeling_block."


def released_state(gcn: bool = True, target: bool = True) -> dict[str, np.ndarray]:
    """A state dict of d = 4, H = 2, K = 3 with the released shapes."""
    shapes = {
        "ttt.embed_tokens.weight": (5, 4),
        "ttt.norm.weight": (4,),
        "ttt.layers.0.seq_norm.weight": (4,),
        **{f"{BLOCK}{p}_proj.weight": (4, 4) for p in "qkvo"},
        f"{BLOCK}learnable_token_idx": (3,),
        f"{BLOCK}learnable_ttt_lr_weight": (2, 1, 4),
        f"{BLOCK}learnable_ttt_lr_bias": (2, 1),
        f"{BLOCK}ttt_norm_weight": (2, 2),
        f"{BLOCK}ttt_norm_bias": (2, 2),
        f"{BLOCK}W1": (2, 2, 2),
        f"{BLOCK}b1": (2, 1, 2),
        f"{BLOCK}post_norm.weight": (4,),
        f"{BLOCK}post_norm.bias": (4,),
    }
    if target:
        shapes |= {f"_target_trans.net.{n}.weight": (4, 4) for n in (0, 2)}
        shapes |= {f"_target_trans.net.{n}.bias": (4,) for n in (0, 2)}
    if gcn:
        shapes |= {f"{BLOCK}P": (1,), f"{BLOCK}Q": (1,)}
        for network, size in (("Att_corrnet", 18), ("b1_corrnet", 12)):
            shapes |= {f"{BLOCK}{network}._gru_cell.weight_{s}_l0": (12, 4) for s in ("ih", "hh")}
            shapes |= {f"{BLOCK}{network}._gru_cell.bias_{s}_l0": (12,) for s in ("ih", "hh")}
            shapes |= {f"{BLOCK}{network}.fc1.weight": (64, 4), f"{BLOCK}{network}.fc2.weight": (64, 64)}
            shapes[f"{BLOCK}{network}.fc3.weight"] = (size, 64)
    return {name: np.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("target", [True, False])
@pytest.mark.parametrize("gcn", [True, False])
def test_every_name_is_known(gcn, target):
    state = released_state(gcn, target)
    ours = released_to_ours(state)
    assert len(ours) == len(state)
    assert any(name.startswith("gcn.") for name in ours) == gcn
    assert any(name.startswith("target_transform.") for name in ours) == target
    shapes = {name.removeprefix("layers.0.ttt."): value.shape for name, value in ours.items()}
    assert (shapes["inner_lr_weight"], shapes["inner_lr_bias"], shapes["b0"]) == ((2, 4), (2,), (2, 2))
    if gcn:
        assert shapes["fusion.alpha"] == shapes["fusion.beta"] == ()


@pytest.mark.parametrize("name", released_state())
def test_a_missing_part_is_named(name):
    state = released_state()
    del state[name]
    with pytest.raises(ValueError, match="missing"):
        released_to_ours(state)


@pytest.mark.parametrize(
    "name",
    ["weight", "ttt.embed_tokens.bias", f"{BLOCK}W2", f"{BLOCK}Att_corrnet.fc4.weight", "ttt.layers.x.seq_norm.weight"],
)
def test_an_unknown_name_is_refused(name):
    assert our_name(name) is None
    with pytest.raises(ValueError, match="no parameter"):
        released_to_ours({**released_state(), name: np.zeros(1)})
