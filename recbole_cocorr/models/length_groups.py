"""Models that do not read the padding of a sequence are not given it, or less of it.

Sequences of similar length are encoded together, so that the short ones are not padded to the longest; a model
whose layers are recurrent is told the lengths instead.
"""

from collections.abc import Callable

import torch
from recbole.data.interaction import Interaction
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from recbole_cocorr.layers.gru import GRU, known_lengths

# A group has at least so many rows (smaller products waste a processor), and a batch at most so many groups.
_LEAST_ROWS = 64
_MOST_GROUPS = 4
# Share of the padded positions that must remain for grouping to be worth its copies.
_WORTH_BELOW = 0.8


def length_groups(lengths: torch.Tensor, width: int) -> list[tuple[torch.Tensor, int]] | None:
    """Rows of similar length, and the greatest length of each group.

    Parameters
    ----------
    lengths : torch.Tensor of int64, shape [B]
    width : int
        Padded length L.

    Returns
    -------
    list of (torch.Tensor of int64, int), or None
        Every row in exactly one group; None where grouping saves too little.
    """
    rows = len(lengths)
    count = min(_MOST_GROUPS, rows // _LEAST_ROWS)
    if rows == 0 or lengths.is_cuda:  # on a GPU, reading the lengths stops the queue
        return None
    order = torch.argsort(lengths, stable=True)
    chunks = order.chunk(max(1, count))
    groups = [(chunk, min(width, max(1, int(lengths[chunk[-1]])))) for chunk in chunks]
    if sum(len(chunk) * longest for chunk, longest in groups) > _WORTH_BELOW * rows * width:
        return None
    return groups


def rejoin(parts: list[torch.Tensor], groups: list[tuple[torch.Tensor, int]]) -> torch.Tensor:
    """The groups' results in the order of the rows that they were made of."""
    return torch.cat(parts).index_select(0, torch.argsort(torch.cat([rows for rows, _ in groups])))


class ByLength:
    """An encoder that reads its rows in groups of similar length; the same vectors, less padding.

    Parameters
    ----------
    encode : callable
        Interaction -> user vectors [B, d], from the model's sequence, length and user columns alone, and
        whatever the padding at the end.
    model : SequentialRecommender
    """

    def __init__(self, encode: Callable[[Interaction], torch.Tensor], model: nn.Module):
        self.encode, self.model = encode, model
        self._recurrent = any(isinstance(module, GRU) for module in model.modules())
        self._sequence, self._length, self._user = model.ITEM_SEQ, model.ITEM_SEQ_LEN, model.USER_ID

    def __call__(self, interaction: Interaction) -> torch.Tensor:
        lengths = interaction[self._length]
        if self._recurrent and not lengths.is_cuda:
            return self.whole(interaction)
        groups = length_groups(lengths, interaction[self._sequence].shape[1])
        if groups is None:
            return self.encode(interaction)
        return rejoin([self.encode(self.cut(interaction, rows, longest)) for rows, longest in groups], groups)

    def whole(self, interaction: Interaction) -> torch.Tensor:
        """All rows at once; on a CPU its GRUs read real steps alone."""
        if not self._recurrent or interaction[self._length].is_cuda:
            return self.encode(interaction)
        return self.encode_ragged(interaction)

    def encode_ragged(self, interaction: Interaction) -> torch.Tensor:
        """All rows at once, its GRUs reading real steps alone."""
        with known_lengths(self.model, interaction[self._length]):
            return self.encode(interaction)

    def cut(self, interaction: Interaction, rows: torch.Tensor, longest: int) -> Interaction:
        """Some rows, their sequences no longer than ``longest``."""
        columns = {name: interaction[name][rows] for name in (self._length, self._user) if name in interaction}
        return Interaction({**columns, self._sequence: interaction[self._sequence][rows, :longest]})


def without_padding(interaction: Interaction, model: nn.Module) -> Interaction:
    """The same rows, their sequences no longer than the longest of them."""
    longest = max(1, int(interaction[model.ITEM_SEQ_LEN].max()))
    return Interaction({**interaction.interaction, model.ITEM_SEQ: interaction[model.ITEM_SEQ][:, :longest]})


def padding_is_idle(encode: Callable[[Interaction], torch.Tensor], model: nn.Module, probe: Interaction) -> bool:
    """Whether each row of the probe alone, without its padding, gives the vector it gives among the others.

    A batch norm mixes the rows of a batch, which shows in training only: such a model is never split.
    """
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        return False
    whole, by_length = encode(probe), ByLength(encode, model)
    if not torch.allclose(by_length.encode_ragged(probe), whole, rtol=1e-4, atol=1e-5):
        return False
    for row, length in enumerate(probe[model.ITEM_SEQ_LEN].tolist()):
        try:
            alone = encode(by_length.cut(probe, torch.tensor([row], device=whole.device), max(1, length)))
        except (RuntimeError, IndexError, ValueError, TypeError, AssertionError, KeyError):
            return False  # made for one length, or of more columns
        if alone.shape != whole[row : row + 1].shape or not torch.allclose(
            alone, whole[row : row + 1], rtol=1e-4, atol=1e-5
        ):
            return False
    return True
