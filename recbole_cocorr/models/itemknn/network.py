"""ItemKNN: an item's score is the sum of its cosines with the history's items, if these are among its neighbours."""

import torch
import torch.nn.functional as F

from recbole_cocorr.models.dot_product import check_number, check_whole
from recbole_cocorr.models.item_item import ItemItemRecommender, common_users


class ItemKNN(ItemItemRecommender):
    """RecBole's ItemKNN read by a history: the same similarities, its settings ``k`` and ``shrink``.

    Raises
    ------
    ValueError
        For ``knn_method`` user, which has no history to read.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        if config["knn_method"] not in ("item", None):
            raise ValueError(f"knn_method is {config['knn_method']!r}; a history is read by items, so it must be item")
        self.shrink, k = config["shrink"], config["k"]
        check_whole("k", k)
        check_number("shrink", self.shrink)
        size = min(k, self.n_items)
        self.register_buffer("neighbours", torch.zeros(self.n_items, size, dtype=torch.int64))
        self.register_buffer("similarities", torch.zeros(self.n_items, size))

    def count_clicks(self, epoch: int) -> None:
        """Find each item's neighbours."""
        data, size = self.training_data, self.neighbours.shape[1]
        norm = torch.zeros(self.n_items, dtype=torch.float64)
        for columns, common in common_users(data):
            norm[columns] = common[columns].diagonal().sqrt()
        for columns, common in common_users(data):
            similar = common / (norm[:, None] * norm[columns] + self.shrink + 1e-6)
            similar[columns].fill_diagonal_(0.0)
            best = similar.topk(size, dim=0)
            self.neighbours[columns], self.similarities[columns] = best.indices.T, best.values.T.float()

    def spoken(self, history: torch.Tensor) -> torch.Tensor:
        """Scores [B, n_items] from histories [B, n_items]: each item asks its neighbours alone."""
        # Row by item and column by sequence: a bag of rows for each item.
        return F.embedding_bag(
            self.neighbours, history.T.contiguous(), mode="sum", per_sample_weights=self.similarities
        ).T
