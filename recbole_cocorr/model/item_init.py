"""Item embeddings that start from what the training clicks say of items, not from random numbers alone.

The item-item weights B of :class:`~recbole_cocorr.correctors.item_item.ItemItem` say which item speaks for which. Their
symmetric part (B + B^T) / 2 = V diag(lambda) V^T gives the vectors V |lambda|^(1/2) of its d largest eigenvalues in
magnitude: items that the same neighbours speak for lie close to each other. Training goes on from there, and what is
deployed has the same form and cost as before.
"""

from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from recbole_cocorr.correctors.item_item import ItemItem
from recbole_cocorr.correctors.settings import corrector_settings
from recbole_cocorr.data.dataset import SequenceDataset
from recbole_cocorr.errors import UserError

# Below this catalogue the eigenvectors come from a dense matrix: the sparse solver wants more items than vectors.
_DENSE = 512


def start_items(model: nn.Module, config: Any, dataset: SequenceDataset) -> None:
    """Start a new model's item embedding as ``item_init`` says; to be called before training, once.

    ``random`` leaves the model as it is. ``item-item`` adds :func:`spectral_vectors` of the training clicks to the
    model's own random numbers, so that items without a neighbour, and padding, keep theirs.

    Parameters
    ----------
    model : SequentialRecommender
        Its ``item_embedding`` holds an item's vector in the row of its number.
    config : Config
        Reads ``item_init``, ``item_init_std`` and ``seed``; ``l2`` and ``neighbours`` are ``corrector.yaml``'s.
    dataset : SequenceDataset
        The training rows; no click is read that they do not show.

    Raises
    ------
    UserError
        If the model has no such embedding, or the data are kept in another form.
    """
    if config["item_init"] != "item-item":
        return
    table = getattr(model, "item_embedding", None)
    if not isinstance(table, nn.Embedding) or table.num_embeddings < dataset.item_num:
        raise UserError(
            f"item_init is 'item-item', which {config['model']} cannot have: it keeps no vector of each item in an "
            "item_embedding; item_init must be 'random' for it"
        )
    if not isinstance(dataset, SequenceDataset):
        raise UserError(f"item_init is 'item-item', which cannot read the dataset class {type(dataset).__name__}")
    settings = corrector_settings()
    users, items = dataset.shown_interactions()
    weights = ItemItem.fit(users, items, dataset.item_num, settings["l2"], settings["neighbours"]).weights
    vectors = spectral_vectors(weights, table.embedding_dim, config["seed"]) * config["item_init_std"]
    with torch.no_grad():
        table.weight[: dataset.item_num] += torch.from_numpy(vectors).to(table.weight)


def spectral_vectors(weights: sparse.csr_matrix, width: int, seed: int) -> np.ndarray:
    """Vectors of items from their item-item weights.

    Parameters
    ----------
    weights : scipy.sparse.csr_matrix, shape [n_items, n_items]
        B; row and column 0 are padding.
    width : int
        d.
    seed : int
        Of the random rotation that spreads the eigenvectors over the d entries evenly.

    Returns
    -------
    numpy.ndarray of float32, shape [n_items, d]
        V |lambda|^(1/2), rotated, divided by the root mean square of all entries but padding's; zeros for an item
        without weights, and everywhere if there are none at all.
    """
    size = weights.shape[0]
    symmetric = ((weights + weights.T) / 2).astype(np.float64)
    most = min(width, size - 1)
    if size <= max(_DENSE, 2 * width):
        values, basis = np.linalg.eigh(symmetric.toarray())
    elif symmetric.nnz:
        values, basis = eigsh(symmetric, k=most, which="LM", v0=np.ones(size))
    else:
        values, basis = np.zeros(most), np.zeros((size, most))
    chosen = np.argsort(-np.abs(values), kind="stable")[:most]
    values, basis = values[chosen], basis[:, chosen]
    # A solver leaves the sign open: each vector's largest entry is made positive.
    largest = basis[np.argmax(np.abs(basis), axis=0), np.arange(most)]
    vectors = np.zeros((size, width))
    vectors[:, :most] = basis * np.where(largest < 0, -1.0, 1.0) * np.sqrt(np.abs(values))
    vectors[np.diff(symmetric.indptr) == 0] = 0.0  # the solver's rounding
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))
    scale = np.sqrt((vectors[1:] ** 2).mean()) if size > 1 else 0.0
    return (vectors @ rotation / (scale or 1.0)).astype(np.float32)
