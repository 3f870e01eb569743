"""Neighbourhood models in a sequential field: an item's score is the sum of what the items of the history say of it.

RecBole's own ItemKNN and EASE are general recommenders: they score a user by the user's training interactions. Under a
sequential protocol that would hide from them what the others read, and they would know nothing of new users. Here they
read the same history as the other models, the last L clicks, each item once, in no order.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import SequenceDataset
from recbole_cocorr.models.counted import CountedRecommender

# Items whose neighbours are counted at once.
_ITEMS = 256


class ItemItemRecommender(CountedRecommender):
    """Scores from a matrix of items by items; a subclass writes :meth:`spoken`."""

    def spoken(self, history: torch.Tensor) -> torch.Tensor:
        """Scores [B, n_items] of every item, from histories [B, n_items] of zeros and ones."""
        raise NotImplementedError

    def full_sort_predict(self, interaction) -> torch.Tensor:
        """Scores [B, n_items] of every item."""
        clicked = interaction[self.ITEM_SEQ]
        history = torch.zeros(len(clicked), self.n_items, device=clicked.device)
        history.scatter_(1, clicked, 1.0)
        history[:, 0] = 0.0
        return self.spoken(history)

    def predict(self, interaction) -> torch.Tensor:
        """Scores [B] of the interaction's items."""
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID][:, None]).squeeze(1)


def common_users(dataset: SequenceDataset) -> Iterator[tuple[slice, torch.Tensor]]:
    """How many users each pair of items has in common, some columns at a time; only training clicks count.

    Parameters
    ----------
    dataset : SequenceDataset
        The training rows.

    Yields
    ------
    tuple of slice and torch.Tensor of float64, shape [n_items, columns]
    """
    users, items = dataset.training_interactions()
    shape = (int(users.max(initial=0)) + 1, dataset.item_num)
    pairs = np.unique(users * shape[1] + items)
    users, items = torch.from_numpy(pairs // shape[1]), torch.from_numpy(pairs % shape[1])
    by_item = torch.argsort(items, stable=True)
    bags = torch.searchsorted(items[by_item], torch.arange(shape[1]))  # where each item's users begin
    for start in range(0, shape[1], _ITEMS):
        columns = slice(start, min(start + _ITEMS, shape[1]))
        inside = (items >= columns.start) & (items < columns.stop)
        clicked = torch.zeros(shape[0], columns.stop - columns.start, dtype=torch.float64)
        clicked[users[inside], items[inside] - columns.start] = 1.0
        yield columns, F.embedding_bag(users[by_item], clicked, bags, mode="sum")


def checked_catalogue(name: str, n_items: int, most: int) -> None:
    """Refuse a catalogue for which a matrix of items by items is too large."""
    if n_items > most:
        raise UserError(
            f"{name} holds a matrix of all items by all items, and this catalogue has {n_items - 1:,}; at most "
            f"{most - 1:,} will do"
        )
