"""Layers of this package in the place of torch's and RecBole's, in any model, where they are faster."""

from recbole.model.layers import SequenceAttLayer
from torch import nn

from recbole_cocorr.layers.dropout import Dropout
from recbole_cocorr.layers.gru import GRU
from recbole_cocorr.models.din.attention import SequenceAttention

_FASTER = {nn.Dropout: Dropout, nn.GRU: GRU, SequenceAttLayer: SequenceAttention}


def use_fast_layers(model: nn.Module) -> None:
    """Let the dropout, GRU and DIN's attention layers of ``model`` compute by this package's code, in place.

    The modules stay the same objects with the same parameters and names. The GRU gives torch's numbers and
    the attention RecBole's (to rounding); dropout takes other random numbers with the same chances. Subclasses are
    left alone, and on a GPU the first two leave the work to torch.
    """
    for module in model.modules():
        faster = _FASTER.get(type(module))
        if faster:
            module.__class__ = faster
