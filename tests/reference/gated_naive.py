"""CoCorrRec of gated blocks, one click after another, from the parameters alone."""

import torch
from torch import Tensor

from recbole_cocorr.models.cocorrrec.network import CoCorrRec
from tests.reference.ttt_naive import naive_ttt


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).mean() + 1e-6) * weight


def naive_gated(model: CoCorrRec, history: list[int], correction=None) -> Tensor:
    """The outputs after each click of a history, [L, d]; the correction is the first layer's."""
    x = torch.stack([rms_norm(model.item_embedding.weight[item], model.embedding_norm.weight) for item in history])
    for layer in model.layers:
        read = torch.stack([rms_norm(row, layer.input_norm.weight) for row in x])
        fusion = model.fusion if correction is not None else None
        mixed, _ = naive_ttt(layer.ttt, read[None], correction=correction, fusion=fusion)
        rows = []
        for row, learned in zip(x, mixed[0], strict=True):
            row = row + learned
            n = rms_norm(row, layer.gate_norm.weight)
            gate = layer.gate_proj.weight @ n
            inner = gate * torch.sigmoid(gate) * (layer.value_proj.weight @ n)
            rows.append(row + layer.out_proj.weight @ inner)
        x, correction = torch.stack(rows), None
    return torch.stack([rms_norm(row, model.final_norm.weight) for row in x])
