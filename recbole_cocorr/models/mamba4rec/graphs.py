"""Mamba4Rec as graphs for a device."""

import torch
import torch.nn.functional as F
from torch import nn
from torch._higher_order_ops.scan import scan

from recbole_cocorr.models.device_graphs import Graphs, recurrent
from recbole_cocorr.models.mamba4rec.network import Mamba4Rec, MambaState


class _Mamba(nn.Module):
    def __init__(self, model: Mamba4Rec):
        super().__init__()
        self.layers, self.norm = model.layers, model.norm

    def parts(self, state: torch.Tensor):
        """Each layer with its state, a batch of one."""
        blocks = [layer.mamba for layer in self.layers]
        sizes = [n for b in blocks for n in (b.d_inner * b.d_conv, b.d_inner * b.d_state)]
        pieces = state.split(sizes)
        for i, (layer, block) in enumerate(zip(self.layers, blocks, strict=True)):
            yield (
                layer,
                MambaState(
                    pieces[2 * i].view(1, block.d_inner, block.d_conv),
                    pieces[2 * i + 1].view(1, block.d_inner, block.d_state),
                ),
            )


class MambaStep(_Mamba):
    """One click of Mamba4Rec: item vector [1, d] and flat state to user vector [1, d] and state."""

    def forward(self, item: torch.Tensor, state: torch.Tensor):
        x, after = self.norm(item), []
        for layer, held in self.parts(state):
            x, held = layer.step(x, held)
            after += [held.conv.flatten(), held.ssm.flatten()]
        return x, torch.cat(after)


class MambaRead(_Mamba):
    """A history of Mamba4Rec: item vectors [n, d] and flat state to user vector [1, d] and state.

    The recurrence is a loop of the graph (ONNX Scan), so n is free.
    """

    def forward(self, items: torch.Tensor, state: torch.Tensor):
        x, after = self.norm(items), []
        for layer, held in self.parts(state):
            mixed, conv, ssm = self._block(layer.mamba, x, held)
            x = layer._around(x, mixed)
            after += [conv.flatten(), ssm.flatten()]
        return x[-1:], torch.cat(after)

    @staticmethod
    def _block(block, x: torch.Tensor, held: MambaState):
        """Output [n, d] of a Mamba block, and its state."""
        inner, gate = block.in_proj(x).chunk(2, dim=-1)
        read = torch.cat([held.conv[0].T[1:], inner])  # [d_conv - 1 + n, d_inner]
        taps, count = block.conv1d.weight.squeeze(1), inner.shape[0]
        convolved = block.conv1d.bias
        for i in range(block.d_conv):
            convolved = convolved + read[i : i + count] * taps[:, i]
        u = F.silu(convolved)
        delta, B, C = block._selected(u)
        A = -block.A_log.exp()

        def click(h, inputs):
            delta_t, fed_t, B_t = inputs
            h = torch.exp(delta_t[:, None] * A) * h + fed_t[:, None] * B_t[None]
            return h, h.clone()

        last, states = scan(click, held.ssm[0], (delta, delta * u, B), dim=0)
        y = (states @ C[:, :, None]).squeeze(-1) + block.D * u
        conv = torch.cat([held.conv[0].T, inner])[count:].T
        return block.out_proj(y * F.silu(gate)), conv, last


def graphs(model: Mamba4Rec) -> Graphs:
    """The graphs of Mamba4Rec."""
    size = sum(b.mamba.d_inner * (b.mamba.d_conv + b.mamba.d_state) for b in model.layers)
    return recurrent(MambaStep(model), MambaRead(model), torch.zeros(size), model.hidden_size)
