"""Item-item structure from everybody's histories: a linear model of each item from its neighbours.

EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019) predicts whether a user has an item from
all other items, with ridge regression; it needs the inverse of an items x items matrix. Here each item is regressed on
the few items that occur with it most, so its system is of their number, the whole model is sparse, and a catalogue of
a million items costs a million small systems. With as many neighbours as items it is EASE.

EASE knows who clicked what and not when. A second regression of the same kind asks for the next click: what is clicked
is regressed on the clicks before it, which weigh what they weigh in a score. Its weights are added to the first one's.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import scipy.sparse as sparse
from safetensors.numpy import save
from tqdm import tqdm

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write
from recbole_cocorr.base.readers import Record, parse_json, versioned
from recbole_cocorr.base.tensor_file import read_tensors

FORMAT, FORMAT_VERSION = "recbole_cocorr.item_item", 1

# Systems that are solved at once.
_SYSTEMS = 256
# Items whose co-occurrences are counted at once.
_ITEMS = 1 << 15
# Clicks before a click that it is regressed on.
_BEFORE = 10


class ItemItem:
    """Scores of candidates from a history: sum over the clicks of decay^age * B[click, candidate].

    Parameters
    ----------
    weights : scipy.sparse.csr_matrix of float32, shape [n_items, n_items]
        B; row: what was clicked, column: what it speaks for. Row and column 0 are padding.
    decay : float
        Weight of a click beside that of the click after it; the newest has 1.
    """

    SETTINGS: ClassVar = {"l2": (int, float), "neighbours": (int,), "decay": (int, float), "next_click": (int, float)}

    def __init__(self, weights: sparse.csr_matrix, decay: float = 0.9):
        _check_decay(decay)
        self.weights = sparse.csr_matrix(weights, dtype=np.float32)
        self.weights.sort_indices()
        self.decay = float(decay)

    @property
    def n_items(self) -> int:
        """Size of the catalogue, padding included."""
        return self.weights.shape[0]

    @classmethod
    def fit(
        cls,
        users: np.ndarray,
        items: np.ndarray,
        n_items: int,
        l2: float = 100.0,
        neighbours: int = 100,
        decay: float = 0.9,
        next_click: float = 0.0,
        show_progress: bool = True,
    ) -> "ItemItem":
        """Learn B from interactions; time and memory grow with the items that are clicked, not with the catalogue.

        Parameters
        ----------
        users, items : numpy.ndarray of int, shape [N]
            Who clicked what. Each user's clicks are in order of time; the order of users does not matter. For the first
            regression repeats count once and there is no order.
        n_items : int
            Size of the catalogue, padding included.
        l2 : float
            Ridge penalty; EASE's lambda.
        neighbours : int
            Items that an item is regressed on: those with the most common users for their own number of users.
        decay : float
            See the class.
        next_click : float
            How much the weights of the second regression count beside those of the first; 0 leaves it out.
        show_progress : bool
            Whether a terminal gets a bar once it takes more than a few seconds.

        Raises
        ------
        UserError
            For settings that do not fit.
        """
        if not l2 > 0:
            raise UserError(f"corrector_l2 is {l2!r}; it must be above 0")
        if neighbours < 1:
            raise UserError(f"corrector_neighbours is {neighbours!r}; it must be at least 1")
        if not 0 <= next_click < np.inf:
            raise UserError(f"corrector_next_click is {next_click!r}; it must be at least 0 and finite")
        _check_decay(decay)
        # Here an item's number is its place among those that were clicked.
        clicked, items = np.unique(np.asarray(items, dtype=np.int64), return_inverse=True)
        users = np.asarray(users)
        together = _co_occurrences(users, items, len(clicked))
        weights = _regress(together, together, l2, neighbours, show_progress)
        if next_click:
            before, pairs = _next_clicks(users, items, len(clicked), decay)
            weights = weights + next_click * _regress(before, pairs, l2, neighbours, show_progress)
        weights = weights.tocoo()
        entries = (weights.data, (clicked[weights.row], clicked[weights.col]))
        return cls(sparse.csr_matrix(entries, shape=(n_items, n_items)), decay)

    # -- scoring ---------------------------------------------------------------------------------

    def scores(self, histories: Sequence[np.ndarray], candidates: np.ndarray) -> np.ndarray:
        """Scores of each row's candidates.

        Parameters
        ----------
        histories : sequence of numpy.ndarray of int
            Item ids, oldest first; any length, also 0.
        candidates : numpy.ndarray of int, shape [B, C]

        Returns
        -------
        numpy.ndarray of float32, shape [B, C]
            0 where no click speaks for or against the candidate.
        """
        result = np.zeros(candidates.shape, dtype=np.float32)
        rows = 1024  # whose products, some thousand numbers each, are held at once
        for low in range(0, len(histories), rows):
            spoken = self.all_scores(histories[low : low + rows])
            for row in range(spoken.shape[0]):
                a, b = spoken.indptr[row], spoken.indptr[row + 1]
                if a < b:
                    result[low + row] = _look_up(spoken.indices[a:b], spoken.data[a:b], candidates[low + row])
        return result

    def all_scores(self, histories: Sequence[np.ndarray]) -> sparse.csr_matrix:
        """Scores of every item that a click of the history speaks for or against.

        Parameters
        ----------
        histories : sequence of numpy.ndarray of int
            Item ids, oldest first; any length, also 0.

        Returns
        -------
        scipy.sparse.csr_matrix of float32, shape [B, n_items]
            With sorted indices. Its memory grows with the rows: hand over some at a time.
        """
        lengths = np.array([len(h) for h in histories], dtype=np.int64)
        start = np.r_[0, np.cumsum(lengths)]
        clicked = np.concatenate([np.asarray(h, dtype=np.int64) for h in histories]) if len(lengths) else np.empty(0)
        age = np.repeat(start[1:], lengths) - 1 - np.arange(start[-1])
        weight = (self.decay**age).astype(np.float32)
        history = sparse.csr_matrix((weight, clicked, start), shape=(len(lengths), self.n_items))
        spoken = sparse.csr_matrix(history @ self.weights)
        spoken.sort_indices()
        return spoken

    def digest(self) -> str:
        """16 bytes in hexadecimal that two correctors share only if they give the same scores."""
        hasher = hashlib.blake2b(f"{self.n_items} {self.decay!r}\n".encode(), digest_size=16)
        w = self.weights
        for array, kind in ((w.indptr, "<i8"), (w.indices, "<i4"), (w.data, "<f4")):
            hasher.update(np.ascontiguousarray(array, dtype=kind).view(np.uint8))
        return hasher.hexdigest()

    # -- files -----------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the weights as one safetensors file, whole or not at all."""
        tensors = {
            "indptr": self.weights.indptr.astype(np.int64),
            "indices": self.weights.indices.astype(np.int32),
            "data": self.weights.data,
        }
        texts = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "content": json.dumps({"n_items": self.n_items, "decay": self.decay}),
        }
        with atomic_write(path, "wb", what="item-item scores") as file:
            file.write(save(tensors, metadata=texts))

    @classmethod
    def load(cls, path: str | Path) -> "ItemItem":
        """Read what :meth:`save` wrote.

        Raises
        ------
        UserError
            If the file is missing, something else, of another version or damaged.
        """
        source = str(path)
        texts, tensors = read_tensors(path, "item-item file", "np")
        head = versioned(texts, source, FORMAT, "item-item file", str(FORMAT_VERSION), "run fit-corrector again")
        content = Record(parse_json(head.text("content"), source), source)
        size, decay = content.whole("n_items", 1, 1 << 31), content.number("decay", 0, 1)
        if not decay:
            raise content.refuse("decay", "above 0 and at most 1")
        indptr, indices, data = (_array(tensors, name, kind, source) for name, kind in _ARRAYS.items())
        _check_rows(indptr, indices, size, len(data), source)
        if not np.isfinite(data).all():
            raise UserError(f"{source}: data holds NaN or infinity; run fit-corrector again")
        return cls(sparse.csr_matrix((data, indices, indptr), shape=(size, size)), decay)


