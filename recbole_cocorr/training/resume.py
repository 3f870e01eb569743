"""The state that a training resumes from: what of it is written beside the weights, and how it is checked and read."""

import math
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record, is_number
from recbole_cocorr.data import distributed
from recbole_cocorr.training.agreement import LENGTH, PLACE, SPEED, check_agreement
from recbole_cocorr.training.checkpoint import Checkpoint, fitting_weights, load_checkpoint

# What an optimizer must have of a parameter that it has met before.
_STATE_OF = {
    torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.Adagrad: {"step", "sum"},
    torch.optim.RMSprop: {"step", "square_avg"},
}


@dataclass(frozen=True)
class Progress:
    """Where the epoch loop stands.

    Attributes
    ----------
    cur_step : int
        Validations since the best one.
    best_valid_score : float
    best_valid_result : dict
        Metrics of the best epoch.
    saved_model_file : str
        Name, without a folder, of the best epoch's file.
    rows : str
        Digest of the rows that are trained and validated on.
    """

    cur_step: int
    best_valid_score: float
    best_valid_result: dict[str, float]
    saved_model_file: str
    rows: str


@dataclass(frozen=True)
class TrainingState:
    """A training state that was read, all of it checked.

    Attributes
    ----------
    checkpoint : Checkpoint
        The weights are not yet checked against a model.
    optimizer : dict
        What ``optimizer.load_state_dict`` takes.
    best_weights : dict of str to torch.Tensor, or None
        Those of the best epoch so far.
    generators : dict of str to torch.Tensor
        This process's random state, for :func:`set_random_state`.
    progress : Progress
    """

    checkpoint: Checkpoint
    optimizer: dict[str, Any]
    best_weights: dict[str, torch.Tensor] | None
    generators: dict[str, torch.Tensor]
    progress: Progress


# -- random numbers ------------------------------------------------------------------------------


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of the generators that training draws from: dropout's, and Python's for RecBole's masks of BERT4Rec."""
    state = {"torch": torch.get_rng_state(), "python": torch.tensor(random.getstate()[1])}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Set the generators to a state of :func:`random_state`; those it does not name stay as they are."""
    if "torch" in state:
        torch.set_rng_state(state["torch"])
    if "python" in state:
        version, _, _ = random.getstate()
        random.setstate((version, tuple(state["python"].tolist()), None))
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


# -- writing -------------------------------------------------------------------------------------


def add_training_state(
    checkpoint: Checkpoint,
    optimizer: torch.optim.Optimizer,
    best_weights: Mapping[str, torch.Tensor] | None,
    generators: Mapping[str, torch.Tensor],
    progress: Progress,
) -> None:
    """Make a training state of a checkpoint that has the weights.

    Parameters
    ----------
    checkpoint : Checkpoint
        Gets ``tensors`` and ``training``.
    optimizer : torch.optim.Optimizer
    best_weights : mapping of str to torch.Tensor, or None
    generators : mapping of str to torch.Tensor
        By generator, a row per process.
    progress : Progress
    """
    state = optimizer.state_dict()
    numbers: dict[str, dict[str, object]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if torch.is_tensor(value):
                checkpoint.tensors[f"optimizer.{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    for name, value in (best_weights or {}).items():
        checkpoint.tensors[f"best.{name}"] = value
    for name, rows in generators.items():
        checkpoint.tensors[f"rng.{name}"] = rows
    checkpoint.training = {"param_groups": state["param_groups"], "optimizer_numbers": numbers, **vars(progress)}


# -- reading -------------------------------------------------------------------------------------


def read_training_state(
    file: str | os.PathLike, model: nn.Module, optimizer: torch.optim.Optimizer, config: Any
) -> TrainingState:
    """Read a training state; the model and the optimizer stay as they are.

    Parameters
    ----------
    file : str or os.PathLike
    model : nn.Module
    optimizer : torch.optim.Optimizer
        The state must fit its kind and its parameters.
    config : Config
        The settings, which must be those of the file where they decide the numbers.

    Raises
    ------
    UserError
        If the file is no training state, or one of another model, optimizer or other settings.
    """
    checkpoint, source = load_checkpoint(file), str(file)
    if checkpoint.kind != "training":
        raise UserError(
            f"{file} holds a model, not a training state; resume from the file that ends in .training.safetensors"
        )
    check_agreement(checkpoint.config, config, source, PLACE | SPEED | LENGTH, "resume with the same settings")
    optimizer_state = _optimizer_state(optimizer, checkpoint, source)
    best = {k[len("best.") :]: t for k, t in checkpoint.tensors.items() if k.startswith("best.")}
    if best:
        best = fitting_weights(model, best, source)
    own = random_state(config["device"])
    generators = _saved_random_state(checkpoint.tensors, own, distributed.rank(), source)
    return TrainingState(checkpoint, optimizer_state, best or None, generators, _progress(checkpoint, source))


def _progress(checkpoint: Checkpoint, source: str) -> Progress:
    saved = Record(checkpoint.training, source, "training.")
    cur_step, score = saved.whole("cur_step"), saved.content.get("best_valid_score")
    if not is_number(score) or math.isnan(score):
        raise saved.refuse("best_valid_score", "a number")
    result, name = saved.numbers("best_valid_result"), saved.text("saved_model_file")
    if os.path.basename(name) != name or not name.endswith(".safetensors") or "\0" in name:
        raise saved.refuse("saved_model_file", "a file name that ends in .safetensors")
    return Progress(cur_step, score, result, name, saved.text("rows", default=""))


def _optimizer_state(optimizer: torch.optim.Optimizer, saved: Checkpoint, source: str) -> dict[str, Any]:
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
    needed = _STATE_OF.get(type(optimizer), set())
    for index, entries in state.items():
        if index not in map(str, range(len(parameters))) or not needed <= set(entries):
            name = type(optimizer).__name__
            raise UserError(f"{source}: optimizer.{index[:20]} is no state of {name} for a parameter of this model")
        for name, value in entries.items():
            _check_entry(f"optimizer.{index}.{name}", name, value, parameters[int(index)], source)
    return {"state": {int(i): e for i, e in state.items()}, "param_groups": _groups(optimizer, training)}


def _check_entry(entry: str, name: str, value: Any, parameter: torch.Tensor, source: str) -> None:
    if value is None and name == "momentum_buffer":  # of SGD without momentum
        return
    if not isinstance(value, torch.Tensor):
        raise UserError(f"{source}: {entry} is no tensor")
    shape = torch.Size() if name == "step" else parameter.shape
    right = value.is_floating_point() if name == "step" else value.dtype == parameter.dtype
    if value.shape != shape or not right:
        raise UserError(
            f"{source}: {entry} is {value.dtype} {tuple(value.shape)}; it must be {parameter.dtype} {tuple(shape)}"
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


def _saved_random_state(
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
        If the generator does not take a row.
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
