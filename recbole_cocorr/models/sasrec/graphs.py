"""RecBole's SASRec as a graph for a device. It keeps no state: every click reads the window again."""

import torch
from torch import nn

from recbole_cocorr.models.device_graphs import Graph, Graphs


class SASRecRead(nn.Module):
    """RecBole's SASRec: item vectors [n, d] of at most L clicks to the user vector [1, d]; no state."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.positions, self.norm, self.encoder = model.position_embedding, model.LayerNorm, model.trm_encoder

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        count = items.shape[0]
        x = self.norm(items + self.positions.weight[:count])[None]
        place = torch.arange(count)
        mask = torch.where(place[None] <= place[:, None], 0.0, -10000.0)[None, None]
        return self.encoder(x, mask, output_all_encoded_layers=False)[-1][0, -1:]


def graphs(model: nn.Module) -> Graphs:
    """The graphs of SASRec."""
    count = torch.export.Dim("n", min=1, max=model.max_seq_length)
    items = torch.randn(min(3, model.max_seq_length), model.hidden_size)
    free = {"items": count} if model.max_seq_length > 1 else {}
    return Graphs({"prefill": Graph(SASRecRead(model), {"items": items}, ["user"], free)})
