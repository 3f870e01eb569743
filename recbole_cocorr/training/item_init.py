"""Item embeddings that start from what the training clicks say of items, not from random numbers alone.

The item-item weights B of :class:`~recbole_cocorr.correctors.item_item.ItemItem` say which item speaks for which. Their
symmetric part (B + B^T) / 2 = V diag(lambda) V^T gives the vectors V |lambda|^(1/2) of its d largest eigenvalues in
magnitude: items that the same neighbours speak for lie close to each other. Training goes on from there, and what is
deployed has the same form and cost as before.
"""

import time
from logging import getLogger
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from tqdm import tqdm

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.item_item import ItemItem
from recbole_cocorr.correctors.settings import corrector_settings
from recbole_cocorr.data.clicks import training_interactions
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
        The training rows; no held-out click is read.

    Raises
    ------
    UserError
        If no such table is found in the model, or the data are kept in another form.
    """
    if config["item_init"] != "item-item":
        return
    users, items = training_interactions(dataset, "item_init is 'item-item', which")
    rows = _item_rows(model, dataset)
    if rows is None:
        raise UserError(
            f"item_init is 'item-item', which {config['model']} cannot have: no table of its items' vectors is found "
            "where RecBole's models keep it (item_embedding); item_init must be 'random' for it"
        )
    settings, log, begin = corrector_settings(), getLogger(), time.perf_counter()
    clicked = len(np.unique(items))
    log.info(
        f"item_init: learning item-item weights from {len(items):,} training clicks on {clicked:,} of "
        f"{dataset.item_num - 1:,} items"
    )
    show = bool(config["show_progress"])
    # Not any corrector: what follows needs the weights B themselves, which only item-item scores have.
    fitted = ItemItem.fit(users, items, dataset.item_num, settings["l2"], settings["neighbours"], show_progress=show)
    log.info(f"item_init: {fitted.weights.nnz:,} weights; computing their {rows.shape[1]} largest eigenvectors")
    items, vectors = _spectral(fitted.weights, rows.shape[1], config["seed"], show)
    with torch.no_grad():
        rows[torch.from_numpy(items)] += torch.from_numpy(vectors * config["item_init_std"]).to(rows)
    log.info(f"item_init: item vectors started in {time.perf_counter() - begin:.1f} s")


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


def spectral_vectors(weights: sparse.csr_matrix, width: int, seed: int, show_progress: bool = True) -> np.ndarray:
    """Vectors of items from their item-item weights; the time grows with the items that have weights.

    Parameters
    ----------
    weights : scipy.sparse.csr_matrix, shape [n_items, n_items]
        B; row and column 0 are padding.
    width : int
        d.
    seed : int
        Seeds the random rotation that spreads the eigenvectors over the d entries evenly.
    show_progress : bool
        Whether a terminal gets a count of the solver's products once it takes more than a few seconds.

    Returns
    -------
    numpy.ndarray of float32, shape [n_items, d]
        V |lambda|^(1/2), rotated, divided by the root mean square of all entries but padding's; zeros for an item
        without weights, and everywhere if there are no weights at all.
    """
    result = np.zeros((weights.shape[0], width), dtype=np.float32)
    items, vectors = _spectral(weights, width, seed, show_progress)
    result[items] = vectors
    return result


def _spectral(weights: sparse.csr_matrix, width: int, seed: int, show_progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """The numbers [N] of the items that the solver saw, in order, and their vectors float32 [N, d]."""
    catalogue = weights.shape[0]
    symmetric = ((weights + weights.T) / 2).astype(np.float64)
    items = np.flatnonzero(np.diff(symmetric.indptr))
    if not len(items):
        return items, np.zeros((0, width), dtype=np.float32)
    if 2 * len(items) < catalogue:
        items = np.r_[0, items]
        symmetric = symmetric[items][:, items]
    else:
        # To leave out a few rows saves little, and would change the last digits of trainings.
        items = np.arange(catalogue)
    size = len(items)
    most = min(width, size - 1)
    if size <= max(_DENSE, 2 * width):
        values, basis = np.linalg.eigh(symmetric.toarray())
    else:
        values, basis = _largest(symmetric, most, show_progress)
    chosen = np.argsort(-np.abs(values), kind="stable")[:most]
    values, basis = values[chosen], basis[:, chosen]
    # A solver leaves the sign open: each vector's largest entry is made positive.
    largest = basis[np.argmax(np.abs(basis), axis=0), np.arange(most)]
    vectors = np.zeros((size, width))
    vectors[:, :most] = basis * np.where(largest < 0, -1.0, 1.0) * np.sqrt(np.abs(values))
    vectors[np.diff(symmetric.indptr) == 0] = 0.0  # the solver's rounding
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))
    # The mean over the whole catalogue, of which those without weights are zeros.
    scale = np.sqrt((vectors[1:] ** 2).sum() / ((catalogue - 1) * width))
    return items, (vectors @ rotation / (scale or 1.0)).astype(np.float32)


def _largest(symmetric: sparse.csr_matrix, count: int, show_progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [count] that are largest in magnitude, and their vectors [N, count]."""
    size = len(symmetric.indptr) - 1
    off = None if show_progress else True  # None: off unless on a terminal
    with tqdm(desc="Eigenvectors of the items", unit=" products", ncols=100, delay=3, disable=off) as bar:

        def product(vector: np.ndarray) -> np.ndarray:
            bar.update()
            return symmetric @ vector

        operator = LinearOperator((size, size), matvec=product, dtype=symmetric.dtype)
        return eigsh(operator, k=count, which="LM", v0=np.ones(size))
