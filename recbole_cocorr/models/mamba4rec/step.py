"""Mamba4Rec reads one click at a time."""

from typing import Any

import torch

from recbole_cocorr.models.mamba4rec.network import Mamba4Rec
from recbole_cocorr.models.step import state_bytes


class MambaStepper:
    """Mamba4Rec by its own ``step``."""

    def __init__(self, model: Mamba4Rec):
        self.model = model

    def initial_state(self) -> Any:
        return self.model.initial_state(1)

    def step(self, item: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return self.model.step(item, state)

    def kept_bytes(self, state: Any) -> tuple[int, int]:
        return state_bytes(state), 0


stepper = MambaStepper
