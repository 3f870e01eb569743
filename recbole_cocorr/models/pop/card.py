"""The card of Pop."""

from recbole_cocorr.models.card import Card, Look, Variant

CARD = Card(
    name="Pop",
    folder=__package__,
    variants=(Variant("Pop", Look("#999999", "X", (0, (1, 1.5)))),),
    trained=False,
    own_loss="Pop ranks by the number of interactions; nothing is trained by a loss.",
)
