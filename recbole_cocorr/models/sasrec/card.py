"""The card of SASRec."""

from recbole_cocorr.models.card import Card, Look, Variant

CARD = Card(
    name="SASRec",
    folder=__package__,
    variants=(Variant("SASRec", Look("#56B4E9", "D", (0, (6, 1.5, 1, 1.5))), {"hidden_size": 64}),),
)
