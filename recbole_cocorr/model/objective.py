"""The training loss of any sequential model, each sequence encoded once.

BCE and BPR on sampled negatives are computed here for every model whose score is a dot product,
RecBole's own included, from its user vector; full-softmax CE, and losses of a model's own (BERT4Rec's
cloze), are the model's ``calculate_loss``; a model that scores pairs only (DIN) gets rows repeated.
"""

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.utils import InputType
from torch import nn

from recbole_cocorr.data.loaders import NEG_ITEMS
from recbole_cocorr.model.scoring import DotProductScorer, PredictScorer, Scorer, repeat_for


def bce_loss(scores: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy over one positive and its negatives (eq. 16 of the paper).

    Parameters
    ----------
    scores : torch.Tensor, shape [B, 1 + N]
        Logits, the positive's first.
    real : torch.Tensor of bool, shape [B, 1 + N]
        False where there is no candidate.

    Returns
    -------
    torch.Tensor, shape []
        Mean over the real pairs.
    """
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1.0
    loss = F.binary_cross_entropy_with_logits(scores, labels, reduction="none")
    return (loss * real).sum() / real.sum().clamp_min(1)


def bpr_loss(scores: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Bayesian personalised ranking: mean of -log sigmoid(positive - negative) over the real negatives.

    Parameters
    ----------
    scores : torch.Tensor, shape [B, 1 + N]
    real : torch.Tensor of bool, shape [B, 1 + N]

    Returns
    -------
    torch.Tensor, shape []
    """
    loss = -F.logsigmoid(scores[:, :1] - scores[:, 1:])
    return (loss * real[:, 1:]).sum() / real[:, 1:].sum().clamp_min(1)


SAMPLED_LOSSES = {"BCE": bce_loss, "BPR": bpr_loss}


class Objective:
    """Interaction -> loss, for one model under one ``loss_type``.

    Parameters
    ----------
    model : SequentialRecommender
    scorer : Scorer
        What :func:`~recbole_cocorr.model.scoring.find_scorer` found for it.
    loss_type : {"BCE", "BPR", "CE"} or None
        None for a model that has only one loss. A model that leaves no choice (DIN, RepeatNet, TransRec) keeps
        its own, whatever is given.
    """

    def __init__(self, model: nn.Module, scorer: Scorer, loss_type: str | None):
        input_type = getattr(model, "input_type", None)  # of RecBole's models that leave no choice
        if input_type == InputType.POINTWISE:
            loss_type = None
        elif input_type == InputType.PAIRWISE and not hasattr(model, "loss_type") and loss_type != "BCE":
            loss_type = "BPR"
        self.model, self.scorer, self.loss_type = model, scorer, loss_type

    def __call__(self, interaction: Interaction) -> torch.Tensor:
        model = self.model
        if NEG_ITEMS not in interaction or getattr(model, "reads_neg_items", False):
            return model.calculate_loss(interaction)
        positive, negative = interaction[model.ITEM_ID], interaction[NEG_ITEMS]
        items = torch.cat([positive[:, None], negative], dim=1)
        real = items > 0
        if isinstance(self.scorer, PredictScorer):
            return model.calculate_loss(self._labelled(interaction, items))
        if self.loss_type not in SAMPLED_LOSSES:
            return model.calculate_loss(interaction)
        if isinstance(self.scorer, DotProductScorer):
            vectors = self.model.item_embedding(items)
            scores = torch.einsum("bcd,bd->bc", vectors, self.scorer.encode(interaction))
            if self.scorer.item_bias is not None:
                scores = scores + self.scorer.item_bias()[items]
        elif self.loss_type == "BCE":
            scores = model.predict(repeat_for(interaction, items, model.ITEM_ID)).view(items.shape)
        else:
            return model.calculate_loss(self._pairs(interaction, negative))
        return SAMPLED_LOSSES[self.loss_type](scores, real)

    def _labelled(self, interaction: Interaction, items: torch.Tensor) -> Interaction:
        """RecBole's pointwise rows: one per (sequence, candidate), with a label."""
        rows = repeat_for(interaction, items, self.model.ITEM_ID)
        labels = torch.zeros_like(items, dtype=torch.float32)
        labels[:, 0] = 1.0
        rows.update(Interaction({self.model.LABEL_FIELD: labels.reshape(-1)}))
        return rows[items.reshape(-1) > 0]

    def _pairs(self, interaction: Interaction, negative: torch.Tensor) -> Interaction:
        """RecBole's pairwise rows: one per (sequence, negative)."""
        columns = {k: v for k, v in interaction.interaction.items() if k != NEG_ITEMS}
        rows = Interaction(columns).repeat_interleave(negative.shape[1])
        rows.update(Interaction({self.model.NEG_ITEM_ID: negative.reshape(-1)}))
        return rows[negative.reshape(-1) > 0]
