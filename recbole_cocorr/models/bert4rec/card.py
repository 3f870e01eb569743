"""The card of BERT4Rec."""

from recbole_cocorr.models.card import Card, Look, Variant

CARD = Card(
    name="BERT4Rec",
    folder=__package__,
    variants=(Variant("BERT4Rec", Look("#009E73", "^", (0, (3, 1.5, 1, 1.5))), {"hidden_size": 64}),),
    own_loss="BERT4Rec keeps its cloze loss: masked items, cross-entropy over the catalogue.",
)