def _check_decay(decay: float) -> None:
    if not 0.0 < decay <= 1.0:
        raise UserError(f"corrector_decay is {decay!r}; it must be above 0 and at most 1")


_ARRAYS = {"indptr": "int64", "indices": "int32", "data": "float32"}


def _array(tensors: dict[str, np.ndarray], name: str, kind: str, source: str) -> np.ndarray:
    array = tensors.get(name)
    if array is None or array.dtype != kind or array.ndim != 1:
        reason = "missing" if array is None else f"{array.dtype} {list(array.shape)}"
        raise UserError(f"{source}: {name} is {reason}; it must be a row of {kind}")
    return array


def _check_rows(indptr: np.ndarray, indices: np.ndarray, size: int, entries: int, source: str) -> None:
    """Refuse rows that do not fit together, or hold a column twice or one that is no item."""
    whole = len(indptr) == size + 1 and indptr[0] == 0 and indptr[-1] == len(indices) == entries
    if not whole or (np.diff(indptr) < 0).any():
        raise UserError(f"{source} is damaged: its rows do not fit together")
    if entries and not 0 <= indices.min() <= indices.max() < size:
        raise UserError(f"{source} is damaged: a column is not one of its {size} items")
    inside = np.ones(entries, dtype=bool)
    inside[indptr[:-1][indptr[:-1] < entries]] = False  # the first of each row
    if (np.diff(indices, prepend=-1)[inside] <= 0).any():
        raise UserError(f"{source} is damaged: the columns of a row are not in ascending order")


