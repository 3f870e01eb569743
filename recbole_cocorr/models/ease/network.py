"""EASE: a ridge regression of each item on all others (Steck, WWW 2019)."""

import torch

from recbole_cocorr.models.item_item import ItemItemRecommender, checked_catalogue, common_users

_MOST_ITEMS = 20_000  # 1.6 GB in float32, and four times as much for the inverse


class EASE(ItemItemRecommender):
    """RecBole's EASE read by a history: the same weights, its setting ``reg_weight``.

    Raises
    ------
    ValueError
        If ``reg_weight`` is no number above 0.
    UserError
        If the catalogue is too large for a matrix of items by items.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.l2 = config["reg_weight"]
        if not isinstance(self.l2, (int, float)) or isinstance(self.l2, bool) or not 0 < self.l2 < float("inf"):
            raise ValueError(f"reg_weight is {self.l2!r}; it must be a number above 0")
        checked_catalogue("EASE", self.n_items, _MOST_ITEMS)
        self.register_buffer("weights", torch.zeros(self.n_items, self.n_items))

    def count_clicks(self, epoch: int) -> None:
        """Solve for the weights."""
        gram = torch.zeros(self.n_items, self.n_items, dtype=torch.float64)
        for columns, common in common_users(self.training_data):
            gram[:, columns] = common
        gram.diagonal().add_(self.l2)
        inverse = torch.linalg.inv(gram)
        weights = inverse / -inverse.diagonal()
        weights.fill_diagonal_(0.0)
        self.weights.copy_(weights)

    def spoken(self, history: torch.Tensor) -> torch.Tensor:
        """Scores [B, n_items] from histories [B, n_items]."""
        return history @ self.weights
