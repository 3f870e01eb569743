"""An item-item corrector as the neighbour table of a device, and back."""

from collections.abc import Mapping
from typing import Any

import scipy.sparse as sparse

from recbole_cocorr.artifact.neighbours import NeighbourTable
from recbole_cocorr.correctors.item_item import ItemItem

DEFAULT_NEIGHBOURS = 20


def settings_for(count: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a corrector that has at least ``count`` weights of each item to choose from."""
    return {**settings, "neighbours": max(count, settings["neighbours"])}


def table_of(corrector: ItemItem, count: int) -> NeighbourTable:
    """The weights of B that ``count`` entries per item have room for, in int8."""
    weights = corrector.weights
    return NeighbourTable.of(weights.indptr, weights.indices, weights.data, count)


def corrector_of(table: NeighbourTable, decay: float) -> ItemItem:
    """The corrector that scores as a device does with the table."""
    rows, columns, weights = table.entries()
    size = len(table)
    return ItemItem(sparse.csr_matrix((weights, (rows, columns)), shape=(size, size)), decay)
