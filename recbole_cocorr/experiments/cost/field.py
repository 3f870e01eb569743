"""A model of one history length, built from a catalogue's size alone, and a history for it."""

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.entries import Entry
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.recommend import Vocabulary


class Catalogue(Vocabulary):
    """What a model asks of a data set, from the number of items alone.

    There is one user: a table with a row per user (DIN's, which it never reads) is nothing that one device keeps.

    Parameters
    ----------
    config : Config
    num_items : int
        Without padding.
    """

    def __init__(self, config: Any, num_items: int):
        super().__init__(config, [str(i) for i in range(num_items + 1)], num_users=2)
        self.config = config
        self.field2seqlen = {self.iid_field + config["LIST_SUFFIX"]: config["MAX_ITEM_LIST_LENGTH"]}
        self.field2type = {self.uid_field: FeatureType.TOKEN, self.iid_field: FeatureType.TOKEN}

    def get_user_feature(self) -> Interaction:
        """Ids of the users."""
        return Interaction({self.uid_field: torch.arange(self.user_num)})

    def get_item_feature(self) -> Interaction:
        """Ids of the items."""
        return Interaction({self.iid_field: torch.arange(self.item_num)})


def build(entry: Entry, length: int, num_items: int, mini_batch_size: int) -> nn.Module:
    """Make an entry's model, untrained, in evaluation mode, on the CPU.

    Parameters
    ----------
    entry : Entry
    length : int
        Most clicks that the model reads, L.
    num_items : int
        Items of the catalogue, without padding.
    mini_batch_size : int
        K of CoCorrRec; L, where that is less.

    Raises
    ------
    UserError
        If the model refuses its settings, or needs more of a data set than its items.
    """
    settings: dict[str, Any] = {
        "protocol": "paper",
        "MAX_ITEM_LIST_LENGTH": length,
        "use_gpu": False,
        "state": "error",
        **entry.settings,
    }
    config = Config(entry.model, "catalogue", None, settings, overrides={})
    if "mini_batch_size" in config:
        config["mini_batch_size"] = min(length, mini_batch_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        try:
            return build_model(config, Catalogue(config, num_items)).eval()
        except AttributeError as error:
            raise UserError(
                f"{entry.label} cannot be built from the number of items alone: it asks for {error}"
            ) from None


def history(model: nn.Module, length: int) -> Interaction:
    """One user's history: ``length`` clicks on items from all over the catalogue."""
    clicks = torch.arange(length) * 7919 % (model.n_items - 1) + 1
    columns = {
        model.ITEM_SEQ: clicks[None],
        model.ITEM_SEQ_LEN: torch.tensor([length]),
        model.USER_ID: torch.ones(1, dtype=torch.int64),
    }
    return Interaction(columns)
