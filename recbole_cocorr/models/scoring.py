"""How a model scores items: a sequence is encoded once, however many items stand beside it.

A model whose score is a dot product of a user vector and an item vector is encoded once per sequence.
That holds for this package's models, which say so, and for most of RecBole's, where it is found out:
a recipe for the user vector is tried on a few rows and used only if it gives the scores of the
model's own ``full_sort_predict`` and ``predict``. Other models are ranked by ``full_sort_predict``, also
once per sequence, and those without it (DIN) by ``predict``, once per candidate.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import torch
from recbole.data.interaction import Interaction
from torch import nn

from recbole_cocorr.data.loaders import NEG_ITEMS
from recbole_cocorr.models.length_groups import ByLength, padding_is_idle


class Scorer(Protocol):
    """What evaluation needs of a model."""

    def candidates(self, interaction: Interaction, items: torch.Tensor) -> torch.Tensor:
        """Scores [B, C] of the items [B, C]."""

    def all_items(self, interaction: Interaction) -> torch.Tensor:
        """Scores [B, n_items] of every item."""

    def in_blocks(self, interaction: Interaction) -> Iterator[tuple[slice, torch.Tensor]]:
        """Scores of every item for some rows at a time, and which rows: bounded memory, whatever the catalogue."""

    def prepare(self) -> None:
        """Called before an evaluation, when the parameters have changed."""


# Numbers of a [rows, items] score matrix, and of gathered candidates' vectors, held at once. The latter stay in
# a processor's cache.
_SCORES_AT_ONCE = 1 << 24
_VECTORS_AT_ONCE = 1 << 19
# Scores of user vectors on a CPU: also in its cache, but of enough rows that reading the items' vectors pays.
_CPU_SCORES_AT_ONCE, _LEAST_ROWS = 1 << 20, 16


def _row_blocks(rows: int, width: int, at_once: int, least: int = 1) -> Iterator[slice]:
    step = max(least, at_once // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


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
        return self.score(self.encode(interaction), items)

    def score(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Scores [B, C] of the items [B, C] by the user vectors [B, d]."""
        scores = users.new_empty(items.shape)
        for rows in _row_blocks(len(items), items.shape[1] * users.shape[1], _VECTORS_AT_ONCE):
            # One product per pair, no matrix product: equal item vectors get equal scores to the last bit.
            scores[rows] = torch.einsum("bcd,bd->bc", self._vectors[items[rows]], users[rows])
        return scores + self.item_bias()[items] if self.item_bias else scores

    def all_items(self, interaction: Interaction) -> torch.Tensor:
        return self._all(self.encode(interaction))

    def _all(self, users: torch.Tensor) -> torch.Tensor:
        scores = users @ self._vectors.T
        return scores + self.item_bias() if self.item_bias else scores

    def in_blocks(self, interaction: Interaction) -> Iterator[tuple[slice, torch.Tensor]]:
        users = self.encode(interaction)
        at_once = (_CPU_SCORES_AT_ONCE, _LEAST_ROWS) if users.device.type == "cpu" else (_SCORES_AT_ONCE,)
        for rows in _row_blocks(len(users), len(self._vectors), *at_once):
            yield rows, self._all(users[rows])


class _InteractionBlocks:
    """``in_blocks`` for a scorer that has no user vectors: some of the interaction's rows at a time."""

    n_items: int

    def in_blocks(self, interaction: Interaction) -> Iterator[tuple[slice, torch.Tensor]]:
        for rows in _row_blocks(len(interaction), self.n_items, _SCORES_AT_ONCE):
            yield rows, self.all_items(interaction[rows])


class FullScoreScorer(_InteractionBlocks):
    """Scores of all items by the model's own ``full_sort_predict``."""

    def __init__(self, model: nn.Module, n_items: int):
        self.model, self.n_items = model, n_items

    def prepare(self) -> None:
        pass

    def all_items(self, interaction: Interaction) -> torch.Tensor:
        return self.model.full_sort_predict(interaction).view(-1, self.n_items)

    def candidates(self, interaction: Interaction, items: torch.Tensor) -> torch.Tensor:
        return self.all_items(interaction).gather(1, items)


class TwoWayScorer(FullScoreScorer):
    """For a model whose ``predict`` and ``full_sort_predict`` disagree (RecBole's SHAN, CORE): each for its task."""

    def candidates(self, interaction: Interaction, items: torch.Tensor) -> torch.Tensor:
        return _predict(self.model, interaction, items)


