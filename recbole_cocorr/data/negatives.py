"""Negatives by the protocol: items the user never touched in any split, distinct.

A uniform draw is never rejected against the user's items: the number r drawn from
0 .. (allowed items - 1) is turned into the r-th allowed item directly, by one binary search over the
items of all users at once.
"""

import zlib
from collections.abc import Iterator

import numpy as np

# Rows whose popularity draws still collide after this many rounds are settled one by one.
_MAX_ROUNDS = 64


def protocol_generator(dataset_name: str, seed: int, *purpose: int) -> np.random.Generator:
    """Random generator that depends on the dataset's name, the seed and a purpose, and on nothing else.

    So the draws are the same for every model and in every process.
    """
    return np.random.default_rng([seed, zlib.crc32(dataset_name.encode()), *purpose])


class NegativeSampler:
    """Draws items that a user never interacted with.

    Parameters
    ----------
    users, items : numpy.ndarray of int
        All interactions of all splits; repeats are welcome. Item 0 is padding and is never drawn.
    num_users, num_items : int
        Sizes of the two vocabularies, padding included.

    Attributes
    ----------
    allowed : numpy.ndarray of int, shape [num_users]
        How many items each user never touched.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, num_users: int, num_items: int):
        self.num_items = num_items
        # One sorted array of (user, item) pairs, and where each user's items begin in it.
        self._pairs = np.unique(np.asarray(users, dtype=np.int64) * num_items + items)
        owner = self._pairs // num_items
        self._begin = np.searchsorted(owner, np.arange(num_users + 1))
        self.allowed = (num_items - 1) - np.diff(self._begin)
        # How many allowed items lie below a user's j-th item (j from 0): item - 1 - j. With the user in
        # front, the numbers of all users form one sorted array.
        place_in_user = np.arange(len(self._pairs)) - self._begin[owner]
        self._allowed_below = self._pairs - 1 - place_in_user
        self._popularity = np.bincount(items, minlength=num_items).astype(np.float64)
        self._popularity[0] = 0.0

    def item_of_rank(self, users: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """Return the ``ranks``-th item, from 0, of those the user never touched; shapes broadcast."""
        below = np.searchsorted(self._allowed_below, users * self.num_items + ranks, side="right")
        return ranks + 1 + (below - self._begin[users])

    def touched(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether the user ever interacted with the item; shapes broadcast."""
        pairs = users * self.num_items + items
        if len(self._pairs) == 0:
            return np.zeros(pairs.shape, dtype=bool)
        index = np.searchsorted(self._pairs, pairs)
        return self._pairs[np.minimum(index, len(self._pairs) - 1)] == pairs

    def items_of(self, user: int) -> np.ndarray:
        """The items a user interacted with, ascending."""
        return self._pairs[self._begin[user] : self._begin[user + 1]] - user * self.num_items

    def sample(
        self,
        users: np.ndarray,
        num: int,
        generator: np.random.Generator,
        distribution: str = "uniform",
        alpha: float = 1.0,
    ) -> np.ndarray:
        """Draw ``num`` distinct items per row.

        Parameters
        ----------
        users : numpy.ndarray of int, shape [rows]
            A user may stand in many rows; rows are drawn independently.
        num : int
            How many items per row.
        generator : numpy.random.Generator
        distribution : {"uniform", "popularity"}
            ``popularity`` draws in proportion to (number of interactions) ** alpha, among the items that
            occur at all.
        alpha : float
            Exponent of the popularity.

        Returns
        -------
        numpy.ndarray of int32, shape [rows, num]
            Where a user has fewer than ``num`` such items, the row ends in zeros.
        """
        users = np.asarray(users, dtype=np.int64)
        out = np.zeros((len(users), num), dtype=np.int32)
        if distribution == "popularity":
            self._fill_popular(out, users, generator, alpha)
        else:
            self._fill_uniform(out, users, generator)
        return out

    def _fill_uniform(self, out: np.ndarray, users: np.ndarray, generator: np.random.Generator) -> None:
        num = out.shape[1]
        # Plenty of items: draw, and draw repeats again. Few: a random order of all of them.
        plenty = self.allowed[users] >= 3 * num
        rows = np.flatnonzero(plenty)
        limit = self.allowed[users[rows]]

        def draw(row: np.ndarray, column: np.ndarray | None) -> np.ndarray:
            if column is None:
                return generator.integers(0, limit[row, None], size=(len(row), num))
            return generator.integers(0, limit[row])

        ranks = draw(np.arange(len(rows)), None)
        for row, column in _repeats(ranks):
            ranks[row, column] = draw(row, column)
        out[rows] = self.item_of_rank(users[rows, None], ranks)

        few = np.flatnonzero(~plenty)
        for block in _blocks(few, self.allowed[users[few]]):
            allowed = self.allowed[users[block], None]
            width = int(allowed.max())
            keys = generator.random((len(block), width))
            keys[np.arange(width) >= allowed] = 2.0  # no such rank for this user: last
            ranks = np.argsort(keys, axis=1, kind="stable")[:, :num]
            real = np.arange(ranks.shape[1]) < allowed
            items = self.item_of_rank(users[block, None], np.where(real, ranks, 0))
            out[block, : ranks.shape[1]] = np.where(real, items, 0)

    def _fill_popular(self, out: np.ndarray, users: np.ndarray, generator: np.random.Generator, alpha: float) -> None:
        weight = np.zeros_like(self._popularity)
        seen = self._popularity > 0
        weight[seen] = self._popularity[seen] ** alpha
        upto = np.cumsum(weight)
        num = out.shape[1]

        def draw(size: tuple[int, ...]) -> np.ndarray:
            # side="right" never lands on an item of weight zero
            return np.searchsorted(upto, generator.random(size) * upto[-1], side="right")

        pending = np.arange(len(users))
        out[:] = draw((len(users), num))
        for _ in range(_MAX_ROUNDS):
            bad = self.touched(users[pending, None], out[pending]) | _is_repeat(out[pending])
            keep = bad.any(axis=1)
            pending, bad = pending[keep], bad[keep]
            if len(pending) == 0:
                return
            row, column = np.nonzero(bad)
            out[pending[row], column] = draw((len(row),))
        for row in pending:
            left = weight.copy()
            left[self.items_of(int(users[row]))] = 0.0
            count = min(num, int((left > 0).sum()))
            out[row] = 0
            if count:
                chance = left / left.sum()
                out[row, :count] = generator.choice(self.num_items, size=count, replace=False, p=chance)


def _is_repeat(values: np.ndarray) -> np.ndarray:
    """Mark, in each row, the values that stand further left too; same shape as ``values``."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    repeat = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(repeat, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return repeat


def _repeats(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the places of repeated values until the caller has replaced them all.

    Drawing these again leaves every set of distinct values equally likely, since the procedure treats
    all values alike.
    """
    pending = np.arange(len(values))
    while len(pending):
        repeat = _is_repeat(values[pending])
        keep = repeat.any(axis=1)
        pending, repeat = pending[keep], repeat[keep]
        row, column = np.nonzero(repeat)
        if len(row):
            yield pending[row], column


def _blocks(rows: np.ndarray, width: np.ndarray, budget: int = 1 << 22) -> Iterator[np.ndarray]:
    """Cut ``rows`` into pieces whose matrix [rows, largest width] stays under ``budget`` numbers."""
    if len(rows):
        step = max(1, budget // max(1, int(width.max())))
        for start in range(0, len(rows), step):
            yield rows[start : start + step]
