"""RMSNorm for export."""

import torch
from torch import nn


class RMSNorm(nn.Module):
    """As torch's, spelled so that ONNX Runtime knows it again and makes one operation of it."""

    def __init__(self, norm: nn.RMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + self.eps) * self.weight
