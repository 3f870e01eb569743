"""Turn a state dict of the authors' released code into a checkpoint.

Reads a state dict of the authors' released code (.pt, .npz or .safetensors) and writes a checkpoint that load_model
reads.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from recbole_cocorr.base.files import make_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", type=Path, help="the state dict")
    parser.add_argument("--out", type=Path, help="checkpoint to write; FILE with the suffix .safetensors, if left out")
    parser.add_argument("--items", type=Path, help="text file with one item token per line, item 1 first")
    parser.add_argument("--length", type=int, help="MAX_ITEM_LIST_LENGTH; the mini-batch size, if left out")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.training.checkpoint import save_checkpoint
    from recbole_cocorr.training.recommend import recommender_from
    from recbole_cocorr.training.released import import_released, read_items, read_state_dict

    items: list[str] = []
    if arguments.items:
        items = ["[PAD]", *read_items(arguments.items)]
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
