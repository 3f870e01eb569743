"""The card of GRU4Rec."""

from recbole_cocorr.models.card import Card, Look, Variant

CARD = Card(
    name="GRU4Rec",
    folder=__package__,
    variants=(Variant("GRU4Rec", Look("#E69F00", "s", (0, (3, 1.5))), {"embedding_size": 64, "hidden_size": 64}),),
)
