"""The models that CoCorrRec is compared with, as graphs over one user's item vectors."""

import torch
import torch.nn.functional as F
from torch import nn
from torch._higher_order_ops.scan import scan

from recbole_cocorr.models.mamba4rec.network import Mamba4Rec, MambaState


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