def _look_up(known: np.ndarray, values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """``values`` of the sorted ids ``known`` at ``ids``, 0 for an unknown id."""
    index = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[index] == ids, values[index], 0.0)


def _co_occurrences(users: np.ndarray, items: np.ndarray, n_items: int) -> sparse.csr_matrix:
    """Users that each pair of items has in common; the diagonal is an item's own number of users."""
    _, who = np.unique(users, return_inverse=True)
    shape = (int(who.max(initial=-1)) + 1, n_items)
    by_user = sparse.csr_matrix((np.ones(len(items), np.float32), (who, items)), shape=shape)
    by_user.sum_duplicates()
    by_user.data[:] = 1.0
    by_item = sparse.csr_matrix(by_user.T)
    blocks = [by_item[low : low + _ITEMS] @ by_user for low in range(0, n_items, _ITEMS)]
    if not blocks:
        return sparse.csr_matrix((0, 0), dtype=np.float32)
    return sparse.csr_matrix(sparse.vstack(blocks, format="csr"))


def _next_clicks(
    users: np.ndarray, items: np.ndarray, n_items: int, decay: float
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """X'X and Y'X, [n_items, n_items]: row of X: the clicks before a click, decay^age each; row of Y: the click."""
    order = np.argsort(users, kind="stable")
    users, items = users[order], items[order]
    rows, columns, values = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for age in range(min(_BEFORE, len(users) - 1)):
        click = np.flatnonzero(users[1 + age :] == users[: len(users) - 1 - age]) + 1 + age
        rows.append(click)
        columns.append(items[click - 1 - age])
        values.append(np.full(len(click), decay**age, np.float32))
    shape = (len(users), n_items)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    before = sparse.csr_matrix(entries, shape=shape)
    target = sparse.csr_matrix((np.ones(len(items), np.float32), (np.arange(len(items)), items)), shape=shape)
    return sparse.csr_matrix(before.T @ before), sparse.csr_matrix(target.T @ before)


def _regress(
    gram: sparse.csr_matrix, moments: sparse.csr_matrix, l2: float, neighbours: int, show_progress: bool
) -> sparse.csr_matrix:
    """Ridge regressions of every item on its neighbours.

    Parameters
    ----------
    gram : scipy.sparse.csr_matrix, shape [n_items, n_items]
        X'X.
    moments : scipy.sparse.csr_matrix, shape [n_items, n_items]
        Row j: X'y of item j.

    Returns
    -------
    scipy.sparse.csr_matrix of float32, shape [n_items, n_items]
        Column j: the weights of item j's regression.
    """
    near, count = _nearest(gram, moments, l2, neighbours)
    return _solve(gram, moments, near, count, l2, show_progress)


def _nearest(
    gram: sparse.csr_matrix, moments: sparse.csr_matrix, l2: float, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each item's neighbours [n_items, M], and how many of them there are [n_items]."""
    n_items = moments.shape[0]
    own = gram.diagonal()
    most = int(min(neighbours, np.diff(moments.indptr).max(initial=0)))
    near, count = np.zeros((n_items, most), dtype=np.int32), np.zeros(n_items, dtype=np.int64)
    for item in range(n_items):
        a, b = moments.indptr[item], moments.indptr[item + 1]
        candidates, common = moments.indices[a:b], moments.data[a:b]
        keep = candidates != item
        candidates, common = candidates[keep], common[keep]
        if len(candidates) > neighbours:
            # The regression's own weight of a lone neighbour; equal ones by their number, so that the choice is one.
            order = np.lexsort((candidates, -common / (own[candidates] + l2)))[:neighbours]
            candidates = candidates[order]
        near[item, : len(candidates)] = np.sort(candidates)
        count[item] = len(candidates)
    return near, count


def _entries(matrix: sparse.csr_matrix, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the rows' entries in the matrix's arrays, and which of ``rows`` each belongs to."""
    start, length = matrix.indptr[rows], matrix.indptr[rows + 1] - matrix.indptr[rows]
    owner = np.repeat(np.arange(len(rows)), length)
    before = np.cumsum(length) - length
    return np.arange(len(owner)) + np.repeat(start - before, length), owner


def _solve(
    gram: sparse.csr_matrix,
    moments: sparse.csr_matrix,
    near: np.ndarray,
    count: np.ndarray,
    l2: float,
    show_progress: bool,
) -> sparse.csr_matrix:
    """For each item the ridge regression on its neighbours."""
    n_items = moments.shape[0]
    index_of = np.full(n_items, -1, dtype=np.int64)  # of an item among the neighbours at hand
    columns_of: list[np.ndarray] = []
    # Similar numbers of neighbours together: a system is padded to the largest of its batch.
    order = np.argsort(count, kind="stable")
    order = order[count[order] > 0]
    batches = [order[low : low + _SYSTEMS] for low in range(0, len(order), _SYSTEMS)]
    off = None if show_progress else True  # None: off unless on a terminal
    for batch in tqdm(batches, desc="Item-item weights", unit="batch", ncols=100, delay=3, disable=off):
        width = int(count[batch].max())
        left = np.zeros((len(batch), width, width))
        right = np.zeros((len(batch), width, 1))
        for row, item in enumerate(batch):
            ids = near[item, : count[item]]
            index_of[ids] = np.arange(len(ids))
            flat, owner = _entries(gram, ids)
            to = index_of[gram.indices[flat]]
            known = to >= 0
            left[row, owner[known], to[known]] = gram.data[flat[known]]
            a, b = moments.indptr[item], moments.indptr[item + 1]
            to = index_of[moments.indices[a:b]]
            known = to >= 0
            right[row, to[known], 0] = moments.data[a:b][known]
            index_of[ids] = -1
        left[:, np.arange(width), np.arange(width)] += l2
        weights = np.linalg.solve(left, right)[:, :, 0]
        columns_of += [weights[row, : count[item]].astype(np.float32) for row, item in enumerate(batch)]
    if not columns_of:
        return sparse.csr_matrix((n_items, n_items), dtype=np.float32)
    rows = np.concatenate([near[item, : count[item]] for item in order])
    columns = np.repeat(order, count[order])
    return sparse.csr_matrix((np.concatenate(columns_of), (rows, columns)), shape=(n_items, n_items))
