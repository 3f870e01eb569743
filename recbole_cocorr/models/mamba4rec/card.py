"""The card of Mamba4Rec."""

from recbole_cocorr.models.card import Card, Look, Variant

CARD = Card(
    name="Mamba4Rec",
    folder=__package__,
    variants=(Variant("Mamba4Rec", Look("#0072B2", "P", (0, (8, 2))), {"hidden_size": 64}),),
)
