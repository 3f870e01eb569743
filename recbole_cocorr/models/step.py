"""What a new click asks of a model that keeps a state: the state it keeps, and the step it takes.

A model without ``step.py`` (a Transformer, DIN) keeps its user's item ids and reads them all again.
"""

from dataclasses import fields
from typing import Any, Protocol

import torch
from torch import nn

from recbole_cocorr.models.catalogue import card_of


class Stepper(Protocol):
    """A model that reads one click at a time, for one user: what ``stepper`` of a model's ``step.py`` returns."""

    def initial_state(self) -> Any:
        """The state before the first click."""

    def step(self, item: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """The user vector [1, d] after one more click, an item id [1], and the state after it."""

    def kept_bytes(self, state: Any) -> tuple[int, int]:
        """Bytes of the state, on the device and in the cloud."""


def stepper_of(model: nn.Module) -> Stepper | None:
    """How the model reads one click at a time; None if it has to read its history again."""
    card = card_of(model)
    stepper = card.stepper() if card else None
    return stepper(model) if stepper else None


def state_bytes(state: Any) -> int:
    """Bytes of the tensors that a state holds."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, (list, tuple)):
        return sum(map(state_bytes, state))
    return sum(state_bytes(getattr(state, f.name)) for f in fields(state))
