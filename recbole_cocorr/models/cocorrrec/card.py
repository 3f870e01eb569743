"""The card of CoCorrRec."""

from recbole_cocorr.models.card import Card, Look, Variant

CARD = Card(
    name="CoCorrRec",
    folder=__package__,
    variants=(
        Variant(
            "CoCorrRec (w/o GCN)",
            Look("#1f2328", "o", (0, (2, 1)), hollow=True),
            {"hidden_size": 64, "use_gcn": False},
        ),
        Variant("CoCorrRec", Look("#D55E00", "o", "-", width=2.2), {"hidden_size": 64, "use_gcn": True}),
    ),
    ours=True,
    correction_setting="use_gcn",
)
