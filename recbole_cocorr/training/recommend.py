"""A trained model, ready to recommend to a new user from raw item tokens.

Needs the checkpoint alone: neither the training data nor the property files.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import ModelType
from torch import nn

from recbole_cocorr.artifact.checkpoint_file import MOST_LENGTH
from recbole_cocorr.base.checkpoints import checkpoint_file
from recbole_cocorr.base.checks import shown, tokens_of
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record
from recbole_cocorr.data import frames
from recbole_cocorr.models import registry
from recbole_cocorr.models.build_limit import BuildLimit
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.scoring import DotProductScorer, find_scorer
from recbole_cocorr.training.checkpoint import Checkpoint, load_checkpoint, load_weights
from recbole_cocorr.training.recommendations import Recommendations, check_k, greatest, reported
from recbole_cocorr.training.vocabulary import SavedConfig, Vocabulary

if TYPE_CHECKING:
    from recbole_cocorr.training.explain import Explanation


if hasattr(os, "register_at_fork"):
    # A forked child lacks the threads that torch computes with, and would wait for them for ever.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

# Histories that are encoded at once.
_ROWS = 512
# Rows on which a model's scorer is found out.
_PROBE_ROWS = 8


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
    clicks : torch.Tensor of int64 or None
        How often each item was clicked in training, by item id.
    source : str
        What errors call it.
    """

    def __init__(
        self,
        model: nn.Module,
        config: SavedConfig,
        vocabulary: Vocabulary,
        metrics: dict[str, float],
        clicks: torch.Tensor | None = None,
        source: str = "the model",
    ):
        self.model, self.config, self.vocabulary, self.metrics = model.eval(), config, vocabulary, metrics
        self.clicks, self.source = clicks, source
        self._scorer: Any = None
        self._prepared_for: list[tuple[int, int]] | None = None

    @classmethod
    def load(cls, path: str | os.PathLike, device: str | torch.device = "cpu", **changed: Any) -> "Recommender":
        """Load a checkpoint; the same as :func:`load_model`."""
        return load_model(path, device, **changed)

    def data(self, data_path: str | None = None) -> Any:
        """The data that the model was trained on: ``.dataset``, ``.train``, ``.valid`` and ``.test``.

        Parameters
        ----------
        data_path : str, optional
            The folder that holds ``NAME/NAME.inter``; where training read it, if left out.

        Raises
        ------
        UserError
            If the data are not there, or are others.
        """
        from recbole_cocorr.training.data_of import data_of

        return data_of(self.config, self.vocabulary.items, self.source, data_path)

    def interaction(self, histories: Sequence[Sequence[int]]) -> Interaction:
        """Item ids as the model reads them: the last L of each history, padding at the end."""
        length = self.config["MAX_ITEM_LIST_LENGTH"]
        recent = [history[-length:] for history in histories]
        lengths = np.array([len(row) for row in recent], dtype=np.int64)
        item_seq = np.zeros((len(recent), length), dtype=np.int64)
        item_seq[np.arange(length) < lengths[:, None]] = [item for row in recent for item in row]
        model = self.model
        columns = {
            model.ITEM_SEQ: torch.from_numpy(item_seq),
            model.ITEM_SEQ_LEN: torch.from_numpy(lengths),
            model.USER_ID: torch.zeros(len(recent), dtype=torch.int64),
        }
        return Interaction(columns).to(self.config["device"])

    # -- scores ----------------------------------------------------------------------------------

    def _ready(self, interaction: Interaction) -> Any:
        """The scorer, with item vectors of the weights as they are now."""
        if self._scorer is None:
            self._scorer = find_scorer(self.model, interaction[:_PROBE_ROWS])
        # The vectors of the whole catalogue are made anew only where a weight has changed.
        weights = [(id(w), w._version) for w in (*self.model.parameters(), *self.model.buffers())]
        if weights != self._prepared_for:
            self._scorer.prepare()
            self._prepared_for = weights
        return self._scorer

    @contextmanager
    def _computing(self) -> Iterator[None]:
        # Some of RecBole's models look at a setting only now, and a checkpoint may hold anything there.
        try:
            with torch.no_grad():
                yield
        except (TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError, LookupError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{self.config['model']} cannot compute with its settings: {reason}") from error

    def _checked(self, scores: torch.Tensor) -> torch.Tensor:
        if scores.isnan().any():
            raise UserError(f"the scores of {self.config['model']} are no numbers; its weights are out of scale")
        return scores

    def item_scores(self, histories: Sequence[Sequence[int]], items: Sequence[int]) -> torch.Tensor:
        """Scores [B, C] of some items after each history; all are ids, and no history is empty."""
        interaction = self.interaction(histories)
        columns = torch.tensor(items, device=self.config["device"]).expand(len(histories), -1)
        with self._computing():
            return self._checked(self._ready(interaction).candidates(interaction, columns).cpu())

    def _best(
        self, histories: Sequence[list[int]], k: int, leave_out: Sequence[list[int]] | None = None
    ) -> Iterator[tuple[list[str], list[float]]]:
        """The best items of the catalogue after each history, and their scores; no history is empty."""
        for start in range(0, len(histories), _ROWS):
            rows = histories[start : start + _ROWS]
            answers: list[tuple[list[int], list[float]]] = []
            with self._computing():
                interaction = self.interaction(rows)
                for part, scores in self._ready(interaction).in_blocks(interaction):
                    out = None if leave_out is None else leave_out[start:][part]
                    answers += greatest(self._checked(scores[:, 1:].cpu()), k, out)
            for ids, scores in answers:
                yield [self.vocabulary.items[i + 1] for i in ids], scores

    def _popular(self, k: int, candidates: Sequence[int] | None = None) -> tuple[list[str], list[float]]:
        """What everybody clicked most in training."""
        if self.clicks is None:
            raise UserError(
                f"the history holds no item that the model knows, and {self.source} does not say what is popular; "
                "train the model again, which keeps it"
            )
        ids = torch.arange(1, self.vocabulary.item_num) if candidates is None else torch.tensor(candidates)
        ((best, clicks),) = greatest(self.clicks[ids][None], k, None)
        return [self.vocabulary.items[i] for i in ids[best].tolist()], list(map(float, clicks))

    # -- tokens ----------------------------------------------------------------------------------

    def known(self, tokens: Iterable[str], name: str = "history") -> tuple[list[int], list[str]]:
        """Ids of the tokens that the model knows, and the tokens that it does not.

        Raises
        ------
        UserError
            If they are no list; ``name`` says what they are.
        """
        if frames.is_frame(tokens):
            raise UserError(f"{name} is a list of tokens, not a DataFrame; recommend_many takes one")
        ids, unknown = [], []
        id_of = self.vocabulary.id_of
        for token in tokens_of(tokens, name):
            number = id_of.get(token)
            if number is None:
                unknown.append(token)
            else:
                ids.append(number)
        return ids, unknown

    def known_item(self, token: str) -> int:
        """The id of one item.

        Raises
        ------
        UserError
            If the model never saw it.
        """
        number = self.vocabulary.id_of.get(str(token))
        if number is None:
            raise UserError(f"the model does not know the item {str(token)!r}")
        return number

    # -- what people call ------------------------------------------------------------------------

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
            the model knows are read. Where it knows none of them, or the history is empty, the answer is what was
            clicked most in training, and its ``source`` says "popularity".
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
            If ``k`` is no whole number of at least 1, or no known token is left in the candidates.
        """
        check_k(k)
        ids, unknown = self.known(history)
        if candidates is None:
            return self._ranked([(ids, unknown)], k, exclude_history)[0]
        chosen, strange = self.known(candidates, "candidates")
        unknown += strange
        if not chosen:
            raise UserError("no candidate is an item that the model knows")
        chosen = list(dict.fromkeys(chosen))
        if exclude_history:
            had = set(ids)
            chosen = [item for item in chosen if item not in had]
        if not ids:
            items, scores = self._popular(k, chosen)
        elif chosen:
            ((best, scores),) = greatest(self.item_scores([ids], chosen), k, None)
            items = [self.vocabulary.items[chosen[i]] for i in best]
        else:
            items, scores = [], []
        return Recommendations(items, scores, reported(unknown), "model" if ids else "popularity")

    def recommend_many(self, histories: Any, k: int = 10, exclude_history: bool = False) -> Any:
        """Rank the items for many users at once: for each what :meth:`recommend` answers, and much faster.

        Parameters
        ----------
        histories : sequence of sequence of str, or pandas.DataFrame
            A history for each user, which may be empty. A DataFrame has the columns ``user`` and ``item`` and perhaps
            ``timestamp`` (or ``user_id``, ``item_id`` and ``time``), a row for each click, in any order if there are
            times, otherwise oldest first; a user without clicks has one row whose item is missing.
        k : int
            How many items to return for each, at most.
        exclude_history : bool
            Leave out what each user has had.

        Returns
        -------
        list of Recommendations, or pandas.DataFrame
            In the order of the histories. For a DataFrame a DataFrame: the columns of user and item under their names
            and with their types, ``rank`` from 1, ``score`` and ``source``; users in the order of their first rows.

        Raises
        ------
        UserError
            If ``k`` is no whole number of at least 1, or the table cannot be read; for a table also if none of its
            items is known.
        """
        check_k(k)
        if frames.is_frame(histories):
            table = frames.histories_of(histories)
            return frames.answers_frame(table, self.for_users(table.histories, k, exclude_history))
        if not isinstance(histories, Iterable):
            raise UserError(f"histories is {shown(histories)}; it must be a list of lists of tokens, or a DataFrame")
        return self._ranked([self.known(history, "each of the histories") for history in histories], k, exclude_history)

    def _ranked(self, known: list[tuple[list[int], list[str]]], k: int, exclude_history: bool) -> list[Recommendations]:
        """What :meth:`known` says of each history, answered."""
        reported([token for _, unknown in known for token in unknown])
        rows = [ids for ids, _ in known if ids]
        answers = self._best(rows, k, rows if exclude_history else None)
        popular = self._popular(k) if len(rows) < len(known) else ([], [])
        result = []
        for ids, unknown in known:
            items, scores = next(answers) if ids else map(list, popular)
            source = "model" if ids else "popularity"
            result.append(Recommendations(items, scores, list(dict.fromkeys(unknown)), source))
        return result

    def for_users(
        self, histories: Sequence[Sequence[str]], k: int = 10, exclude_history: bool = False
    ) -> list[Recommendations]:
        """As :meth:`recommend_many`, for a whole table of users: that it fits none of them is an error.

        Raises
        ------
        UserError
            If there are clicks and the model knows none of their items: they are rather of another catalogue.
        """
        some = next((token for history in histories for token in history), None)
        if some is not None and not any(str(token) in self.vocabulary.id_of for h in histories for token in h):
            raise UserError(f"the model knows none of these items, for example {some!r}; it was trained on other ones")
        return self.recommend_many(histories, k, exclude_history)

    def similar_items(self, item: str, k: int = 10) -> Recommendations:
        """The items that the model takes for most alike.

        Parameters
        ----------
        item : str
            A token of the training data.
        k : int

        Returns
        -------
        Recommendations
            Where the model has a vector for each item, by the cosine of the angle between them (``source`` "item
            vectors", scores from -1 to 1). Otherwise what the model recommends after a click on this item alone ("one
            click"). The item itself is left out.

        Raises
        ------
        UserError
            If the model does not know the item, or ``k`` is no whole number of at least 1.
        """
        check_k(k)
        number = self.known_item(item)
        with self._computing():
            scorer = self._ready(self.interaction([[number]]))
            vectors = scorer.item_vectors() if isinstance(scorer, DotProductScorer) else None
            if vectors is not None:
                vectors = torch.nn.functional.normalize(vectors[: self.vocabulary.item_num].float(), dim=1)
                scores = self._checked((vectors[1:] @ vectors[number])[None].cpu())
                ((best, scores),) = greatest(scores, k, [[number]])
                return Recommendations([self.vocabulary.items[i + 1] for i in best], scores, [], "item vectors")
        ((items, scores),) = self._best([[number]], k, [[number]])
        return Recommendations(items, scores, [], "one click")

    def explain(self, history: Sequence[str], item: str, corrector: str | os.PathLike | None = None) -> "Explanation":
        """Which clicks speak for an item; see :func:`recbole_cocorr.training.explain.explain`."""
        from recbole_cocorr.training.explain import explain

        return explain(self, history, item, corrector)


def load_model(path: str | os.PathLike, device: str | torch.device = "cpu", **changed: Any) -> Recommender:
    """Load a checkpoint for use.

    Parameters
    ----------
    path : str or os.PathLike
        A ``.safetensors`` file that training wrote, or ``latest``: the newest one in ``saved/``.
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
    path = checkpoint_file(path)
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
    return Recommender(model, config, vocabulary, checkpoint.metrics, checkpoint.clicks, source)


def _check_settings(settings: Record) -> None:
    """What is read before the model looks at its settings itself."""
    model_class = registry.find_model(settings.text("model"))
    # RecBole's models of other kinds read files that their settings name, some of them pickles.
    if model_class is None or getattr(model_class, "type", None) != ModelType.SEQUENTIAL:
        raise settings.refuse("model", "a sequential model that this installation has")
    settings.whole("MAX_ITEM_LIST_LENGTH", 1, MOST_LENGTH)
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "LIST_SUFFIX", "ITEM_LIST_LENGTH_FIELD"):
        settings.text(key)
