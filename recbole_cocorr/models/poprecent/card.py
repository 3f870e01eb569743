"""The card of PopRecent."""

from recbole_cocorr.models.card import Card

CARD = Card(
    name="PopRecent",
    folder=__package__,
    trained=False,
    own_loss="PopRecent ranks by the interactions of the last days of training; nothing is trained by a loss.",
)
