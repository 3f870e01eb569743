"""Layers in pure torch; nothing here knows RecBole."""

from recbole_cocorr.layers.correction import Correction, CorrectionFusion, match_moments
from recbole_cocorr.layers.gcn import CorrectionNetwork, GlobalCorrectionNetwork
from recbole_cocorr.layers.ttt.layer import TTTLinear
from recbole_cocorr.layers.ttt.rope import apply_rope
from recbole_cocorr.layers.ttt.state import TTTState

__all__ = [
    "Correction",
    "CorrectionFusion",
    "CorrectionNetwork",
    "GlobalCorrectionNetwork",
    "TTTLinear",
    "TTTState",
    "apply_rope",
    "match_moments",
]
