"""Corrections from the cloud that are scores of the candidates: what everybody's histories say.

They fit any model, unlike the correction network of CoCorrRec, which reaches into the device's layer.
"""

from recbole_cocorr.correctors.base import Corrector
from recbole_cocorr.correctors.item_item import ItemItem
from recbole_cocorr.correctors.trust import Trust

__all__ = ["Corrector", "ItemItem", "Trust"]
