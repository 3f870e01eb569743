"""The card of DIN."""

from recbole_cocorr.models.card import Card, Look, Variant

CARD = Card(
    name="DIN",
    folder=__package__,
    variants=(Variant("DIN", Look("#CC79A7", "v", (0, (5, 2))), {"embedding_size": 64}),),
)
