"""Models as small graphs over one user's state: what an artifact holds. Needs torch."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.export import other_graphs as others
from recbole_cocorr.models.cocorrrec import click_graph as click
from recbole_cocorr.models.cocorrrec import graphs as cocorrrec
from recbole_cocorr.models.cocorrrec.network import RMS_EPS, CoCorrRec
from recbole_cocorr.models.mamba4rec.network import Mamba4Rec


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
    """

    graphs: dict[str, Graph]
    state: torch.Tensor | None = None
    mini_batch: int | None = None
    correction: dict[str, list[int]] | None = None
    upload_norm: torch.Tensor | None = None
    norm_eps: float | None = None


EXPORTABLE = ("CoCorrRec", "GRU4Rec", "SASRec", "Mamba4Rec")


def graphs_of(model: nn.Module) -> Graphs:
    """The graphs of a model.

    Raises
    ------
    UserError
        For a model that cannot be exported.
    """
    if isinstance(model, CoCorrRec):
        return _cocorrrec(model)
    count = torch.export.Dim("n", min=1, max=1 << 20)
    if isinstance(model, Mamba4Rec):
        size = sum(b.mamba.d_inner * (b.mamba.d_conv + b.mamba.d_state) for b in model.layers)
        return _recurrent(others.MambaStep(model), others.MambaRead(model), torch.zeros(size), model.hidden_size, count)
    name = type(model).__name__
    recbole = type(model).__module__.startswith("recbole.")
    if recbole and name == "GRU4Rec":
        state = torch.zeros(model.num_layers * model.hidden_size)
        return _recurrent(others.GRU4RecRead(model), others.GRU4RecRead(model), state, model.embedding_size, count)
    if recbole and name == "SASRec":
        count = torch.export.Dim("n", min=1, max=model.max_seq_length)
        items = torch.randn(min(3, model.max_seq_length), model.hidden_size)
        free = {"items": count} if model.max_seq_length > 1 else {}
        return Graphs({"prefill": Graph(others.SASRecRead(model), {"items": items}, ["user"], free)})
    raise UserError(f"{name} cannot be exported; the models that can are {', '.join(EXPORTABLE)}")


def _recurrent(step: nn.Module, read: nn.Module, state: torch.Tensor, width: int, count: Any) -> Graphs:
    one, some = torch.randn(1, width), torch.randn(3, width)
    after = ["user", "state_after"]
    graphs = {
        "step": Graph(step, {"item": one, "state": state}, after),
        "prefill": Graph(read, {"items": some, "state": state}, after, {"items": count}),
    }
    return Graphs(graphs, state)


def _cocorrrec(model: CoCorrRec) -> Graphs:
    ttt = model.layers[0].ttt
    d, heads, size, width = model.hidden_size, ttt.num_heads, ttt.mini_batch_size, ttt.head_width
    state = cocorrrec.initial_state(model)
    item, items, slot = torch.randn(1, d), torch.randn(size, d), torch.tensor(0)
    after = ["user", "state_after"]
    graphs = {
        "step": Graph(cocorrrec.Step(model), {"item": item, "state": state, "slot": slot}, after),
        "fold": Graph(cocorrrec.Fold(model), {"state": state}, ["state_after"]),
        "prefill": Graph(
            cocorrrec.Prefill(model),
            {"items": items, "state": state, "start": slot, "stop": torch.tensor(1)},
            after,
        ),
    }
    held = torch.randn(len(model.layers) * heads * 2 * (width + 1), width)
    with torch.no_grad():
        turn, form = click.Slot(model)(slot[None])
    inputs = {"item": item, "inner": held, "read": torch.randn_like(held), "turn": turn, "form": form}
    graphs["click"] = Graph(click.Click(model), inputs, ["user", "read_after", "turned", "grads"])
    graphs["slot"] = Graph(click.Slot(model), {"slot": slot[None]}, ["turn", "form"])
    if len(model.layers) == 1 and model.max_seq_length <= size:
        window = torch.randn(model.max_seq_length, d)
        graphs["window"] = Graph(cocorrrec.Window(model), {"items": window}, ["user"])
    result = Graphs(graphs, state, size)
    if not isinstance(model.target_transform, nn.Identity):
        count = torch.export.Dim("n", min=1, max=1 << 31)
        graphs["targets"] = Graph(cocorrrec.Targets(model), {"items": torch.randn(3, d)}, ["vectors"], {"items": count})
    # In a model of several layers a correction of the first changes what the others have learned from, at every
    # click before: no constant amount of work makes up for that.
    if model.use_gcn and len(model.layers) == 1:
        shapes = {"attention": [heads, size, size], "bias": [heads, size, width]}
        sent = {name: torch.randn(shape) for name, shape in shapes.items()}
        inputs = {"item": item, "state": state, "slot": slot, **sent}
        graphs["correct"] = Graph(cocorrrec.Correct(model), inputs, ["user"])
        result.correction = shapes
        result.upload_norm, result.norm_eps = model.layers[0].input_norm.weight.detach(), RMS_EPS
    return result
