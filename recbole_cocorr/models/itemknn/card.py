"""The card of ItemKNN."""

from recbole_cocorr.models.card import Card

CARD = Card(
    name="ItemKNN",
    folder=__package__,
    trained=False,
    own_loss="ItemKNN scores by the cosine of items; nothing is trained by a loss.",
)
