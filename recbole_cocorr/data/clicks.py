"""The item-item corrector under the evaluation protocol: what it may learn from, and what it knows at a test item."""

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import HISTORY_END, SequenceDataset
from recbole_cocorr.data.loaders import EvalLoader


def training_interactions(*held_out: SequenceDataset) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of every interaction that is no held-out target, nor later than training where a time cuts it.

    Parameters
    ----------
    *held_out : SequenceDataset
        The validation and test rows; they share the interactions.

    Raises
    ------
    UserError
        If the data are kept in another form, as RecBole's own dataset classes do.
    """
    for dataset in held_out:
        if HISTORY_END not in dataset.inter_feat:
            raise UserError(f"the item-item corrector cannot read the dataset class {type(dataset).__name__}")
    sequences = held_out[0]._sequences
    users = sequences[held_out[0].uid_field].numpy()
    items = sequences[held_out[0].iid_field].numpy()
    kept = held_out[0].known_in_training().copy()
    for dataset in held_out:
        kept[dataset.inter_feat[HISTORY_END].numpy()] = False
    return users[kept], items[kept]


def histories(loader: EvalLoader, stale: int = 0) -> list[np.ndarray]:
    """Each row's clicks before its target, whole, without the newest ``stale``."""
    dataset = loader.dataset
    sequences = dataset._sequences
    users, items = sequences[dataset.uid_field].numpy(), sequences[dataset.iid_field].numpy()
    end = dataset.inter_feat[HISTORY_END].numpy()
    start = np.searchsorted(users, users[end])
    return [items[a : max(a, b - stale)] for a, b in zip(start, end, strict=True)]
