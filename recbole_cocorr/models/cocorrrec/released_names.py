"""Parameter names of the authors' released code, and ours."""

import re
from collections.abc import Mapping
from typing import Any

_TTT = {
    "q_proj.weight": "q_proj.weight",
    "k_proj.weight": "k_proj.weight",
    "v_proj.weight": "v_proj.weight",
    "o_proj.weight": "o_proj.weight",
    "learnable_token_idx": "token_scale",
    "learnable_ttt_lr_weight": "inner_lr_weight",
    "learnable_ttt_lr_bias": "inner_lr_bias",
    "ttt_norm_weight": "inner_norm_weight",
    "ttt_norm_bias": "inner_norm_bias",
    "W1": "W0",
    "b1": "b0",
    "post_norm.weight": "post_norm.weight",
    "post_norm.bias": "post_norm.bias",
}
_PLAIN = {
    "ttt.embed_tokens.weight": "item_embedding.weight",
    "ttt.norm.weight": "final_norm.weight",
    "_target_trans.net.0.weight": "target_transform.0.weight",
    "_target_trans.net.0.bias": "target_transform.0.bias",
    "_target_trans.net.2.weight": "target_transform.2.weight",
    "_target_trans.net.2.bias": "target_transform.2.bias",
}
_LAYER = re.compile(r"ttt\.layers\.(\d+)\.(?:seq_norm\.weight|seq_modeling_block\.(.+))")
_NETWORKS = {"Att_corrnet": "attention_net", "b1_corrnet": "bias_net"}
_SCALARS = {"P": "fusion.alpha", "Q": "fusion.beta"}


def our_name(name: str) -> str | None:
    """Our name of a released parameter; None if the released model has no such parameter."""
    if name in _PLAIN:
        return _PLAIN[name]
    match = _LAYER.fullmatch(name)
    if match is None:
        return None
    layer, inner = match.groups()
    if inner is None:
        return f"layers.{layer}.input_norm.weight"
    if inner in _TTT:
        return f"layers.{layer}.ttt.{_TTT[inner]}"
    if inner in _SCALARS:
        return _SCALARS[inner]
    network, _, rest = inner.partition(".")
    if network in _NETWORKS:
        rest = rest.replace("_gru_cell.", "gru.")
        if re.fullmatch(r"gru\.(weight|bias)_(ih|hh)_l0|fc[123]\.weight", rest):
            return f"gcn.{_NETWORKS[network]}.{rest}"
    return None


def released_to_ours(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename and reshape a released state dict.

    Parameters
    ----------
    state : mapping of str to array or tensor
        Released names, torch layout.

    Returns
    -------
    dict
        Names and shapes of :class:`~recbole_cocorr.models.cocorrrec.network.CoCorrRec`. With the GCN's weights if the
        file has them, with the target MLP if it has that.

    Raises
    ------
    ValueError
        If a name is unknown, or a part of the model is missing.
    """
    renamed = {name: our_name(name) for name in state}
    unknown = sorted(name for name, ours in renamed.items() if ours is None)
    if unknown:
        raise ValueError(f"the released model has no parameter {unknown[0]!r} ({len(unknown)} unknown in all)")
    ours = {new: state[old] for old, new in renamed.items()}
    _check_complete(set(ours))
    for name, value in ours.items():
        if name.endswith(("inner_lr_weight", "b0")):
            ours[name] = value.reshape(value.shape[0], value.shape[-1])
        elif name.endswith("inner_lr_bias"):
            ours[name] = value.reshape(-1)
        elif name.startswith("fusion."):
            ours[name] = value.reshape(())
    return ours


def _check_complete(names: set[str]) -> None:
    layers = {name.split(".")[1] for name in names if name.startswith("layers.")} or {"0"}
    expected = {"item_embedding.weight", "final_norm.weight"}
    expected |= {f"layers.{n}.input_norm.weight" for n in layers}
    expected |= {f"layers.{n}.ttt.{inner}" for n in layers for inner in _TTT.values()}
    if any(name.startswith(("gcn.", "fusion.")) for name in names):
        recurrent = [f"gru.{kind}_{side}_l0" for kind in ("weight", "bias") for side in ("ih", "hh")]
        weights = [*recurrent, *(f"fc{i}.weight" for i in (1, 2, 3))]
        expected |= {f"gcn.{net}.{weight}" for net in _NETWORKS.values() for weight in weights} | set(_SCALARS.values())
    if any(name.startswith("target_transform.") for name in names):
        expected |= {name for name in _PLAIN.values() if name.startswith("target_transform.")}
    missing = sorted(expected - names)
    if missing:
        raise ValueError(f"{missing[0]!r} (our name) is missing ({len(missing)} missing in all)")