class PredictScorer(_InteractionBlocks):
    """Scores by the model's ``predict``: a sequence is read once per candidate."""

    def __init__(self, model: nn.Module, n_items: int):
        self.model, self.n_items = model, n_items

    def prepare(self) -> None:
        pass

    def candidates(self, interaction: Interaction, items: torch.Tensor) -> torch.Tensor:
        return _predict(self.model, interaction, items)

    def all_items(self, interaction: Interaction) -> torch.Tensor:
        every = torch.arange(self.n_items, device=next(iter(interaction.interaction.values())).device)
        return self.candidates(interaction, every.expand(len(interaction), -1))


def _predict(model: nn.Module, interaction: Interaction, items: torch.Tensor, rows: int = 1 << 12) -> torch.Tensor:
    """The model's ``predict`` of the items [B, C], about ``rows`` pairs at once."""
    step = max(1, rows // items.shape[1])
    scores = []
    for start in range(0, len(items), step):
        part = items[start : start + step]
        scores.append(model.predict(repeat_for(interaction[start : start + step], part, model.ITEM_ID)))
    return torch.cat([s.reshape(-1) for s in scores]).view(items.shape)


def repeat_for(interaction: Interaction, items: torch.Tensor, item_field: str) -> Interaction:
    """One row per (sequence, item): row b * C + c holds sequence b and ``items[b, c]``."""
    columns = {k: v for k, v in interaction.interaction.items() if k != NEG_ITEMS}
    rows = Interaction(columns).repeat_interleave(items.shape[1])
    rows.update(Interaction({item_field: items.reshape(-1)}))
    return rows


# What RecBole's models call the arguments of ``forward``, and the attribute that names the field to pass.
_FORWARD_ARGUMENTS = {
    "item_seq": "ITEM_SEQ",
    "seq_item": "ITEM_SEQ",
    "item_seq_len": "ITEM_SEQ_LEN",
    "seq_item_len": "ITEM_SEQ_LEN",
    "user": "USER_ID",
}


def _recipes(model: nn.Module) -> list[tuple[Callable, Callable, Callable | None]]:
    """Ways in which RecBole's models make their user and item vectors."""
    sequence, length = model.ITEM_SEQ, model.ITEM_SEQ_LEN
    arguments = [_FORWARD_ARGUMENTS.get(name) for name in inspect.signature(model.forward).parameters]

    def table() -> torch.Tensor:
        return model.item_embedding.weight[: model.n_items]

    def plain(inter: Interaction) -> torch.Tensor:
        return model.forward(*(inter[getattr(model, name)] for name in arguments))

    def bert(inter: Interaction) -> torch.Tensor:
        read = model.reconstruct_test_data(inter[sequence], inter[length])
        return model.gather_indexes(model.forward(read), inter[length] - 1)

    bias = (lambda: model.output_bias) if hasattr(model, "output_bias") else None
    # Arguments are matched by name: in a wrong order they may fit by chance, or index past the end of a table.
    return ([(plain, table, None)] if None not in arguments else []) + [(bert, table, bias)]


@contextmanager
def disturbed(model: nn.Module) -> Iterator[None]:
    """Noise on every parameter inside, so that a term that starts at zero (a bias) shows."""
    weights = [p.detach().clone() for p in model.parameters()]
    generator = torch.Generator().manual_seed(0)
    try:
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator).to(p) * 0.1)
        yield
    finally:
        for p, before in zip(model.parameters(), weights, strict=True):
            p.copy_(before)


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
        with disturbed(model):
            return _matching_scorer(model, probe)
    except NotImplementedError:
        return PredictScorer(model, model.n_items)
    finally:
        model.train(training)


def _matching_scorer(model: nn.Module, probe: Interaction) -> Scorer:
    truth = model.full_sort_predict(probe).view(len(probe), -1)

    def alike(scores: torch.Tensor, expected: torch.Tensor) -> bool:
        return scores.shape == expected.shape and bool((scores - expected).abs().max() <= 1e-4 * truth.abs().max())

    some = torch.arange(1, min(9, truth.shape[1]), device=truth.device).expand(len(probe), -1)
    with suppress(KeyError):  # a column that the probe lacks
        if not alike(_predict(model, probe, some), truth.gather(1, some)):
            return TwoWayScorer(model, truth.shape[1])
    for encode, vectors, bias in _recipes(model):
        attempt = DotProductScorer(encode, vectors, bias)
        try:
            attempt.prepare()
            scores = attempt.all_items(probe)
        except (AttributeError, TypeError, RuntimeError, IndexError, KeyError):
            continue  # this model is made in another way
        if alike(scores, truth):
            if padding_is_idle(encode, model, probe):
                attempt.encode = ByLength(encode, model)
            return attempt
    return FullScoreScorer(model, truth.shape[1])
