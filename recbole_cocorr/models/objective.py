"""The training loss of any sequential model, each sequence encoded once.

BCE and BPR on sampled negatives, and CE, are computed here for every model whose score is a dot product,
RecBole's own included, from its user vector, and so is BERT4Rec's cloze loss; other losses of a model's own are the
model's ``calculate_loss``; a model that scores pairs only (DIN) gets rows repeated.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.utils import InputType
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.loaders import NEG_ITEMS, SharedSample
from recbole_cocorr.layers.softmax_loss import catalogue_cross_entropy, sampled_cross_entropy
from recbole_cocorr.models.registry import find_model
from recbole_cocorr.models.scoring import DotProductScorer, PredictScorer, Scorer, repeat_for


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


# What RecBole's BERT4Rec names the parts of its cloze task.
_CLOZE = ("MASK_INDEX", "MASK_ITEM_SEQ", "POS_ITEMS", "output_bias")

SAMPLED_LOSSES = {"BCE": bce_loss, "BPR": bpr_loss}


class Objective:
    """Interaction -> loss, for one model under one ``loss_type``.

    Parameters
    ----------
    model : SequentialRecommender
    scorer : Scorer
        What :func:`~recbole_cocorr.models.scoring.find_scorer` found for it.
    loss_type : {"BCE", "BPR", "CE"} or None
        None for a model that has only one loss. A model that leaves no choice (DIN, RepeatNet, TransRec) keeps
        its own, whatever is given.
    probe : Interaction, optional
        A few training rows. A stock model's CE, or BERT4Rec's cloze loss, is computed in blocks only if that gives
        the model's own loss on them; without a probe it is the model's own.
    """

    def __init__(self, model: nn.Module, scorer: Scorer, loss_type: str | None, probe: Interaction | None = None):
        input_type = getattr(model, "input_type", None)  # of RecBole's models that leave no choice
        if input_type == InputType.POINTWISE:
            loss_type = None
        elif input_type == InputType.PAIRWISE and not hasattr(model, "loss_type") and loss_type != "BCE":
            loss_type = "BPR"
        self.model, self.scorer, self.loss_type = model, scorer, loss_type
        self._in_blocks = self._cloze_in_blocks = False
        if probe is not None and loss_type == "CE":
            if all(hasattr(model, name) for name in _CLOZE) and isinstance(model, find_model("BERT4Rec")):
                self._cloze_in_blocks = self._equals_own_loss(self._cloze, probe)
            elif not getattr(model, "reads_neg_items", False) and isinstance(scorer, DotProductScorer):
                self._in_blocks = self._equals_own_loss(self._catalogue, probe)

    @property
    def reads_user_vectors(self) -> bool:
        """Whether the loss is made of the scorer's user vectors: nothing else is read of a history."""
        own = getattr(self.model, "reads_neg_items", False)
        return isinstance(self.scorer, DotProductScorer) and (
            self._in_blocks or self.loss_type in SAMPLED_LOSSES or (own and self.loss_type == "CE")
        )

    def of_users(
        self,
        users: torch.Tensor,
        target: torch.Tensor,
        negatives: torch.Tensor | None = None,
        sample: SharedSample | None = None,
    ) -> torch.Tensor:
        """Loss of user vectors, where :attr:`reads_user_vectors`.

        Parameters
        ----------
        users : torch.Tensor, shape [B, d]
        target : torch.Tensor of int64, shape [B]
            Item ids.
        negatives : torch.Tensor of int64, shape [B, N], optional
            For BCE and BPR.
        sample : SharedSample, optional
            For the sampled softmax.
        """
        if sample is not None:
            return self._sampled_softmax_of(users, target, sample)
        if negatives is None:
            return self._catalogue_of(users, target)
        items = torch.cat([target[:, None], negatives], dim=1)
        scores = torch.einsum("bcd,bd->bc", self._vectors(items), users)
        if self.scorer.item_bias is not None:
            scores = scores + self.scorer.item_bias()[items]
        return SAMPLED_LOSSES[self.loss_type](scores, items > 0)

    def __call__(self, interaction: Interaction, sample: SharedSample | None = None) -> torch.Tensor:
        """Loss of the rows; with ``sample``, softmax over the positive and the sample (logQ-corrected)."""
        model = self.model
        if sample is not None:
            return self._sampled_softmax(interaction, sample)
        if self._in_blocks:
            return self._catalogue(interaction)
        if self._cloze_in_blocks:
            return self._cloze(interaction)
        if NEG_ITEMS not in interaction or getattr(model, "reads_neg_items", False):
            return model.calculate_loss(interaction)
        positive, negative = interaction[model.ITEM_ID], interaction[NEG_ITEMS]
        items = torch.cat([positive[:, None], negative], dim=1)
        if isinstance(self.scorer, PredictScorer):
            return model.calculate_loss(self._labelled(interaction, items))
        if self.loss_type not in SAMPLED_LOSSES:
            return model.calculate_loss(interaction)
        if isinstance(self.scorer, DotProductScorer):
            return self.of_users(self.scorer.encode(interaction), positive, negative)
        if self.loss_type == "BPR":
            return model.calculate_loss(self._pairs(interaction, negative))
        scores = model.predict(repeat_for(interaction, items, model.ITEM_ID)).view(items.shape)
        return bce_loss(scores, items > 0)

    def _vectors(self, items: torch.Tensor) -> torch.Tensor:
        if hasattr(self.model, "item_vectors"):
            return self.model.item_vectors(items)
        return self.model.item_embedding(items)

    def _catalogue(self, interaction: Interaction) -> torch.Tensor:
        return self._catalogue_of(self.scorer.encode(interaction), interaction[self.model.POS_ITEM_ID])

    def _catalogue_of(self, users: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Softmax over the catalogue: RecBole's models count padding as an item, this package's do not."""
        scorer = self.scorer
        if hasattr(self.model, "catalogue_loss"):
            return self.model.catalogue_loss(users, target)
        bias = scorer.item_bias() if scorer.item_bias else None
        if getattr(self.model, "reads_neg_items", False):
            return catalogue_cross_entropy(users, scorer.item_vectors()[1:], target - 1)
        return catalogue_cross_entropy(users, scorer.item_vectors(), target, bias)

    def _cloze(self, interaction: Interaction) -> torch.Tensor:
        """BERT4Rec's loss of the masked positions that count (RecBole leaves out a mask at the first click)."""
        model = self.model
        masked = interaction[model.MASK_INDEX]
        row, slot = (masked > 0).nonzero(as_tuple=True)
        hidden = model.forward(interaction[model.MASK_ITEM_SEQ])[row, masked[row, slot]]
        items = model.item_embedding.weight[: model.n_items]
        return catalogue_cross_entropy(hidden, items, interaction[model.POS_ITEMS][row, slot], model.output_bias)

    @torch.no_grad()
    def _equals_own_loss(self, loss: Callable[[Interaction], torch.Tensor], probe: Interaction) -> bool:
        model = self.model
        training = model.training
        model.eval()
        try:
            own = model.calculate_loss(probe)
            return bool(torch.is_tensor(own) and torch.allclose(loss(probe), own, rtol=1e-5))
        finally:
            model.train(training)

    def _sampled_softmax(self, interaction: Interaction, sample: SharedSample) -> torch.Tensor:
        if not (self._in_blocks or getattr(self.model, "reads_neg_items", False)):
            raise UserError(
                f"softmax_sample_num needs a model whose CE loss is a softmax of dot products, and "
                f"{type(self.model).__name__}'s is another; leave it out"
            )
        return self._sampled_softmax_of(self.scorer.encode(interaction), interaction[self.model.POS_ITEM_ID], sample)

    def _sampled_softmax_of(self, users: torch.Tensor, target: torch.Tensor, sample: SharedSample) -> torch.Tensor:
        scorer, vectors = self.scorer, self._vectors(torch.cat([target, sample.items]))
        if scorer.item_bias is not None:  # one more column of width 1
            bias = scorer.item_bias()[torch.cat([target, sample.items])]
            vectors = torch.cat([vectors, bias[:, None]], dim=1)
            users = torch.cat([users, users.new_ones(len(users), 1)], dim=1)
        positive, sampled = vectors.split([len(target), len(sample.items)])
        return sampled_cross_entropy(users, positive, sampled, target, sample.items, sample.log_expected)

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
