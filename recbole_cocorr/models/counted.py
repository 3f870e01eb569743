"""What models that count have in common: they learn from all training clicks at once, and by no gradient."""

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import SequenceDataset


class CountedRecommender(SequentialRecommender):
    """RecBole's interface for a model that counts.

    A subclass writes :meth:`count_clicks`, which the trainer calls at the start of each epoch, and keeps what it
    found in buffers.
    """

    reads_neg_items = True  # whatever the loss: they are not looked at

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.unused = nn.Parameter(torch.zeros(()))  # an optimizer wants a parameter
        self._training_data = dataset

    @property
    def training_data(self) -> SequenceDataset:
        """The rows that the model was made for.

        Raises
        ------
        UserError
            If they are kept in another form than :class:`~recbole_cocorr.data.dataset.SequenceDataset`.
        """
        if not isinstance(self._training_data, SequenceDataset):
            kind = type(self._training_data).__name__
            raise UserError(f"{type(self).__name__} counts interactions, and cannot read the dataset class {kind}")
        return self._training_data

    def count_clicks(self, epoch: int) -> None:
        """Learn from the training clicks.

        Parameters
        ----------
        epoch : int
            From 0.
        """
        raise NotImplementedError

    def calculate_loss(self, interaction) -> torch.Tensor:
        """0: nothing is learned by a loss."""
        return self.unused * 0.0
