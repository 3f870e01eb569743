"""A neighbour table for the devices of one model: fitted as the item-item corrector is, with a trust of its own."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from recbole_cocorr.artifact.manifest import MOST_NEIGHBOURS
from recbole_cocorr.artifact.neighbours import NeighbourTable, clicks_that_count
from recbole_cocorr.base.checks import checked_whole
from recbole_cocorr.correctors.item_item import ItemItem
from recbole_cocorr.correctors.neighbours import corrector_of, settings_for, table_of
from recbole_cocorr.correctors.trust import Trust
from recbole_cocorr.data.clicks import training_interactions
from recbole_cocorr.training.fit_corrector import learn_trust
from recbole_cocorr.training.prepare import Loaders


@dataclass(frozen=True)
class FittedTable:
    """A neighbour table and what was learned with it.

    Attributes
    ----------
    table : NeighbourTable
    count : int
        N, entries of an item on average.
    corrector : ItemItem
        Scores as a device does with the table.
    trust : Trust
    validation : dict
        Metrics of the validation items, "none" and "own".
    """

    table: NeighbourTable
    count: int
    corrector: ItemItem
    trust: Trust
    validation: dict[str, dict[str, float]]

    def described(self) -> dict[str, Any]:
        """What an artifact's manifest holds of it."""
        decay = self.corrector.decay
        sizes = {"count": self.count, "decay": decay, "clicks": clicks_that_count(decay)}
        return {**sizes, "form": "asinh", **asdict(self.trust)}


def fit_neighbours(
    model: torch.nn.Module, loaders: Loaders, count: int, settings: dict[str, Any], weights: ItemItem | None = None
) -> FittedTable:
    """Fit item-item weights, keep those that ``count`` entries per item have room for, and learn the trust in them.

    Parameters
    ----------
    model : torch.nn.Module
    loaders : Loaders
        Its data: the weights are learned from the training interactions, the trust on the validation items.
    count : int
    settings : dict
        Of the item-item corrector.
    weights : ItemItem, optional
        Fitted with these settings before.

    Raises
    ------
    UserError
        If a setting does not fit, or the validation items teach no trust.
    """
    count = checked_whole(count, "neighbours", 1, MOST_NEIGHBOURS)
    clicks_that_count(settings["decay"])
    if weights is None:
        users, items = training_interactions(loaders.valid.dataset, "the neighbour table")
        weights = ItemItem.fit(users, items, loaders.dataset.item_num, **settings_for(count, settings))
    table = table_of(weights, count)
    corrector = corrector_of(table, weights.decay)
    trust, metrics = learn_trust(model, loaders, corrector)
    return FittedTable(table, count, corrector, trust, metrics)
