"""The card of EASE."""

from recbole_cocorr.models.card import Card

CARD = Card(
    name="EASE",
    folder=__package__,
    trained=False,
    own_loss="EASE is a ridge regression of each item on all others, in closed form.",
)
