"""Which clicks of a history speak for an item."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.folder import load_corrector


@dataclass(frozen=True)
class Click:
    """What one click of a history says of an item.

    Attributes
    ----------
    item : str
        What was clicked.
    difference : float or None
        The model's score of the explained item with this click, less its score without it: above 0 the click speaks
        for the item. None where there is nothing to compare: the model does not read the click, because it is older
        than the last ``MAX_ITEM_LIST_LENGTH``, or it is the only one.
    weight : float or None
        What the corrector adds to the item's score for this click. None without a corrector.
    """

    item: str
    difference: float | None
    weight: float | None = None


@dataclass(frozen=True)
class Explanation:
    """Which clicks speak for an item.

    Attributes
    ----------
    item : str
    score : float
        The model's score of the item after the history.
    clicks : list of Click
        Every known click of the history, oldest first.
    unknown : list of str
        Tokens of the history that the model never saw.
    cloud_score : float or None
        The corrector's score: the sum of the weights. None without a corrector.
    """

    item: str
    score: float
    clicks: list[Click]
    unknown: list[str]
    cloud_score: float | None = None

    def text(self, most: int = 3) -> str:
        """The clicks that speak loudest for the item, in words."""
        lines = [f"{self.item} has the score {self.score:.3f}"]
        for title, name in (("the model", "difference"), ("everybody's clicks", "weight")):
            speaks = [(getattr(c, name), c.item) for c in self.clicks if (getattr(c, name) or 0) > 0]
            speaks = sorted(speaks, key=lambda pair: -pair[0])[:most]
            if speaks:
                shown = ", ".join(f"{item} ({value:+.3f})" for value, item in speaks)
                lines.append(f"  by {title}, because of {shown}")
        if len(lines) == 1:
            compared = any(c.difference is not None or c.weight is not None for c in self.clicks)
            reason = (
                "no click speaks for it" if compared else "there is one click alone, and nothing to compare it with"
            )
            lines.append(f"  {reason}")
        return "\n".join(lines)


def explain(
    recommender: Any, history: Sequence[str], item: str, corrector: str | os.PathLike | None = None
) -> Explanation:
    """Say which clicks speak for an item.

    The model's part is measured: the item is scored after the clicks that the model reads, and again with each of them
    left out. A model is no sum of its clicks, so the differences need not add up to the score. The corrector's part is
    exact: its score is the sum of the weights.

    Parameters
    ----------
    recommender : Recommender
    history : sequence of str
        Item tokens, oldest first.
    item : str
        The item to explain, whether or not it was recommended.
    corrector : str or os.PathLike, optional
        A folder that ``fit-corrector`` wrote for a model of the same items.

    Raises
    ------
    UserError
        If the model knows neither the item nor one of the history, or the corrector has other items.
    """
    number = recommender.known_item(item)
    ids, unknown = recommender.known(history)
    if not ids:
        raise UserError("the history holds no item that the model knows, so no click speaks for anything")
    read = ids[-recommender.config["MAX_ITEM_LIST_LENGTH"] :]
    # The window stays where it is: no older click moves up for the one that is left out.
    without = [read[:i] + read[i + 1 :] for i in range(len(read))] if len(read) > 1 else []
    scores = recommender.item_scores([read, *without], [number])[:, 0].tolist()
    differences = [scores[0] - score for score in scores[1:]] or [None]
    differences = [None] * (len(ids) - len(read)) + differences
    weights: list[float | None] = [None] * len(ids)
    if corrector is not None:
        weights = _weights(recommender, ids, number, corrector)
    tokens = recommender.vocabulary.items
    clicks = [Click(tokens[i], d, w) for i, d, w in zip(ids, differences, weights, strict=True)]
    total = None if corrector is None else float(sum(weights))
    return Explanation(tokens[number], scores[0], clicks, list(dict.fromkeys(unknown)), total)


def _weights(recommender: Any, ids: list[int], number: int, folder: str | os.PathLike) -> list[float]:
    """What each click adds to the corrector's score: the newest, the two newest and so on are scored."""
    corrector, items, _ = load_corrector(folder)
    if items != recommender.vocabulary.items:
        raise UserError(f"{folder} was fitted on other items than {recommender.source} has; run fit-corrector again")
    newest = [np.array(ids[start:], dtype=np.int64) for start in range(len(ids), -1, -1)]
    scores = corrector.scores(newest, np.full((len(newest), 1), number))[:, 0].astype(np.float64)
    return np.diff(scores)[::-1].tolist()
