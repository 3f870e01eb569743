"""``python -m recbole_cocorr import-released``: weights of the authors' released code as a checkpoint of ours."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import make_folder
from recbole_cocorr.checkpoint import Checkpoint, save_checkpoint

# The names in the file of a width that decides a setting.
_EMBEDDING = "item_embedding.weight"


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read names and arrays from ``.pt``/``.pth`` (tensors only), ``.npz`` or ``.safetensors``.

    Raises
    ------
    UserError
        If the file is missing, damaged, of another kind, or holds more than arrays.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    suffix = path.suffix.lower()
    try:
        if suffix == ".safetensors":
            state: Any = load_file(path)
        elif suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                state = {name: archive[name] for name in archive.files}
        elif suffix in (".pt", ".pth", ".bin"):
            state = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise UserError(f"{path} ends in {suffix!r}; a state dict is a .pt, .npz or .safetensors file")
    except UserError:
        raise
    except (SafetensorError, OSError, ValueError, RuntimeError, EOFError, KeyError) as error:
        raise UserError(f"{path} cannot be read as a {suffix} file of arrays: {error}") from None
    except Exception as error:  # unpickling refuses in many classes, zipfile in one of its own
        raise UserError(f"{path} is damaged or holds more than tensors ({type(error).__name__})") from None
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not state:
        raise UserError(f"{path} holds no state dict")
    arrays: dict[str, np.ndarray] = {}
    for name, value in state.items():
        if not isinstance(value, (np.ndarray, torch.Tensor)):
            raise UserError(f"{path}: the entry {name!r} is no tensor but a {type(value).__name__}")
        try:
            arrays[str(name)] = value.detach().cpu().float().numpy() if torch.is_tensor(value) else value
        except (TypeError, RuntimeError) as error:  # a sparse or quantized tensor
            raise UserError(f"{path}: the tensor {name!r} cannot be read as an array: {error}") from None
    parameters = {k[len("param/") :]: v for k, v in arrays.items() if k.startswith("param/")}
    return parameters or {k.removeprefix("module."): v for k, v in arrays.items()}


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
    from recbole_cocorr.layers.released_names import released_to_ours

    try:
        weights = {k: torch.as_tensor(np.asarray(v, dtype=np.float32)) for k, v in released_to_ours(state).items()}
        num_items, hidden_size = weights[_EMBEDDING].shape
        num_heads = len(weights["layers.0.ttt.W0"])
        mini_batch_size = len(weights["layers.0.ttt.token_scale"])
    except (ValueError, TypeError, KeyError, IndexError) as error:  # the latter: an array of too few dimensions
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


def add_parser(commands: Any) -> None:
    """Add the command to ``python -m recbole_cocorr``."""
    parser = commands.add_parser(
        "import-released",
        help="turn a state dict of the authors' released code into a checkpoint",
        description="Reads a state dict of the authors' released code (.pt, .npz or .safetensors) and writes a "
        "checkpoint that load_model reads.",
    )
    parser.add_argument("file", type=Path, help="the state dict")
    parser.add_argument("--out", type=Path, help="checkpoint to write; FILE with the suffix .safetensors, if left out")
    parser.add_argument("--items", type=Path, help="text file with one item token per line, item 1 first")
    parser.add_argument("--length", type=int, help="MAX_ITEM_LIST_LENGTH; the mini-batch size, if left out")
    parser.set_defaults(func=run)


def _read_items(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the item tokens of {path}: {error}") from None
    tokens = text.removesuffix("\n").split("\n")  # splitlines would also cut inside a token, at U+2028 for one
    if len(set(tokens)) < len(tokens):
        raise UserError(f"{path} holds the token {next(t for t in tokens if tokens.count(t) > 1)!r} more than once")
    return tokens


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out."""
    from recbole_cocorr.recommend import recommender_from

    items: list[str] = []
    if arguments.items:
        items = ["[PAD]", *_read_items(arguments.items)]
    if arguments.length is not None and arguments.length < 1:
        raise UserError(f"--length is {arguments.length}; it must be at least 1")
    checkpoint = import_released(read_state_dict(arguments.file), str(arguments.file), items, arguments.length)
    recommender_from(checkpoint, str(arguments.file), "cpu")  # refuses what does not fit before anything is written
    out = arguments.out or arguments.file.with_suffix(".safetensors")
    if out.resolve() == arguments.file.resolve():
        raise UserError(f"the checkpoint would overwrite {out}; name another file with --out")
    make_folder(out.parent, "checkpoint")
    save_checkpoint(out, checkpoint)
    shape = checkpoint.config
    print(
        f"{out}: CoCorrRec{'' if shape['use_gcn'] else ' (w/o GCN)'}, {len(checkpoint.items) - 1} items, "
        f"d = {shape['hidden_size']}, H = {shape['num_heads']}, K = {shape['mini_batch_size']}"
    )
    return 0
