"""Checkpoints without pickle: one safetensors file holds weights, configuration and item vocabulary.

Layout of the file
------------------
tensors
    ``model.<parameter>`` the weights; ``vocabulary.items`` the item tokens by id, padding first, as the UTF-8
    of a JSON list (a token may hold any character); ``vocabulary.clicks``, where it is known, how often each was
    clicked in training (int64, by id). A training checkpoint also holds
    ``optimizer.<i>.<name>``, ``best.<parameter>`` (the weights of the best epoch so far) and
    ``rng.<generator>``, a row of random state per process.
metadata
    ``format``, ``format_version``, ``kind`` ("model" or "training"), ``package_version``, ``digest``
    (BLAKE2b of all tensors and of the texts) and ``content``: a JSON object with ``config``,
    ``num_users``, ``epoch``, ``metrics`` and, for training, the optimizer's groups and the trainer's counters.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from recbole_cocorr import __version__
from recbole_cocorr.artifact.checkpoint_file import FORMAT, FORMAT_VERSION, digest_of_checkpoint
from recbole_cocorr.artifact.fingerprint import model_fingerprint
from recbole_cocorr.base.checkpoints import checkpoint_file
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write
from recbole_cocorr.base.readers import Record, parse_json, versioned
from recbole_cocorr.base.tensor_file import read_tensors


@dataclass
class Checkpoint:
    """What a checkpoint file holds.

    Attributes
    ----------
    kind : {"model", "training"}
    config : dict
        The run's settings, as plain JSON values.
    items : list of str
        Item tokens by item id; entry 0 is padding.
    weights : dict of str to torch.Tensor
    num_users : int
        Size of the user vocabulary, padding included. The users themselves are not kept.
    epoch : int
        Epoch of the weights, from 0; -1 if never trained.
    metrics : dict
        Validation result of that epoch.
    training : dict
        Counters and optimizer groups, for a training checkpoint.
    tensors : dict of str to torch.Tensor
        Optimizer state, best weights and random state, for a training checkpoint.
    clicks : torch.Tensor of int64 or None
        How often each item was clicked in training, by item id; None in files from before this was kept.
    """

    kind: str
    config: dict[str, Any]
    items: list[str]
    weights: dict[str, torch.Tensor]
    num_users: int = 0
    epoch: int = -1
    metrics: dict[str, float] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    clicks: torch.Tensor | None = None


def plain_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that JSON can hold: no devices, enumerations or classes."""

    def plain(value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return all(plain(v) for v in value)
        if isinstance(value, dict):
            return all(isinstance(k, str) and plain(v) for k, v in value.items())
        return value is None or type(value) in (str, int, float, bool)

    return {k: v for k, v in settings.items() if plain(v)}


def _digest(tensors: Mapping[str, torch.Tensor], texts: Mapping[str, str]) -> str:
    ordered = ((name, tensors[name].contiguous()) for name in sorted(tensors))
    parts = ((n, str(t.dtype), tuple(t.shape), t.reshape(-1).view(torch.uint8).numpy().data) for n, t in ordered)
    return digest_of_checkpoint(parts, texts)


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: first under a temporary name, then renamed, so no reader sees half of it."""
    text = bytearray(json.dumps(checkpoint.items), "utf-8")
    tensors = {f"model.{k}": v for k, v in checkpoint.weights.items()} | checkpoint.tensors
    tensors["vocabulary.items"] = torch.frombuffer(text, dtype=torch.uint8)
    if checkpoint.clicks is not None:
        tensors["vocabulary.clicks"] = checkpoint.clicks
    # clone: safetensors refuses tensors that share memory, such as tied weights
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    content = {
        "config": checkpoint.config,
        "num_users": checkpoint.num_users,
        "epoch": checkpoint.epoch,
        "metrics": checkpoint.metrics,
        "training": checkpoint.training,
    }
    texts = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "kind": checkpoint.kind,
        "package_version": __version__,
        "content": json.dumps(content),
    }
    texts["digest"] = _digest(tensors, texts)
    what = "training state" if checkpoint.kind == "training" else "checkpoint"
    with atomic_write(path, "wb", what=what) as file:
        file.write(save(tensors, metadata=texts))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint; ``latest`` is the newest in ``saved/``.

    Raises
    ------
    UserError
        If the file is missing, is no checkpoint of this package, is of a newer format, is damaged, holds a value of
        another type than training writes, or a tensor with NaN or infinity; the sentence says which.
    """
    path = checkpoint_file(path)
    texts, tensors = read_tensors(path, "checkpoint")
    source = str(path)
    head = versioned(texts, source, FORMAT, "checkpoint", str(FORMAT_VERSION))
    digest = texts.pop("digest", "")
    if digest != _digest(tensors, texts):
        raise UserError(f"{source} is damaged: its contents do not match its checksum")
    content = Record(parse_json(head.text("content"), source, nan=True), source)
    check_finite(tensors, source)
    items = _items(tensors.pop("vocabulary.items", None), source)
    return Checkpoint(
        kind=head.text("kind", ("model", "training")),
        config=content.record("config").content,
        items=items,
        weights={k[len("model.") :]: tensors.pop(k) for k in list(tensors) if k.startswith("model.")},
        num_users=content.whole("num_users", 0, 1 << 31),
        clicks=_clicks(tensors.pop("vocabulary.clicks", None), len(items), source),
        epoch=content.whole("epoch", -1),
        metrics=content.numbers("metrics"),
        training=content.record("training").content,
        tensors=tensors,
    )


def _items(text: torch.Tensor | None, source: str) -> list[str]:
    if text is None or text.dtype != torch.uint8:
        raise UserError(f"{source} lacks its vocabulary: vocabulary.items must be the uint8 of a JSON list")
    items = Record({"items": parse_json(text.numpy().tobytes(), source)}, source, "vocabulary.").array("items", str)
    tokens = items[1:]  # entry 0 is padding, whatever it is called
    if len(set(tokens)) < len(tokens):
        seen: set[str] = set()
        twice = next(t for t in tokens if t in seen or seen.add(t))
        raise UserError(f"{source}: vocabulary.items holds {twice[:60]!r} more than once")
    return items


def _clicks(clicks: torch.Tensor | None, items: int, source: str) -> torch.Tensor | None:
    if clicks is None:
        return None
    if clicks.dtype != torch.int64 or clicks.shape != (items,) or bool((clicks < 0).any()):
        raise UserError(f"{source}: vocabulary.clicks must be {items} whole numbers of at least 0, one for each item")
    return clicks


def check_finite(tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Refuse NaN and infinity; raises UserError naming the tensor."""
    for name, tensor in tensors.items():
        if tensor.is_complex() or tensor.is_floating_point():
            plain = tensor.float() if tensor.element_size() == 1 else tensor  # torch cannot ask float8
            if not plain.isfinite().all():
                raise UserError(f"{source}: {name} holds NaN or infinity; the training went wrong, or the file did")


def load_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Put ``weights`` into ``model``, or say which do not fit.

    A checkpoint trained with the correction network can be loaded into a model without it; weights of
    the correction are left out then.

    Raises
    ------
    UserError
        For weights that are missing, unknown, not finite, or of another shape or type than the model's: nothing is
        cast. The model is as it was then.
    """
    model.load_state_dict(fitting_weights(model, weights, source))


def fitting_weights(
    model: torch.nn.Module, weights: Mapping[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    """The entries of ``weights`` that ``model`` takes; errors are those of :func:`load_weights`."""
    optional = tuple(getattr(model, "optional_weights", ()))
    own = model.state_dict()
    given = {k: v for k, v in weights.items() if k in own or not k.startswith(optional or ("\0",))}
    missing, unknown = sorted(set(own) - set(given)), sorted(set(given) - set(own))
    if missing:
        raise UserError(f"{source} lacks the weight {missing[0]!r} ({len(missing)} in all) of {type(model).__name__}")
    if unknown:
        raise UserError(f"{source} has the weight {unknown[0]!r}, which {type(model).__name__} does not")
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            raise UserError(
                f"{source}: {name} has shape {tuple(tensor.shape)}, but the configuration makes it "
                f"{tuple(own[name].shape)}"
            )
        if tensor.dtype != own[name].dtype:
            raise UserError(
                f"{source}: {name} is {_name(tensor.dtype)}, but the model's is {_name(own[name].dtype)}; weights are "
                "not cast"
            )
    check_finite(given, source)
    return given


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def checkpoint_fingerprint(checkpoint: Checkpoint) -> str:
    """What a session of this checkpoint's artifact, and a correction for it, are told apart by."""
    return model_fingerprint({n: t.numpy() for n, t in checkpoint.weights.items()}, checkpoint.config)
