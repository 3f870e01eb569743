"""RecBole's GRU4Rec reads one click at a time."""

from typing import Any

import torch
from torch import nn

from recbole_cocorr.models.step import state_bytes


class GRUStepper:
    """RecBole's GRU4Rec: torch's GRU goes on from its hidden state, and one position passes the dense layer."""

    def __init__(self, model: nn.Module):
        self.model = model

    def initial_state(self) -> torch.Tensor:
        gru = self.model.gru_layers
        return torch.zeros(gru.num_layers, 1, gru.hidden_size)

    def step(self, item: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output, state = self.model.gru_layers(self.model.item_embedding(item)[:, None], state)
        return self.model.dense(output[:, 0]), state

    def kept_bytes(self, state: Any) -> tuple[int, int]:
        return state_bytes(state), 0


stepper = GRUStepper
