"""How a model scores items: a sequence is encoded once, however many items stand beside it.

A model whose score is a dot product of a user vector and an item vector is encoded once per sequence.
That holds for this package's models, which say so, and for most of RecBole's, where it is found out:
a recipe for the user vector is tried on a few rows and used only if it gives the scores of the
model's own ``full_sort_predict``. Other models are ranked by ``full_sort_predict``, also once per
sequence, and those without it (DIN) by ``predict``, once per candidate.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from recbole.data.interaction import Interaction
from torch import nn

from recbole_cocorr.data.loaders import NEG_ITEMS


class Scorer(Protocol):
    """What evaluation needs of a model."""

    def candidates(self, interaction: Interaction, items: torch.Tensor) -> torch.Tensor:
        """Scores [B, C] of the items [B, C]."""

    def all_items(self, interaction: Interaction) -> torch.Tensor:
        """Scores [B, n_items] of every item."""

    def prepare(self) -> None:
        """Called before an evaluation, when the parameters have changed."""


class DotProductScorer:
    """user vector . item vector (+ item bias).

    Parameters
    ----------
    encode : callable
        Interaction -> user vectors [B, d].
    item_vectors : callable
        () -> vectors of all items [n_items, d].
    item_bias : callable, optional
        () -> bias of all items [n_items].
    """

    def __init__(
        self,
        encode: Callable[[Interaction], torch.Tensor],
        item_vectors: Callable[[], torch.Tensor],
        item_bias: Callable[[], torch.Tensor] | None = None,
    ):
        self.encode, self.item_vectors, self.item_bias = encode, item_vectors, item_bias
        self._vectors: torch.Tensor | None = None

    def prepare(self) -> None:
        self._vectors = self.item_vectors().detach()

    def candidates(self, interaction: Interaction, items: torch.Tensor) -> torch.Tensor:
        users = self.encode(interaction)
        # Element-wise product and sum: equal item vectors get equal scores to the last bit.
        scores = torch.einsum("bcd,bd->bc", self._vectors[items], users)
        return scores + self.item_bias()[items] if self.item_bias else scores

    def all_items(self, interaction: Interaction) -> torch.Tensor:
        scores = self.encode(interaction) @ self._vectors.T
        return scores + self.item_bias() if self.item_bias else scores


class FullScoreScorer:
    """Scores of all items by the model's own ``full_sort_predict``."""

    def __init__(self, model: nn.Module, n_items: int):
        self.model, self.n_items = model, n_items

    def prepare(self) -> None:
        pass

    def all_items(self, interaction: Interaction) -> torch.Tensor:
        return self.model.full_sort_predict(interaction).view(-1, self.n_items)

    def candidates(self, interaction: Interaction, items: torch.Tensor) -> torch.Tensor:
        return self.all_items(interaction).gather(1, items)


class PredictScorer:
    """Scores by the model's ``predict``: a sequence is read once per candidate."""

    def __init__(self, model: nn.Module, n_items: int, item_field: str, rows: int = 1 << 14):
        self.model, self.n_items, self.item_field, self.rows = model, n_items, item_field, rows

    def prepare(self) -> None:
        pass

    def candidates(self, interaction: Interaction, items: torch.Tensor) -> torch.Tensor:
        step = max(1, self.rows // items.shape[1])
        scores = []
        for start in range(0, len(items), step):
            part = items[start : start + step]
            scores.append(self.model.predict(repeat_for(interaction[start : start + step], part, self.item_field)))
        return torch.cat([s.reshape(-1) for s in scores]).view(items.shape)

    def all_items(self, interaction: Interaction) -> torch.Tensor:
        every = torch.arange(self.n_items, device=next(iter(interaction.interaction.values())).device)
        return self.candidates(interaction, every.expand(len(interaction), -1))


def repeat_for(interaction: Interaction, items: torch.Tensor, item_field: str) -> Interaction:
    """One row per (sequence, item): row b * C + c holds sequence b and ``items[b, c]``."""
    columns = {k: v for k, v in interaction.interaction.items() if k != NEG_ITEMS}
    rows = Interaction(columns).repeat_interleave(items.shape[1])
    rows.update(Interaction({item_field: items.reshape(-1)}))
    return rows


def _recipes(model: nn.Module) -> list[tuple[Callable, Callable, Callable | None]]:
    """Ways in which RecBole's models make their user and item vectors."""
    sequence, length, user = model.ITEM_SEQ, model.ITEM_SEQ_LEN, model.USER_ID

    def table() -> torch.Tensor:
        return model.item_embedding.weight[: model.n_items]

    def bert(inter: Interaction) -> torch.Tensor:
        read = model.reconstruct_test_data(inter[sequence], inter[length])
        return model.gather_indexes(model.forward(read), inter[length] - 1)

    bias = (lambda: model.output_bias) if hasattr(model, "output_bias") else None
    return [
        (lambda i: model.forward(i[sequence], i[length]), table, None),
        (lambda i: model.forward(i[sequence]), table, None),
        (lambda i: model.forward(i[user], i[sequence]), table, None),
        (bert, table, bias),
    ]


@torch.no_grad()
def find_scorer(model: nn.Module, probe: Interaction) -> Scorer:
    """Find how to score with ``model``.

    Parameters
    ----------
    model : SequentialRecommender
        Any RecBole sequential model.
    probe : Interaction
        A few rows on the model's device, on which a recipe is compared with ``full_sort_predict``.
    """
    if hasattr(model, "encode") and hasattr(model, "item_vectors"):
        return DotProductScorer(model.encode, model.item_vectors)
    training = model.training
    model.eval()
    try:
        truth = model.full_sort_predict(probe).view(len(probe), -1)
    except NotImplementedError:
        model.train(training)
        return PredictScorer(model, model.n_items, model.ITEM_ID)
    scorer: Scorer = FullScoreScorer(model, truth.shape[1])
    for encode, vectors, bias in _recipes(model):
        attempt = DotProductScorer(encode, vectors, bias)
        try:
            attempt.prepare()
            scores = attempt.all_items(probe)
        except (AttributeError, TypeError, RuntimeError, IndexError, KeyError):
            continue  # this model is made in another way
        if scores.shape == truth.shape and torch.allclose(scores, truth, rtol=1e-4, atol=1e-5):
            scorer = attempt
            break
    model.train(training)
    return scorer
