"""The training loss of windows: a target at every click, each window encoded once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from recbole.data.interaction import Interaction
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import NEG_ITEMS
from recbole_cocorr.data.loaders import TARGET_ITEMS, SharedSample
from recbole_cocorr.models.length_groups import ByLength
from recbole_cocorr.models.objective import Objective
from recbole_cocorr.models.scoring import disturbed

Outputs = Callable[[Interaction], torch.Tensor]

# Shorter histories with which a probe's row is compared.
_PREFIXES = 16
# What a model raises that cannot read its last layer's output at every position.
_FAILURES = (AttributeError, TypeError, RuntimeError, IndexError, KeyError, ValueError, AssertionError)


class SequenceObjective:
    """Windows -> loss: the mean over the windows' targets of the loss that a row of its own would have.

    Parameters
    ----------
    objective : Objective
        The loss of user vectors.
    probe : Interaction
        A few windows on the model's device, on which the outputs are compared with those of shorter histories.

    Raises
    ------
    UserError
        If the model's output at a click is not what it gives for the history that ends there, or if its loss reads
        something else.
    """

    def __init__(self, objective: Objective, probe: Interaction):
        self._objective, self._model = objective, objective.model
        self._outputs = _outputs(objective)
        reason = self._objection(probe)
        if reason:
            name = type(self._model).__name__
            raise UserError(f"training_rows is sequence, and {name} {reason}; set training_rows: prefix")

    def __call__(self, windows: Interaction, sample: SharedSample | None = None) -> torch.Tensor:
        """Loss of the windows, ``sample`` as for :class:`~recbole_cocorr.models.objective.Objective`."""
        target = windows[TARGET_ITEMS]
        real = target > 0
        negatives = windows[NEG_ITEMS][real] if NEG_ITEMS in windows else None
        # The padding's outputs are dropped at once: a catalogue's scores are the largest part of the work.
        return self._objective.of_users(self._outputs(windows)[real], target[real], negatives, sample)

    def _objection(self, probe: Interaction) -> str:
        """Why the model cannot be trained on windows; empty if it can."""
        if not self._objective.reads_user_vectors:
            return "has a score or a loss that is not made of one vector of the history"
        if any(isinstance(module, _BatchNorm) for module in self._model.modules()):
            return "has a batch norm, through which clicks reach those before them"
        training = self._model.training
        self._model.eval()
        try:
            with torch.no_grad(), disturbed(self._model):
                alike = self._equal_prefixes(probe)
        finally:
            self._model.train(training)
        return "" if alike else "does not give, at each click, the vector of the history that ends there"

    def _equal_prefixes(self, probe: Interaction) -> bool:
        """Whether each output is the user vector of the clicks up to there."""
        model = self._model
        lengths = probe[model.ITEM_SEQ_LEN]
        ends = [torch.linspace(1, n, min(n, _PREFIXES), device=lengths.device).long() for n in lengths.tolist()]
        row = torch.repeat_interleave(torch.tensor([len(e) for e in ends], device=lengths.device))
        end = torch.cat(ends)
        shorter = probe[row]
        before = torch.arange(shorter[model.ITEM_SEQ].shape[1], device=end.device) < end[:, None]
        shorter.update(Interaction({model.ITEM_SEQ: shorter[model.ITEM_SEQ] * before, model.ITEM_SEQ_LEN: end}))
        try:
            outputs, wanted = self._outputs(probe), self._objective.scorer.encode(shorter)
            found = outputs[row, end - 1]
        except _FAILURES:
            return False
        return found.shape == wanted.shape and bool((found - wanted).abs().max() <= 1e-4 * wanted.abs().max())


def _outputs(objective: Objective) -> Outputs:
    """How the model's output at every position, [B, W, d], is read."""
    model = objective.model
    if hasattr(model, "outputs_of"):
        return lambda rows: model.outputs_of(model.item_embedding(rows[model.ITEM_SEQ]), rows[model.ITEM_SEQ_LEN])
    encode = getattr(objective.scorer, "encode", None)
    read = encode.whole if isinstance(encode, ByLength) else encode

    def outputs(rows: Interaction) -> torch.Tensor:
        with _every_position(model):
            return read(rows)

    return outputs


@contextmanager
def _every_position(model: nn.Module) -> Iterator[None]:
    """Inside, RecBole's ``gather_indexes`` leaves every position where it otherwise picks a row's last one."""
    model.gather_indexes = lambda output, indexes: output
    try:
        yield
    finally:
        del model.gather_indexes
