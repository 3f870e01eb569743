"""What a training state holds beside the weights, checked before anything of it is used."""

import math
import random
from collections.abc import Mapping
from typing import Any

import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record, is_number
from recbole_cocorr.training.checkpoint import Checkpoint

# What an optimizer must find of a parameter that it has met before.
_KEPT = {
    torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.Adagrad: {"step", "sum"},
    torch.optim.RMSprop: {"step", "square_avg"},
}


def optimizer_state(optimizer: torch.optim.Optimizer, saved: Checkpoint, source: str) -> dict[str, Any]:
    """The state that ``optimizer.load_state_dict`` takes.

    Raises
    ------
    UserError
        If it is not one of this optimizer and these parameters.
    """
    training = Record(saved.training, source, "training.")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[str, dict[str, Any]] = {}
    numbers = training.record("optimizer_numbers")
    for index in numbers:
        state[index] = dict(numbers.record(index).content)
    for name, tensor in saved.tensors.items():
        part, _, rest = name.partition(".")
        if part == "optimizer":
            index, _, entry = rest.partition(".")
            state.setdefault(index, {})[entry] = tensor
    needed = _KEPT.get(type(optimizer), set())
    for index, entries in state.items():
        if index not in map(str, range(len(parameters))) or not needed <= set(entries):
            name = type(optimizer).__name__
            raise UserError(f"{source}: optimizer.{index[:20]} is no state of {name} for a parameter of this model")
        for name, value in entries.items():
            _check_entry(f"optimizer.{index}.{name}", name, value, parameters[int(index)], source)
    return {"state": {int(i): e for i, e in state.items()}, "param_groups": _groups(optimizer, training)}


def _check_entry(place: str, name: str, value: Any, parameter: torch.Tensor, source: str) -> None:
    if value is None and name == "momentum_buffer":  # of SGD without momentum
        return
    if not isinstance(value, torch.Tensor):
        raise UserError(f"{source}: {place} is no tensor")
    shape = torch.Size() if name == "step" else parameter.shape
    right = value.is_floating_point() if name == "step" else value.dtype == parameter.dtype
    if value.shape != shape or not right:
        raise UserError(
            f"{source}: {place} is {value.dtype} {tuple(value.shape)}; it must be {parameter.dtype} {tuple(shape)}"
        )


def _groups(optimizer: torch.optim.Optimizer, training: Record) -> list[dict[str, Any]]:
    """The saved groups, each with the keys and kinds of values that this optimizer's have."""
    own, saved = optimizer.state_dict()["param_groups"], training.records("param_groups")
    if len(saved) != len(own):
        raise training.refuse("param_groups", f"a list of {len(own)}, as this optimizer has")
    for group, mine in zip(saved, own, strict=True):
        for key, value in mine.items():
            if key == "params":
                if group.wholes(key) != value:
                    raise group.refuse(key, "the parameters of this model")
            elif not _alike(group.content.get(key), value):
                raise group.refuse(key, f"like {value!r}")
        if len(set(group)) != len(mine):
            raise training.refuse("param_groups", f"groups of {', '.join(mine)}")
    return [group.content for group in saved]


def _alike(value: Any, own: Any) -> bool:
    if isinstance(own, (tuple, list)):
        return isinstance(value, list) and len(value) == len(own) and all(map(_alike, value, own))
    if is_number(own):
        return is_number(value) and math.isfinite(value) and value >= 0
    return type(value) is type(own)


def random_state(
    saved: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], rank: int, source: str
) -> dict[str, torch.Tensor]:
    """This process's row of each generator's state.

    Parameters
    ----------
    saved : mapping of str to torch.Tensor
        The tensors of a training state; those called ``rng.<generator>`` hold a row per process.
    own : mapping of str to torch.Tensor
        What the generators stand at now.
    rank : int
    source : str
        Names the file in errors.

    Raises
    ------
    UserError
        If a row is none that the generator takes.
    """
    state = {}
    for name, mine in own.items():
        rows = saved.get(f"rng.{name}")
        if rows is None:
            continue
        if rows.dtype != mine.dtype or rows.shape[1:] != mine.shape or not len(rows):
            raise UserError(f"{source}: rng.{name} is no state of that random generator")
        row = rows[rank % len(rows)].clone()  # torch wants no view
        try:
            if name == "torch":
                torch.Generator().set_state(row)
            elif name == "python":
                random.Random().setstate((random.getstate()[0], tuple(row.tolist()), None))
        except (TypeError, ValueError, OverflowError, RuntimeError):
            raise UserError(f"{source}: rng.{name} is no state of that random generator") from None
        state[name] = row
    return state
