"""Vectors of items that came after the training: from their neighbours, with nothing trained."""

import numpy as np
import scipy.sparse as sparse


def vectors_of_new(weights: sparse.csr_matrix, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of an item's neighbours that have a vector, by their item-item weights.

    Its length is the mean of theirs: a mean of vectors is shorter, and a short vector can only have a low score.

    Parameters
    ----------
    weights : scipy.sparse.csr_matrix, shape [n, n]
        B of :class:`~recbole_cocorr.correctors.item_item.ItemItem`; column i: what speaks for item i. Weights below 0
        are left out.
    vectors : numpy.ndarray of float32, shape [k, d]
        Of the first k items, padding first; the items from k on are new.

    Returns
    -------
    numpy.ndarray of int64, shape [m], and numpy.ndarray of float32, shape [m, d]
        The new items that have such a neighbour, and their vectors.
    """
    known, size = len(vectors), weights.shape[0]
    votes = sparse.csr_matrix(weights[:known, known:].T, dtype=np.float64)
    votes.data = np.maximum(votes.data, 0)
    total = np.asarray(votes.sum(axis=1)).ravel()
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    mean, length = votes @ vectors.astype(np.float64), votes @ lengths
    size_of_mean = np.linalg.norm(mean, axis=1)
    some = np.flatnonzero((total > 0) & (size_of_mean > 0))
    scale = length[some] / total[some] / size_of_mean[some]
    return np.arange(known, size)[some], (mean[some] * scale[:, None]).astype(np.float32)
