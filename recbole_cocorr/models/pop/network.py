"""Pop: items by how often they were clicked; the floor that every model must beat."""

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import nn


class Pop(SequentialRecommender):
    """RecBole's Pop for sequential data: a score is the number of training interactions of an item.

    Counts the training rows' targets, and the first click of each user, which is the target of no row. RecBole's
    own Pop reads the rows of a general recommender, and counts an item once per batch.

    Parameters
    ----------
    config : Config
    dataset : Dataset
        Needed for the number of items only.
    """

    reads_neg_items = True  # whatever the loss: they are not looked at

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.register_buffer("item_count", torch.zeros(self.n_items))
        self.unused = nn.Parameter(torch.zeros(()))  # an optimizer wants a parameter

    def encode(self, interaction) -> torch.Tensor:
        """User vectors [B, 1]: everybody is alike."""
        return self.item_count.new_ones(len(interaction[self.ITEM_SEQ_LEN]), 1)

    forward = encode

    def item_vectors(self, items: torch.Tensor | None = None) -> torch.Tensor:
        """Counts [..., 1] of the given items, or of all."""
        return (self.item_count if items is None else self.item_count[items]).unsqueeze(-1)

    def calculate_loss(self, interaction) -> torch.Tensor:
        """Count the rows' clicks; the loss is 0."""
        items = interaction[self.POS_ITEM_ID]
        first = interaction[self.ITEM_SEQ][:, 0][interaction[self.ITEM_SEQ_LEN] == 1]
        clicked = torch.cat([items, first])
        self.item_count.index_add_(0, clicked, torch.ones_like(clicked, dtype=self.item_count.dtype))
        return self.unused * 0.0

    def predict(self, interaction) -> torch.Tensor:
        """Scores [B] of the interaction's items."""
        return self.item_count[interaction[self.ITEM_ID]]

    def full_sort_predict(self, interaction) -> torch.Tensor:
        """Scores [B, n_items] of every item."""
        return self.item_count.expand(len(interaction[self.ITEM_SEQ_LEN]), -1)
