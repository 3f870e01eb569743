"""Weights of the authors' released code as a checkpoint of ours."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import decode, read_bytes
from recbole_cocorr.base.tensor_file import read_tensors
from recbole_cocorr.training.checkpoint import Checkpoint

# The names in the file of a width that decides a setting.
_EMBEDDING = "item_embedding.weight"
_MOST_BYTES = 4 << 30


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read names and arrays from ``.pt``/``.pth`` (tensors only), ``.npz`` or ``.safetensors``.

    Raises
    ------
    UserError
        If the file is missing, damaged, of another kind, or holds anything but arrays of finite floats.
    """
    suffix = path.suffix.lower()
    if suffix not in (".safetensors", ".npz", ".pt", ".pth", ".bin"):
        raise UserError(f"{path} ends in {suffix!r}; a state dict is a .pt, .npz or .safetensors file")
    if suffix == ".safetensors":
        _, state = read_tensors(path, "state dict")
    else:
        if not path.is_file():
            raise UserError(f"there is no file {path}")
        try:
            state = _read_npz(path) if suffix == ".npz" else torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, ValueError, RuntimeError, EOFError, KeyError, MemoryError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path} cannot be read as a {suffix} file of arrays: {reason}") from None
        except Exception as error:  # unpickling refuses in many classes, zipfile in one of its own
            raise UserError(f"{path} is damaged or holds more than tensors ({type(error).__name__})") from None
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not state:
        raise UserError(f"{path} holds no state dict")
    parameters = {k: v for k, v in state.items() if str(k).startswith("param/")}
    return {
        str(name).removeprefix("param/").removeprefix("module."): _array(path, name, value)
        for name, value in (parameters or state).items()
    }


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        # A few kilobytes that are packed may be gigabytes unpacked.
        if sum(part.file_size for part in archive.zip.infolist()) > _MOST_BYTES:
            raise ValueError(f"it unpacks to more than {_MOST_BYTES >> 30} GiB")
        return {name: archive[name] for name in archive.files}


def _array(path: Path, name: Any, value: Any) -> np.ndarray:
    """A weight as float32, of floats of any usual precision: the file is converted, which is what was asked for."""
    if not isinstance(value, (np.ndarray, torch.Tensor)):
        raise UserError(f"{path}: the entry {name!r} is no tensor but a {type(value).__name__}")
    kind = str(value.dtype).removeprefix("torch.")
    if kind not in ("float32", "float64", "float16", "bfloat16"):
        raise UserError(f"{path}: the tensor {name!r} is {kind}; a weight is float32, float64, float16 or bfloat16")
    try:
        # A view may repeat one number to any size.
        if torch.is_tensor(value) and value.nbytes > value.untyped_storage().nbytes():
            raise UserError(f"{path}: the tensor {name!r} is larger than what the file holds of it")
        with np.errstate(over="ignore"):  # infinity is refused below
            array = value.detach().cpu().float().numpy() if torch.is_tensor(value) else value.astype(np.float32)
    except (TypeError, RuntimeError) as error:  # a sparse tensor
        raise UserError(f"{path}: the tensor {name!r} cannot be read as an array: {error}") from None
    if not np.isfinite(array).all():
        raise UserError(f"{path}: the tensor {name!r} holds NaN or infinity")
    return array


def import_released(state: dict[str, np.ndarray], source: str, items: list[str], length: int | None) -> Checkpoint:
    """Turn a released state dict into a checkpoint.

    Parameters
    ----------
    state : dict
        Released names to arrays.
    source : str
        What to call the file in errors.
    items : list of str
        Tokens by item id, entry 0 for padding; empty to call item i ``"i"``.
    length : int or None
        ``MAX_ITEM_LIST_LENGTH``; None for the mini-batch size, with which the authors train.

    Returns
    -------
    Checkpoint
    """
    from recbole_cocorr.models.cocorrrec.released_names import released_to_ours

    try:
        weights = {k: torch.as_tensor(v) for k, v in released_to_ours(state).items()}
        num_items, hidden_size = weights[_EMBEDDING].shape
        num_heads = len(weights["layers.0.ttt.W0"])
        mini_batch_size = len(weights["layers.0.ttt.token_scale"])
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:  # also: too few dimensions
        raise UserError(f"{source} is no state dict of the released model: {error}") from None
    if items and len(items) != num_items:
        raise UserError(f"{len(items) - 1} item tokens are given, but {source} holds {num_items - 1} items")
    config = {
        "model": "CoCorrRec",
        "dataset": "released",
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "LABEL_FIELD": "label",
        "LIST_SUFFIX": "_list",
        "ITEM_LIST_LENGTH_FIELD": "item_length",
        "NEG_PREFIX": "neg_",
        "MAX_ITEM_LIST_LENGTH": length or mini_batch_size,
        "hidden_size": hidden_size,
        "num_heads": num_heads,
        "num_layers": 1 + max(int(k.split(".")[1]) for k in weights if k.startswith("layers.")),
        "mini_batch_size": mini_batch_size,
        "inner_lr": 1.0,
        "use_gcn": any(k.startswith("gcn.") for k in weights),
        "target_transform": "mlp" if any(k.startswith("target_transform.") for k in weights) else "identity",
        "dropout_prob": 0.0,
        "initializer_range": 0.02,
        "loss_type": "BCE",
    }
    return Checkpoint("model", config, items or ["[PAD]", *map(str, range(1, num_items))], weights)


def read_items(path: Path) -> list[str]:
    """Item tokens of a text file, one on each line; raises UserError for a token that stands there twice."""
    text = decode(read_bytes(path, "list of item tokens"), str(path)).replace("\r\n", "\n")
    tokens = text.removesuffix("\n").split("\n")  # splitlines would also cut inside a token, at U+2028 for one
    if len(set(tokens)) < len(tokens):
        raise UserError(f"{path} holds the token {next(t for t in tokens if tokens.count(t) > 1)!r} more than once")
    return tokens
