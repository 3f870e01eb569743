"""A trained model, ready to recommend to a new user from raw item tokens.

Needs the checkpoint alone: neither the training data nor the property files.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import ModelType
from torch import nn

from recbole_cocorr.artifact.checkpoint_file import MOST_LENGTH
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record
from recbole_cocorr.models import registry
from recbole_cocorr.models.build_limit import BuildLimit
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.scoring import find_scorer
from recbole_cocorr.training.checkpoint import Checkpoint, load_checkpoint, load_weights


class SavedConfig(dict):
    """Settings as a checkpoint keeps them; a missing one reads as None, as RecBole's do."""

    def __missing__(self, key: str) -> None:
        return None


class Vocabulary:
    """What a model asks of a dataset, from the item tokens alone.

    Parameters
    ----------
    config : SavedConfig
    items : list of str
        Tokens by item id; entry 0 is padding.
    num_users : int
        Size of the user vocabulary, padding included.
    """

    def __init__(self, config: SavedConfig, items: Sequence[str], num_users: int):
        self.uid_field, self.iid_field = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
        self.items = list(items)
        self.item_num, self.user_num = len(self.items), num_users
        self.id_of = {token: i for i, token in enumerate(self.items) if i}
        self.field2id_token = {self.iid_field: np.array(self.items)}

    def num(self, field_name: str) -> int:
        """Number of different values of a field, padding included."""
        sizes = {self.iid_field: self.item_num, self.uid_field: self.user_num}
        if field_name not in sizes:
            raise AttributeError(f"the field {field_name!r} of the training data")
        return sizes[field_name]


@dataclass
class Recommendations:
    """The items a model puts first.

    Attributes
    ----------
    items : list of str
        Tokens, best first.
    scores : list of float
    unknown : list of str
        Tokens of the history or the candidates that the model never saw; they were left out.
    """

    items: list[str]
    scores: list[float]
    unknown: list[str] = field(default_factory=list)


