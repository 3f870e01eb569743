"""The dual form: whole mini-batches at once, from the learned start. The only loop is over mini-batches."""

from dataclasses import dataclass

import torch

from recbole_cocorr.layers.correction import Correction, CorrectionFusion
from recbole_cocorr.layers.ttt.equations import InnerModel, Reading, descend, mix, mix_corrected
from recbole_cocorr.layers.ttt.mini_batches import mini_batches
from recbole_cocorr.layers.ttt.weights import Projections, TTTWeights


@dataclass
class DualMixer:
    """What is the same for every mini-batch of a batch, where each click reads itself and those before it.

    Attributes
    ----------
    steps : torch.Tensor, shape [K, 1]
        tau.
    lower : torch.Tensor of bool, shape [K, K]
    correction : Correction, optional
    fusion : CorrectionFusion, optional
    """

    steps: torch.Tensor
    lower: torch.Tensor
    correction: Correction | None
    fusion: CorrectionFusion | None

    @classmethod
    def of(
        cls,
        weights: TTTWeights,
        like: torch.Tensor,
        correction: Correction | None,
        fusion: CorrectionFusion | None,
    ) -> "DualMixer":
        return cls(weights.token_steps(like)[:, None], weights.tables(like).lower, correction, fusion)

    def mix(self, inner: InnerModel, clicks: Projections, gradients: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Zbar [H, B, R, f] of one mini-batch of R clicks, from their g [H, B, R, f] and their tau [R, 1]."""
        size = clicks.keys.shape[2]
        product, attention = inner.read(clicks.queries), clicks.queries @ clicks.keys.transpose(-1, -2)
        reading = Reading(product, steps, attention, gradients, self.lower[:size, :size])
        if self.correction is None:
            return mix(reading, inner.b)
        bbar = descend(inner.b, steps, gradients.cumsum(dim=2))
        return mix_corrected(reading, bbar, self.correction.first(size).transposed(), self.fusion)


def dual(
    weights: TTTWeights, x: torch.Tensor, correction: Correction | None, fusion: CorrectionFusion | None
) -> torch.Tensor:
    """O [B, L, d] of x [B, L, d], every row from the learned start."""
    if x.shape[1] == 0:
        no_slots = torch.arange(0, device=x.device)
        return weights.join_heads(weights.queries(x, no_slots).movedim(0, -2), x)
    inner, outputs, left = None, [], x.shape[1]
    for clicks in mini_batches(weights, x):
        with torch.autocast(x.device.type, enabled=False):
            if inner is None:
                mixer = DualMixer.of(weights, clicks.keys, correction, fusion)
                inner = weights.initial_model(clicks.keys)
            gradients = weights.gradients(clicks, inner.predict(clicks.keys))
            mixed = mixer.mix(inner, clicks, gradients, mixer.steps[: clicks.keys.shape[2]])
            outputs.append(weights.read_out(clicks.queries, mixed))
            left -= clicks.keys.shape[2]
            if left:
                inner = inner.learn(mixer.steps[-1], clicks.keys, gradients)
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
    return weights.join_heads(joined.movedim(0, -2), x)
