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

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.item_item import ItemItem
from recbole_cocorr.correctors.settings import corrector_settings
from recbole_cocorr.data.dataset import SequenceDataset

# Below this catalogue the eigenvectors come from a dense matrix: the sparse solver wants more items than vectors.
_DENSE = 512


def start_items(model: nn.Module, config: Any, dataset: SequenceDataset) -> None:
    """Start a new model's item embedding as ``item_init`` says; to be called before training, once.

    ``random`` leaves the model as it is. ``item-item`` adds :func:`spectral_vectors` of the training clicks to the
    model's own random numbers, so that items without a neighbour, and padding, keep theirs.

    Parameters
    ----------
    model : SequentialRecommender
        This package's or RecBole's; an item's vector is the row of its number.
    config : Config
        Reads ``item_init``, ``item_init_std`` and ``seed``; ``l2`` and ``neighbours`` are ``corrector.yaml``'s.
    dataset : SequenceDataset
        The training rows; no click is read that they do not show.

    Raises
    ------
    UserError
        If no such table is found in the model, or the data are kept in another form.
    """
    if config["item_init"] != "item-item":
        return
    if not isinstance(dataset, SequenceDataset):
        raise UserError(f"item_init is 'item-item', which cannot read the dataset class {type(dataset).__name__}")
    rows = _item_rows(model, dataset)
    if rows is None:
        raise UserError(
            f"item_init is 'item-item', which {config['model']} cannot have: no table of its items' vectors is found "
            "where RecBole's models keep it (item_embedding); item_init must be 'random' for it"
        )
    settings = corrector_settings()
    users, items = dataset.shown_interactions()
    weights = ItemItem.fit(users, items, dataset.item_num, settings["l2"], settings["neighbours"]).weights
    vectors = spectral_vectors(weights, rows.shape[1], config["seed"]) * config["item_init_std"]
    with torch.no_grad():
        rows += torch.from_numpy(vectors).to(rows)


def _item_rows(model: nn.Module, dataset: SequenceDataset) -> torch.Tensor | None:
    """The part [n_items, d] of a model's weights that holds its items' vectors."""
    size = dataset.item_num
    table = getattr(model, "item_embedding", None)
    if isinstance(table, nn.Embedding) and table.num_embeddings >= size:  # BERT4Rec has one more, its mask
        return table.weight.detach()[:size]
    layer = getattr(model, "embedding_layer", None)  # DIN's, of an item's columns one after another
    tables = getattr(layer, "token_embedding_table", None)
    if isinstance(tables, nn.ModuleDict) and "item" in tables:
        start = int(tables["item"].offsets[layer.token_field_names["item"].index(dataset.iid_field)])
        return tables["item"].embedding.weight.detach()[start : start + size]
    return None


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
