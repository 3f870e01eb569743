"""Which settings may differ between two runs that count as one; every other setting must agree."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from recbole.data.dataset import Dataset

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import SequenceDataset
from recbole_cocorr.training.checkpoint import plain_config

# Any setting that is not listed here must agree: it may decide the rows, the loss, the model's function, the optimizer
# or the choice of the best epoch.
#
# Where a run works, what it writes beside its result, and how much it says.
PLACE = frozenset(
    [
        "data_path",
        "checkpoint_dir",
        "log_dir",
        "tensorboard_dir",
        "config_files",
        "resume",
        "save_training_state",
        "save_dataset",
        "dataset_save_path",
        "save_dataloaders",
        "dataloaders_save_path",
        "state",
        "show_progress",
        "loss_decimal_place",
        "log_wandb",
        "wandb_project",
        "use_gpu",
        "gpu_id",
        "worker",
        "single_spec",
        "nproc",
        "world_size",
        "offset",
        "group_offset",
        "rank",
        "local_rank",
        "ip",
        "port",
    ]
)
# How fast it goes, with the same numbers but for rounding.
SPEED = frozenset(["torch_compile", "eval_batch_size"])
# When a training ends: whoever goes on with one may give it more epochs or more patience.
LENGTH = frozenset(["epochs", "stopping_step"])
# Named first: the other differences follow from them.
_FIRST = ("model", "dataset", "protocol")


def differences(earlier: Mapping[str, Any], config: Any, may_differ: frozenset[str]) -> list[tuple[str, Any, Any]]:
    """Settings that must agree and do not: name, earlier value, value in ``config``.

    A setting that one side lacks counts as None, as RecBole reads it. One that the earlier side lacks and nobody has
    set since is a setting of a later version, and agrees.

    Parameters
    ----------
    earlier : mapping
        A whole configuration, as a file holds it.
    config : Config
    may_differ : frozenset of str
    """
    now = json.loads(json.dumps(plain_config(config.final_config_dict)))
    names = [n for n in now if n in earlier or n in config.external_config_dict]
    names = [n for n in dict.fromkeys([*_FIRST, *earlier, *names]) if n not in may_differ]
    return [(n, earlier.get(n), now.get(n)) for n in names if earlier.get(n) != now.get(n)]


def check_agreement(
    earlier: Mapping[str, Any], config: Any, source: str, may_differ: frozenset[str], remedy: str
) -> None:
    """Refuse to go on with a run whose settings were others.

    Parameters
    ----------
    earlier : mapping
        Its whole configuration.
    config : Config
    source : str
        The file that holds the earlier one.
    may_differ : frozenset of str
    remedy : str
        What the user can do; the end of the sentence.

    Raises
    ------
    UserError
        Naming every setting that differs, with both values.
    """
    differing = differences(earlier, config, may_differ)
    if not differing:
        return
    if differing[0][0] in _FIRST:
        differing = differing[:1]
    there, here = (", ".join(f"{d[0]}={d[side]!r}" for d in differing) for side in (1, 2))
    raise UserError(f"{source} was trained with {there}, this run has {here}; {remedy}")


def rows_digest(*datasets: Dataset) -> str:
    """Digest of the rows of built data sets: who clicked what, after which history, in which order."""
    hasher = hashlib.blake2b(digest_size=16)
    for dataset in datasets:
        histories = [dataset.item_order()] if isinstance(dataset, SequenceDataset) else []
        for column in (*dataset.inter_feat.interaction.values(), *histories):
            hasher.update(np.ascontiguousarray(column).data)
    return hasher.hexdigest()
