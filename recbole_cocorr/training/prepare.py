"""``prepare(config)``: data, model and trainer of a configuration, made and seeded in one order for every command."""

from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger

import torch
from recbole.data.dataset import Dataset
from recbole.utils import init_seed
from torch import nn

from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import EvalLoader, TrainLoader, data_preparation
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.sharding import shard_items
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.item_init import start_items
from recbole_cocorr.training.trainer import Trainer


@dataclass(frozen=True)
class Loaders:
    """The data of a configuration.

    Attributes
    ----------
    config : Config
    dataset : Dataset
        All interactions, before the split.
    train : TrainLoader
    valid, test : EvalLoader
    """

    config: Config
    dataset: Dataset
    train: TrainLoader
    valid: EvalLoader
    test: EvalLoader


@dataclass(frozen=True)
class Prepared:
    """All that a training needs.

    Attributes
    ----------
    config : Config
    data : Loaders
    model : torch.nn.Module
        At its start; it learns in place.
    trainer : Trainer
    """

    config: Config
    data: Loaders
    model: nn.Module
    trainer: Trainer


def read_data(config: Config) -> Loaders:
    """Read the data set of a configuration, split it and draw the candidates.

    Raises
    ------
    UserError
        If the data cannot be read, or leave no training row.
    """
    dataset = create_dataset(config)
    getLogger().info(dataset)
    return Loaders(config, dataset, *data_preparation(config, dataset))


def prepare(
    config: Config, data: Loaders | None = None, make_trainer: Callable[[Config, nn.Module], Trainer] = Trainer
) -> Prepared:
    """Make the data, the model at its start, and the trainer.

    Parameters
    ----------
    config : Config
    data : Loaders, optional
        Where :func:`read_data` has already read them.
    make_trainer : callable

    Raises
    ------
    UserError
        If the data cannot be read, or the model refuses its settings.
    """
    if data is None:
        init_seed(config["seed"], config["reproducibility"])
        data = read_data(config)
    # Every process starts from the same weights, whatever reading the data drew; each then draws dropout of its own.
    init_seed(config["seed"], config["reproducibility"])
    model = build_model(config, data.train.dataset)
    start_items(model, config, data.train.dataset)
    if config["shard_items"]:
        shard_items(model)
    getLogger().info(model)
    torch.manual_seed(config["seed"] + config["rank"])
    return Prepared(config, data, model, make_trainer(config, model))
