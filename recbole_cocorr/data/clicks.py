"""The item-item corrector under the evaluation protocol: what it may learn from, and what it knows at a test item."""

import numpy as np
from recbole.data.dataset import Dataset

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import SequenceDataset
from recbole_cocorr.data.loaders import EvalLoader


def training_interactions(dataset: Dataset, reader: str = "the item-item corrector") -> tuple[np.ndarray, np.ndarray]:
    """Users and items of the interactions that may be learned from.

    Parameters
    ----------
    dataset : Dataset
        The training, validation or test rows; they share the interactions.
    reader : str
        Who learns, for the error.

    Raises
    ------
    UserError
        If the data are kept in another form, as RecBole's own dataset classes do.
    """
    if not isinstance(dataset, SequenceDataset):
        raise UserError(f"{reader} cannot read the dataset class {type(dataset).__name__}")
    return dataset.training_interactions()


def histories(loader: EvalLoader, stale: int = 0) -> list[np.ndarray]:
    """Each row's clicks before its target, whole, without the newest ``stale``.

    Raises
    ------
    UserError
        If the data are kept in another form, as RecBole's own dataset classes and data that come already split are.
    """
    if not isinstance(loader.dataset, SequenceDataset):
        raise UserError(f"whole histories cannot be read from the dataset class {type(loader.dataset).__name__}")
    return loader.dataset.histories(stale)
