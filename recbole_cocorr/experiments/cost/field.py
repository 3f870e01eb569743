"""The models that are compared, each at one width and one history length, built from a catalogue's size alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import nearest
from recbole_cocorr.models import registry
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.recommend import Vocabulary

# Width of every model's item vectors.
WIDTH = 64


@dataclass(frozen=True)
class Entry:
    """One line of the comparison.

    Attributes
    ----------
    label : str
        As the paper's tables name it.
    model : str
        The name under which the registry has it.
    settings : dict
        What differs from the model's property files.
    """

    label: str
    model: str
    settings: dict[str, Any] = field(default_factory=dict)


FIELD: tuple[Entry, ...] = (
    Entry("DIN", "DIN", {"embedding_size": WIDTH}),
    Entry("GRU4Rec", "GRU4Rec", {"embedding_size": WIDTH, "hidden_size": WIDTH}),
    Entry("SASRec", "SASRec", {"hidden_size": WIDTH}),
    Entry("BERT4Rec", "BERT4Rec", {"hidden_size": WIDTH}),
    Entry("Mamba4Rec", "Mamba4Rec", {"hidden_size": WIDTH}),
    Entry("CoCorrRec (w/o GCN)", "CoCorrRec", {"hidden_size": WIDTH, "use_gcn": False}),
    Entry("CoCorrRec", "CoCorrRec", {"hidden_size": WIDTH, "use_gcn": True}),
)


def find_entries(labels: Sequence[str]) -> list[Entry]:
    """The entries of these labels; another sequential model's name makes an entry with its published settings.

    Raises
    ------
    UserError
        For a name that no model has, and for one given twice.
    """
    by_label = {entry.label.lower(): entry for entry in FIELD}
    found: list[Entry] = []
    for label in labels:
        entry = by_label.get(label.lower())
        if entry is None:
            names = registry.known_models()
            exact = {name.lower(): name for name in names}.get(label.lower())
            if exact is None:
                raise UserError(f"there is no model {label!r}; {nearest(label, {*names, *(e.label for e in FIELD)})}")
            entry = Entry(exact, exact)
        if entry in found:
            raise UserError(f"the model {entry.label} is given twice; name each model once")
        found.append(entry)
    return found


class Catalogue(Vocabulary):
    """What a model asks of a data set, from the number of items alone.

    There is one user: a table with a row per user (DIN's, which it never reads) is no part of what one device keeps.

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
    settings = {
        "protocol": "paper",
        "MAX_ITEM_LIST_LENGTH": length,
        "use_gpu": False,
        "state": "error",
        **entry.settings,
    }
    if entry.model == "CoCorrRec":
        settings["mini_batch_size"] = min(length, mini_batch_size)
    config = Config(entry.model, "catalogue", None, settings, overrides={})
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
