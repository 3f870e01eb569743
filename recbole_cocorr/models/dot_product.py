"""What this package's models have in common: a score is a dot product of a user and an item vector."""

import math
import sys
from typing import Any

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import nn

from recbole_cocorr.base.checks import checked_number, checked_whole
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.loaders import NEG_ITEMS
from recbole_cocorr.layers.sharded_table import ShardedTable, sharded_cross_entropy
from recbole_cocorr.layers.softmax_loss import catalogue_cross_entropy
from recbole_cocorr.models.objective import SAMPLED_LOSSES


class DotProductRecommender(SequentialRecommender):
    """RecBole's interface for a model that makes a user vector of a sequence.

    A subclass sets ``item_embedding`` and writes :meth:`user_vectors_of`; an item's vector is its embedding,
    or ``target_transform`` of it.
    """

    # Negatives come as a column [B, N] beside the sequence, which is encoded once.
    reads_neg_items = True
    # What torch_compile compiles: every loss and every score goes through it.
    compiled_part = "user_vectors_of"

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.LABEL_FIELD = config["LABEL_FIELD"]
        self.loss_type = config["loss_type"]
        if self.loss_type not in ("BCE", "BPR", "CE"):
            raise ValueError(f"loss_type is {self.loss_type!r}; it must be BCE, BPR or CE")
        self.target_transform = nn.Identity()

    def user_vectors_of(self, embedded: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
        """User vectors [B, d] of the embedded clicks [B, L, d], padding at the end."""
        raise NotImplementedError

    def outputs_of(self, embedded: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
        """Outputs [B, L, d] at every position: the user vectors of the clicks up to there. Padding's may be anything.

        Needed by ``training_rows: sequence`` alone; what it gives is compared with :meth:`user_vectors_of`.

        Raises
        ------
        UserError
            If the model has one vector of a whole history and no more.
        """
        raise UserError(
            f"training_rows is sequence, and {type(self).__name__} gives one vector of a whole history alone; set "
            "training_rows: prefix"
        )

    def forward(self, item_seq: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
        """User vectors.

        Parameters
        ----------
        item_seq : torch.Tensor of int64, shape [B, L]
            Item ids, 0 = padding at the end.
        item_seq_len : torch.Tensor of int64, shape [B]
            Real clicks per row; a row without any gets the vector of its first, padded position.

        Returns
        -------
        torch.Tensor, shape [B, d]
        """
        return self.user_vectors_of(self.item_embedding(item_seq), item_seq_len)

    def encode(self, interaction) -> torch.Tensor:
        """User vectors [B, d] of an interaction's sequences."""
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])

    def item_vectors(self, items: torch.Tensor | None = None) -> torch.Tensor:
        """phi(e_i) of the given items, of any shape, or of the whole catalogue."""
        return self.target_transform(self._table() if items is None else self.item_embedding(items))

    def _table(self) -> torch.Tensor:
        table = self.item_embedding
        return table.whole() if isinstance(table, ShardedTable) else table.weight

    def catalogue_loss(self, users: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Softmax cross-entropy of user vectors [B, d] over all items, without padding, whose vector stays zero so."""
        table = self.item_embedding
        if isinstance(table, ShardedTable):
            return sharded_cross_entropy(users, self.target_transform(table.weight), target, table)
        return catalogue_cross_entropy(users, self.item_vectors()[1:], target - 1)

    def calculate_loss(self, interaction) -> torch.Tensor:
        """Training loss (eq. 16 of the paper under BCE); the batch may be this package's or RecBole's.

        Negatives are read from ``neg_items`` [B, N], or from RecBole's ``neg_item_id`` [B] (BPR); under
        BCE without either, rows carry RecBole's label.
        """
        item_seq, item_seq_len = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        items = interaction[self.POS_ITEM_ID][:, None]
        if self.loss_type == "CE":
            return self.catalogue_loss(self.forward(item_seq, item_seq_len), items[:, 0])
        if NEG_ITEMS in interaction:
            items = torch.cat([items, interaction[NEG_ITEMS]], dim=1)
        elif self.NEG_ITEM_ID in interaction:
            items = torch.cat([items, interaction[self.NEG_ITEM_ID][:, None]], dim=1)
        # One look-up for both: each has a gradient of the size of the table.
        clicks, targets = self.item_embedding(torch.cat([item_seq, items], dim=1)).split(
            [item_seq.shape[1], items.shape[1]], dim=1
        )
        users = self.user_vectors_of(clicks, item_seq_len)
        scores = torch.einsum("bcd,bd->bc", self.target_transform(targets), users)
        if items.shape[1] > 1:
            return SAMPLED_LOSSES[self.loss_type](scores, items > 0)
        return nn.functional.binary_cross_entropy_with_logits(scores[:, 0], interaction[self.LABEL_FIELD])

    def predict(self, interaction) -> torch.Tensor:
        """Scores [B] of the interaction's items."""
        return (self.encode(interaction) * self.item_vectors(interaction[self.ITEM_ID])).sum(dim=-1)

    def full_sort_predict(self, interaction) -> torch.Tensor:
        """Scores [B, n_items] of every item."""
        return self.encode(interaction) @ self.item_vectors().T


def check_whole(key: str, value: Any, least: int = 1) -> None:
    """Refuse a setting that is no whole number of at least ``least``."""
    checked_whole(value, key, least)


def check_dropout(value: Any) -> None:
    """Refuse a ``dropout_prob`` that is no probability below 1."""
    checked_number(value, "dropout_prob", "at least 0 and below 1", 0, math.nextafter(1, 0))


def check_number(key: str, value: Any) -> None:
    """Refuse a setting that is no finite number of at least 0."""
    checked_number(value, key, "a finite number of at least 0", 0, sys.float_info.max)