if hasattr(os, "register_at_fork"):
    # A forked child lacks the threads that torch computes with, and would wait for them for ever.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class Recommender:
    """A model with its vocabulary.

    Attributes
    ----------
    model : torch.nn.Module
        In evaluation mode.
    config : SavedConfig
        The settings it was trained with.
    vocabulary : Vocabulary
    metrics : dict
        Validation result of the saved epoch.
    """

    def __init__(self, model: nn.Module, config: SavedConfig, vocabulary: Vocabulary, metrics: dict[str, float]):
        self.model, self.config, self.vocabulary, self.metrics = model.eval(), config, vocabulary, metrics
        self._scorer: Any = None
        self._prepared_for: list[tuple[int, int]] | None = None

    def interaction(self, histories: Sequence[Sequence[int]]) -> Interaction:
        """Item ids as the model reads them: the last L of each history, padding at the end."""
        length = self.config["MAX_ITEM_LIST_LENGTH"]
        item_seq = torch.zeros(len(histories), length, dtype=torch.int64)
        item_seq_len = torch.zeros(len(histories), dtype=torch.int64)
        for row, history in enumerate(histories):
            recent = list(history)[-length:]
            item_seq[row, : len(recent)] = torch.tensor(recent, dtype=torch.int64)
            item_seq_len[row] = len(recent)
        model = self.model
        columns = {
            model.ITEM_SEQ: item_seq,
            model.ITEM_SEQ_LEN: item_seq_len,
            model.USER_ID: torch.zeros(len(histories), dtype=torch.int64),
        }
        return Interaction(columns).to(self.config["device"])

    def _scores(self, interaction: Interaction, items: torch.Tensor | None) -> torch.Tensor:
        """Scores of some items for one user, or of all but padding."""
        try:
            if self._scorer is None:
                self._scorer = find_scorer(self.model, interaction)
            # The vectors of the whole catalogue are made anew only where a weight has changed.
            weights = [(id(w), w._version) for w in (*self.model.parameters(), *self.model.buffers())]
            if weights != self._prepared_for:
                self._scorer.prepare()
                self._prepared_for = weights
            if items is None:
                scores = self._scorer.all_items(interaction)[0, 1:].cpu()
            else:
                scores = self._scorer.candidates(interaction, items[None].to(self.config["device"]))[0].cpu()
        # Some of RecBole's models look at a setting only now, and a checkpoint may hold anything there.
        except (TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError, LookupError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{self.config['model']} cannot compute with its settings: {reason}") from error
        if scores.isnan().any():
            raise UserError(f"the scores of {self.config['model']} are no numbers; its weights are out of scale")
        return scores

    def known(self, tokens: Sequence[str]) -> tuple[list[int], list[str]]:
        """Ids of the tokens that the model knows, and the tokens that it does not."""
        ids, unknown = [], []
        for token in map(str, tokens):
            number = self.vocabulary.id_of.get(token)
            if number is None:
                unknown.append(token)
            else:
                ids.append(number)
        return ids, unknown

    @torch.no_grad()
    def recommend(
        self,
        history: Sequence[str],
        k: int = 10,
        candidates: Sequence[str] | None = None,
        exclude_history: bool = False,
    ) -> Recommendations:
        """Rank items for a user of whom nothing is known but the history.

        Parameters
        ----------
        history : sequence of str
            Item tokens as in the training data, oldest first. Only the last ``MAX_ITEM_LIST_LENGTH`` that
            the model knows are read.
        k : int
            How many items to return, at most.
        candidates : sequence of str, optional
            Rank these only; repeats count once. All items, if left out.
        exclude_history : bool
            Leave out what the user has had.

        Returns
        -------
        Recommendations

        Raises
        ------
        UserError
            If ``k`` is no whole number of at least 1, or no known token is left in the history or the candidates.
        """
        if isinstance(history, str) or isinstance(candidates, str):
            raise UserError("history and candidates are lists of tokens, not one string")
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
            raise UserError(f"k is {k!r}; it must be a whole number of at least 1")
        ids, unknown = self.known(history)
        if not ids:
            raise UserError(
                "the history holds no item that the model knows"
                + (f" (unknown: {', '.join(unknown[:5])})" if unknown else "")
            )
        interaction = self.interaction([ids])
        if candidates is None:
            items = None
        else:
            chosen, strange = self.known(candidates)
            unknown += strange
            if not chosen:
                raise UserError("no candidate is an item that the model knows")
            items = torch.tensor(list(dict.fromkeys(chosen)))
        scores = self._scores(interaction, items)
        items = torch.arange(1, self.vocabulary.item_num) if items is None else items
        if exclude_history:
            keep = ~torch.isin(items, torch.tensor(ids))
            items, scores = items[keep], scores[keep]
        unknown = list(dict.fromkeys(unknown))
        if unknown:
            getLogger().warning(f"{len(unknown)} unknown item tokens were left out: {', '.join(unknown[:5])}")
        best = scores.sort(descending=True, stable=True).indices[:k]
        return Recommendations([self.vocabulary.items[i] for i in items[best].tolist()], scores[best].tolist(), unknown)


def load_model(path: str | Path, device: str | torch.device = "cpu", **changed: Any) -> Recommender:
    """Load a checkpoint for use.

    Parameters
    ----------
    path : str or pathlib.Path
        A ``.safetensors`` file that training wrote.
    device : str or torch.device
    **changed
        Settings to override, for example ``use_gcn=False``: the same weights without the correction.

    Returns
    -------
    Recommender

    Raises
    ------
    UserError
        If the file is not usable; the sentence says why.
    """
    return recommender_from(load_checkpoint(path), str(path), device, changed)


def recommender_from(
    checkpoint: Checkpoint, source: str, device: str | torch.device, changed: dict[str, Any] | None = None
) -> Recommender:
    """Make the model of a checkpoint that is already read; ``source`` names it in errors."""
    unread = sorted(set(changed or {}) - set(checkpoint.config))
    if unread:
        raise UserError(f"{source} has no setting {unread[0]!r} that could be changed")
    settings = {**checkpoint.config, **(changed or {})}
    try:
        config = SavedConfig({**settings, "device": torch.device(device)})
    except RuntimeError as error:
        raise UserError(f"there is no device {str(device)!r}: {error}") from None
    _check_settings(Record(settings, source, "config."))
    vocabulary = Vocabulary(config, checkpoint.items, checkpoint.num_users)
    weights = checkpoint.weights.values()
    try:
        with BuildLimit(len(weights), sum(t.nbytes for t in weights)):
            model = build_model(config, vocabulary)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except AttributeError as error:
        raise UserError(
            f"{source}: {config['model']} cannot be loaded without its training data: it asks for {error}"
        ) from error
    load_weights(model, checkpoint.weights, source)
    return Recommender(model, config, vocabulary, checkpoint.metrics)


def _check_settings(settings: Record) -> None:
    """What is read before the model looks at its settings itself."""
    model_class = registry.find_model(settings.text("model"))
    # RecBole's models of other kinds read files that their settings name, some of them pickles.
    if model_class is None or getattr(model_class, "type", None) != ModelType.SEQUENTIAL:
        raise settings.refuse("model", "a sequential model that this installation has")
    settings.whole("MAX_ITEM_LIST_LENGTH", 1, MOST_LENGTH)
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "LIST_SUFFIX", "ITEM_LIST_LENGTH_FIELD"):
        settings.text(key)
