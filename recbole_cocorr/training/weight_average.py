"""A moving average of the weights: what is validated, tested and saved in place of the last step's weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record
from recbole_cocorr.training.checkpoint import Checkpoint, fitting_weights

_OWN, _STEPS = "own.", "averaged_steps"


class WeightAverage:
    """The exponential moving average of a model's parameters over the optimizer's steps.

    After step n: average <- m average + (1 - m) parameters, with m = min(decay, n / (n + 9)), so that the first steps,
    whose parameters are far from the later ones, are soon forgotten (Polyak and Juditsky, 1992, average plainly).

    The model holds its own parameters inside an epoch and the average between two epochs: validation, the test, every
    checkpoint and the best weights are then the average's.

    Parameters
    ----------
    model : nn.Module
    optimizer : torch.optim.Optimizer
        Each of its steps counts.
    decay : float
        Above 0 and below 1. With .999 the average is of about the last thousand steps.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, decay: float):
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._decay, self._steps = decay, 0
        # Inside an epoch the average, and between two epochs the model's own parameters.
        self._other: dict[str, torch.Tensor] = {}
        self._between_epochs = False
        optimizer.register_step_post_hook(lambda *_: self._count_step())

    @torch.no_grad()
    def _count_step(self) -> None:
        if not self._other:
            self._other = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._steps += 1
        keep = min(self._decay, self._steps / (self._steps + 9))
        torch._foreach_lerp_(list(self._other.values()), list(self._parameters.values()), 1 - keep)

    def begin_epoch(self) -> None:
        """Give the model its own parameters back."""
        if self._between_epochs:
            self._exchange()
            self._between_epochs = False

    def end_epoch(self) -> None:
        """Give the model the average."""
        if self._other:  # else the epoch had no step
            self._exchange()
            self._between_epochs = True

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._parameters.items():
            now = parameter.detach().clone()
            parameter.copy_(self._other[name])
            self._other[name].copy_(now)

    # -- the training state, between two epochs ---------------------------------------------------

    def save(self, checkpoint: Checkpoint) -> None:
        """Add the model's own parameters to a training state, whose weights are the average."""
        checkpoint.tensors.update({_OWN + name: tensor for name, tensor in self._other.items()})
        checkpoint.training[_STEPS] = self._steps

    def load(self, own: Mapping[str, torch.Tensor], steps: int) -> None:
        """Go on from :func:`read_average`."""
        self._other = {name: own[name].to(p.device, copy=True) for name, p in self._parameters.items()}
        self._steps, self._between_epochs = steps, True


def read_average(checkpoint: Checkpoint, model: nn.Module, source: str) -> dict[str, Any]:
    """What :meth:`WeightAverage.load` takes, of a training state.

    Raises
    ------
    UserError
        If the state lacks a parameter of the model, or holds one of another shape.
    """
    own = {k[len(_OWN) :]: t for k, t in checkpoint.tensors.items() if k.startswith(_OWN)}
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    missing = next((name for name in names if name not in own), None)
    if missing is not None:
        raise UserError(f"{source} lacks {_OWN}{missing}, which a training with weight_average goes on from")
    own = fitting_weights(model, {**checkpoint.weights, **own}, source)
    steps = Record(checkpoint.training, source, "training.").whole(_STEPS)
    return {"own": {name: own[name] for name in names}, "steps": steps}
