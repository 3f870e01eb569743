"""The models that this package has a card for. A new model is a folder beside this file and one line in ``FOLDERS``."""

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from recbole_cocorr.models.card import Card, Variant

# The order of every table: the paper's Table 1, under Pop as the floor.
FOLDERS = (
    "pop",
    "poprecent",
    "itemknn",
    "ease",
    "din",
    "gru4rec",
    "sasrec",
    "bert4rec",
    "mamba4rec",
    "cocorrrec",
)


@cache
def cards() -> dict[str, Card]:
    """The cards by the models' names, in the order of the tables."""
    package = __name__.rpartition(".")[0]
    return {card.name: card for card in (importlib.import_module(f"{package}.{f}.card").CARD for f in FOLDERS)}


def variants() -> dict[str, tuple[Card, Variant]]:
    """The rows of the tables by their labels, in order."""
    return {variant.label: (card, variant) for card in cards().values() for variant in card.variants}


def exportable() -> list[str]:
    """Names of the models that can be exported to a device."""
    return [card.name for card in cards().values() if card.can("graphs")]


def card_of(model: Any) -> Card | None:
    """The card of a model that is built; None for one that has no card, such as a user's own."""
    card = cards().get(type(model).__name__)
    if card is None:
        return None
    network = card.network()
    own = isinstance(model, network) if network else type(model).__module__.startswith("recbole.")
    return card if own else None


def is_ours(name: str) -> bool:
    """Whether the model of this name is this project's own and no baseline."""
    return name in cards() and cards()[name].ours


def our_names() -> str:
    """The names of this project's own models, for a sentence."""
    return " or ".join(card.name for card in cards().values() if card.ours)


def is_our_row(label: str) -> bool:
    """Whether a row of a table is a form of a model of this project's own: its label begins with the model's name."""
    return any(card.ours and label.startswith(card.name) for card in cards().values())


def own_loss(name: str) -> str:
    """What the tables say of a model whose loss is not the protocol's; empty for the others."""
    return cards()[name].own_loss if name in cards() else ""


def is_trained(name: str) -> bool:
    """Whether the model of this name learns by gradient; a model without a card does."""
    return name not in cards() or cards()[name].trained


def takes_corrections(model: Any) -> bool:
    """Whether a model that is built takes corrections from the cloud."""
    card = card_of(model)
    return card is not None and bool(card.correction_setting) and getattr(model, card.correction_setting) is True


def configured_to_take_corrections(config: Mapping[str, Any]) -> bool:
    """Whether the model that a checkpoint's settings describe takes corrections from the cloud."""
    card = cards().get(str(config.get("model")))
    return card is not None and bool(card.correction_setting) and config.get(card.correction_setting) is True
