"""Models as small graphs over one user's state: what a device artifact holds, and what it asks of a model's folder."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.models.catalogue import card_of, exportable


@dataclass
class Graph:
    """A module with an example of its inputs.

    Attributes
    ----------
    module : torch.nn.Module
    inputs : dict of str to torch.Tensor
    free : dict of str to torch.export.Dim
        Inputs whose first size is free.
    """

    module: nn.Module
    inputs: dict[str, torch.Tensor]
    outputs: list[str]
    free: dict[str, Any] = field(default_factory=dict)


@dataclass
class Graphs:
    """All that an artifact needs of a model.

    Attributes
    ----------
    graphs : dict of str to Graph
    state : torch.Tensor or None
        Before the first click; None for a model that keeps none.
    mini_batch : int or None
        K of CoCorrRec.
    correction : dict or None
        Shapes of a correction.
    upload_norm : torch.Tensor or None
        Weight [d] of the norm that makes the hidden states.
    norm_eps : float or None
    native : bytes or None
        The weights as the native runtime maps them; None for a model that it does not know.
    """

    graphs: dict[str, Graph]
    state: torch.Tensor | None = None
    mini_batch: int | None = None
    correction: dict[str, list[int]] | None = None
    upload_norm: torch.Tensor | None = None
    norm_eps: float | None = None
    native: bytes | None = None


def free_count() -> Any:
    """A first size that is free: the clicks of a history."""
    return torch.export.Dim("n", min=1, max=1 << 20)


def graphs_of(model: nn.Module) -> Graphs:
    """The graphs of a model.

    Raises
    ------
    UserError
        For a model that cannot be exported.
    """
    card = card_of(model)
    graphs = card.graphs() if card else None
    if graphs is None:
        names = ", ".join(exportable())
        raise UserError(f"{type(model).__name__} cannot be exported; the models that can are {names}")
    return graphs(model)


def recurrent(step: nn.Module, read: nn.Module, state: torch.Tensor, width: int) -> Graphs:
    """The graphs of a model that keeps one flat state: ``step`` reads a click, ``read`` any number of them.

    Parameters
    ----------
    step, read : torch.nn.Module
        Item vectors [n, d] and state to user vector [1, d] and state; n is 1 for ``step``.
    state : torch.Tensor
        Before the first click.
    width : int
        d.
    """
    count = free_count()
    one, some = torch.randn(1, width), torch.randn(3, width)
    after = ["user", "state_after"]
    graphs = {
        "step": Graph(step, {"item": one, "state": state}, after),
        "prefill": Graph(read, {"items": some, "state": state}, after, {"items": count}),
    }
    return Graphs(graphs, state)
