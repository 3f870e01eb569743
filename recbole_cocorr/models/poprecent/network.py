"""PopRecent: items by how often they were clicked in the last days; where tastes move, the floor that counts."""

from logging import getLogger

import numpy as np
import torch

from recbole_cocorr.data.time_cuts import check_real_times, days
from recbole_cocorr.models.counted import CountedRecommender


class PopRecent(CountedRecommender):
    """A score is the number of training interactions of an item in the last days of training.

    Each epoch counts anew, with the next entry of ``recent_days``; so the epoch that does best on validation is the
    number of days that does.

    Raises
    ------
    ValueError
        If ``recent_days`` is no list of numbers above 0.
    UserError
        When it counts: if the times of the data are positions.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.recent_days = config["recent_days"]
        fits = isinstance(self.recent_days, (list, tuple)) and all(
            isinstance(d, (int, float)) and not isinstance(d, bool) and 0 < d < float("inf") for d in self.recent_days
        )
        if not fits or not self.recent_days:
            raise ValueError(
                f"recent_days is {self.recent_days!r}; it must be a list of numbers above 0, such as [7, 30]"
            )
        self.register_buffer("item_count", torch.zeros(self.n_items))
        self.register_buffer("counted_days", torch.zeros((), dtype=torch.float64))

    def count_clicks(self, epoch: int) -> None:
        """Count the training clicks of the epoch's number of days before the last one of all."""
        data = self.training_data
        (users, items), times = data.training_interactions(), data.training_times()
        check_real_times(users, times, "PopRecent")
        window = self.recent_days[min(epoch, len(self.recent_days) - 1)]
        recent = items[times > times.max() - window * days(times)]
        self.item_count.copy_(torch.from_numpy(np.bincount(recent, minlength=self.n_items)))
        self.counted_days.fill_(window)
        getLogger().info(f"PopRecent: {len(recent):,} clicks of the last {window:g} days")

    def encode(self, interaction) -> torch.Tensor:
        """User vectors [B, 1]: everybody is alike."""
        return self.item_count.new_ones(len(interaction[self.ITEM_SEQ_LEN]), 1)

    forward = encode

    def item_vectors(self, items: torch.Tensor | None = None) -> torch.Tensor:
        """Counts [..., 1] of the given items, or of all."""
        return (self.item_count if items is None else self.item_count[items]).unsqueeze(-1)

    def predict(self, interaction) -> torch.Tensor:
        """Scores [B] of the interaction's items."""
        return self.item_count[interaction[self.ITEM_ID]]

    def full_sort_predict(self, interaction) -> torch.Tensor:
        """Scores [B, n_items] of every item."""
        return self.item_count.expand(len(interaction[self.ITEM_SEQ_LEN]), -1)
