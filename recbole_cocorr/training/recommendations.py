"""A list of recommended items, and how it is cut out of scores."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any

import numpy as np
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.models.best_items import best_items


@dataclass
class Recommendations:
    """The items a model puts first.

    Attributes
    ----------
    items : list of str
        Tokens, best first.
    scores : list of float
        The model's own, which order items and have no unit; clicks in training where ``source`` is "popularity".
    unknown : list of str
        Tokens of the history or the candidates that the model never saw; they were left out.
    source : {"model", "popularity", "item vectors", "one click"}
        What the list comes from. "popularity": the history holds no item that the model knows. The last two are of
        :meth:`Recommender.similar_items`.
    """

    items: list[str]
    scores: list[float]
    unknown: list[str] = field(default_factory=list)
    source: str = "model"


def check_k(k: Any) -> None:
    """Refuse what is no number of items."""
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
        raise UserError(f"k is {k!r}; it must be a whole number of at least 1")


def reported(unknown: list[str]) -> list[str]:
    """The tokens, each once; the log names some."""
    unknown = list(dict.fromkeys(unknown))
    if unknown:
        getLogger().warning(f"{len(unknown)} unknown item tokens were left out: {', '.join(unknown[:5])}")
    return unknown


def greatest(
    scores: torch.Tensor, k: int, leave_out: Sequence[Sequence[int]] | None
) -> list[tuple[list[int], list[float]]]:
    """Columns and values of each row's greatest scores; ``leave_out`` has item ids, from 1."""
    if leave_out is None:
        values, columns = best_items(scores, k)
        return list(zip(columns.tolist(), values.tolist(), strict=True))
    rows = [row for row, ids in enumerate(leave_out) for _ in ids]
    scores = scores.clone()
    scores[rows, torch.tensor([i - 1 for ids in leave_out for i in ids])] = -torch.inf
    values, columns = best_items(scores, k)
    left = [scores.shape[1] - len(set(ids)) for ids in leave_out]
    return [(c[:n], v[:n]) for c, v, n in zip(columns.tolist(), values.tolist(), left, strict=True)]
