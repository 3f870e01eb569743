"""RecBole's GRU4Rec as graphs for a device."""

import torch
from torch import nn

from recbole_cocorr.models.device_graphs import Graphs, recurrent


class GRU4RecRead(nn.Module):
    """RecBole's GRU4Rec: item vectors [n, d] and the GRU's hidden state, flat, to user vector [1, d] and state.

    For export alone: a layer is written as ONNX's own GRU, which reads any n. torch.export fixes n to that of the
    example where torch's GRU is exported a second time in one process.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        gru = model.gru_layers
        self.layers, self.size, self.dense = gru.num_layers, gru.hidden_size, model.dense
        for i in range(self.layers):
            for name in ("ih", "hh"):
                reset, update, new = getattr(gru, f"weight_{name}_l{i}").detach().chunk(3)
                self.register_buffer(f"{name}_{i}", torch.cat([update, reset, new])[None])  # ONNX's order of the gates
            if gru.bias:
                parts = [getattr(gru, f"bias_{name}_l{i}").detach().chunk(3) for name in ("ih", "hh")]
                self.register_buffer(f"bias_{i}", torch.cat([p[k] for p in parts for k in (1, 0, 2)])[None])

    def forward(self, items: torch.Tensor, state: torch.Tensor):
        x, after = items[:, None], []
        for i, before in enumerate(state.split(self.size)):
            bias = getattr(self, f"bias_{i}", None)
            inputs = [x, getattr(self, f"ih_{i}"), getattr(self, f"hh_{i}"), bias, None, before.view(1, 1, -1)]
            steps, last = torch.onnx.ops.symbolic_multi_out(
                "GRU",
                inputs,
                {"hidden_size": self.size, "linear_before_reset": 1},
                dtypes=(x.dtype, x.dtype),
                shapes=((x.shape[0], 1, 1, self.size), (1, 1, self.size)),
            )
            x = steps.view(-1, 1, self.size)
            after.append(last.view(-1))
        return self.dense(after[-1][None]), torch.cat(after)


def graphs(model: nn.Module) -> Graphs:
    """The graphs of GRU4Rec."""
    state = torch.zeros(model.num_layers * model.hidden_size)
    return recurrent(GRU4RecRead(model), GRU4RecRead(model), state, model.embedding_size)
