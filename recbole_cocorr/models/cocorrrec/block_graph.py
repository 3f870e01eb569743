"""What stands around the TTT layer, spelled for export: the norm of X, and how a block joins its parts."""

import torch
import torch.nn.functional as F
from torch import nn

from recbole_cocorr.layers.rms_norm import RMSNorm
from recbole_cocorr.models.cocorrrec.network import CoCorrRec, GatedBlock, PlainBlock


class _PlainJoin(nn.Module):
    def forward(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        return mixed


class _GatedJoin(nn.Module):
    """:meth:`GatedBlock.join` with W_g and W_v as one matrix."""

    def __init__(self, block: GatedBlock) -> None:
        super().__init__()
        self.norm, self.out_proj = RMSNorm(block.gate_norm), block.out_proj
        self.register_buffer("weight", torch.cat([block.gate_proj.weight, block.value_proj.weight]).detach())

    def forward(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        x = x + mixed
        gate, value = F.linear(self.norm(x), self.weight).chunk(2, dim=1)
        return x + self.out_proj(F.silu(gate) * value)


def join_graph(block: PlainBlock) -> nn.Module:
    """:meth:`PlainBlock.join` of this block: (input [R, d], the TTT layer's output [R, d]) to output [R, d]."""
    return _GatedJoin(block) if isinstance(block, GatedBlock) else _PlainJoin()


def first_norm(model: CoCorrRec) -> nn.Module:
    """What makes the first block's input of item vectors; a plain block begins with the norm itself."""
    return RMSNorm(model.embedding_norm) if hasattr(model, "embedding_norm") else nn.Identity()
