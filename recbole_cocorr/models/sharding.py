"""``shard_items``: each process holds a part of the item vectors, and the model stays what it is to everybody else."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data import distributed
from recbole_cocorr.layers.sharded_table import ShardedTable, sharded_tables
from recbole_cocorr.models.dot_product import DotProductRecommender


def shard_items(model: nn.Module) -> None:
    """Leave this process its part of the model's item vectors; where there is one process, all of them.

    Raises
    ------
    UserError
        If the model is none of this package's, or has too few items.
    """
    if not distributed.active():
        return
    if not isinstance(model, DotProductRecommender):
        raise UserError(
            f"shard_items is True, and {type(model).__name__} reads its item vectors in a way of its own; leave it out"
        )
    if model.n_items < 2 * distributed.world_size():
        raise UserError(
            f"shard_items is True, and there are {model.n_items - 1} items for {distributed.world_size()} processes; "
            "leave it out"
        )
    model.item_embedding = ShardedTable(model.item_embedding.weight)


@contextmanager
def whole_tables(model: nn.Module) -> Iterator[None]:
    """Inside, every process has all item vectors, and processes need not keep step."""
    with ExitStack() as stack:
        for table in sharded_tables(model).values():
            stack.enter_context(table.gathered())
        yield


def whole_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's ``state_dict`` with all item vectors; called in all processes."""
    tables = {f"{name}.weight": table.whole() for name, table in sharded_tables(model).items()}
    return {name: tables.get(name, weight) for name, weight in model.state_dict().items()}


def own_weights(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of whole weights this process's part, as :meth:`nn.Module.load_state_dict` takes it."""
    tables = {f"{name}.weight": table for name, table in sharded_tables(model).items()}
    return {
        name: weight[tables[name].rank :: tables[name].world_size] if name in tables else weight
        for name, weight in weights.items()
    }
