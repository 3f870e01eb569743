"""What corrections recover once the device's model is frozen: later interactions, ranked in the order of time.

The device's model and everything else that is learned sees a snapshot: the interactions before a time, read as if the
file ended there, with the items and users that there were. Each later interaction is ranked with its user's clicks
before it, which the device has read since. An item that the model has no vector for is left out of the device's
history, and a candidate of that kind gets the lowest score that the device gives in its list; the cloud's evidence is
added to that.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import Corrector, ItemItem, Trust
from recbole_cocorr.data.clicks import training_interactions
from recbole_cocorr.data.dataset import HISTORY_END, SequenceDataset, create_dataset, touched_pairs
from recbole_cocorr.data.negatives import NegativeSampler, protocol_generator
from recbole_cocorr.evaluation.ranking import rank_positive
from recbole_cocorr.experiments.daily_deltas import DailyDeltas
from recbole_cocorr.experiments.entries import Entry
from recbole_cocorr.models.scoring import find_scorer
from recbole_cocorr.training.checkpoint import load_checkpoint, load_weights
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.corrected_lists import DeviceScores, fit_trust
from recbole_cocorr.training.prepare import prepare, read_data

NONE, FROZEN, FRESH, RETRAINED = "none", "frozen", "fresh", "retrained"
DELTAS, POPULAR = "deltas", "popular"
_CANDIDATES = 8  # what the random generator is for; part of its seed


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes
    ----------
    entry : Entry
        The device's model.
    dataset : str
    freeze : float
        Quantile of the interactions' times at which the device's model is frozen.
    slices : int
        Parts of the time after it, each with about as many interactions.
    seed : int
    corrector : dict
        ``l2``, ``neighbours``, ``decay``.
    retrain : bool
        Whether to train the device's model anew at the start of each slice.
    settings : dict
        Further settings of the training.
    deltas : bool
        Whether to rank with a delta every day, too.
    """

    entry: Entry
    dataset: str
    freeze: float
    slices: int
    seed: int
    corrector: dict[str, Any]
    retrain: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    deltas: bool = False

    def config(self, folder: Path, before: float | None = None) -> Config:
        """The configuration, of all interactions or of those before a time.

        Raises
        ------
        UserError
            If the settings do not fit.
        """
        overrides = {**self.settings, **self.entry.settings, "protocol": "paper", "seed": self.seed}
        fixed = {"show_progress": False, "save_training_state": False, "checkpoint_dir": str(folder)}
        if before is None:
            # RecBole scales times to 0 .. 1; here they are read as they stand in the file.
            overrides |= {"normalize_all": False, "normalize_field": None}
        config = Config(self.entry.model, self.dataset, None, fixed, overrides=overrides)
        kept = dict(config["val_interval"] or {})
        if config["TIME_FIELD"] in kept:
            raise UserError(f"val_interval has {config['TIME_FIELD']}, by which freshness cuts the data itself")
        if before is None:
            return config
        kept[config["TIME_FIELD"]] = f"[-inf,{float(before)!r})"
        return Config(self.entry.model, self.dataset, None, fixed, overrides={**overrides, "val_interval": kept})


class Later:
    """All interactions, and those that are ranked: from the freeze on, after at least one click of their user.

    Parameters
    ----------
    config : Config
    freeze : float
        Quantile of the times.
    slices : int

    Raises
    ------
    UserError
        If the data are kept in another form, or one side of the freeze is empty.
    """

    def __init__(self, config: Config, freeze: float, slices: int):
        whole = create_dataset(config)
        if type(whole) is not SequenceDataset:
            raise UserError(f"freshness cannot read the dataset class {type(whole).__name__} of {config['model']}")
        if config["eval_args"]["mode"]["test"] == "full":
            raise UserError("freshness ranks among sampled candidates; leave eval_args at the protocol's")
        self.sampler = NegativeSampler(*touched_pairs(whole), whole.user_num, whole.item_num)
        self.name, self.seed = config["dataset"], config["seed"]
        self.negatives = int(config["test_neg_sample_args"]["sample_num"])
        self.dataset = whole.unsplit()
        self.users, self.items, self.times = self.dataset.interactions()
        self.tokens = np.asarray(whole.field2id_token[whole.iid_field]).astype(str)
        self.user_tokens = np.asarray(whole.field2id_token[whole.uid_field]).astype(str)
        self.frozen_at = float(np.quantile(self.times, freeze, method="higher"))
        ends = self.dataset.inter_feat[HISTORY_END].numpy()
        ends = ends[self.times[ends] >= self.frozen_at]
        if not (self.times < self.frozen_at).any() or not len(ends):
            raise UserError(
                f"with freeze {freeze:g} of {self.name} there is nothing to train on, or nothing later to rank; "
                "choose another quantile"
            )
        self.ends = ends[np.argsort(self.times[ends], kind="stable")]
        self.starts = np.searchsorted(self.users, self.users[self.ends])
        edges = np.quantile(self.times[self.ends], np.arange(1, slices) / slices, method="higher")
        self.edges = np.unique(np.r_[self.frozen_at, edges])

    @property
    def n_items(self) -> int:
        """Size of the whole catalogue, padding included."""
        return len(self.tokens)

    def keep(self, known: np.ndarray) -> None:
        """Rank only what comes after a click of its user on a known item, so that the device has a history.

        Parameters
        ----------
        known : numpy.ndarray of bool, shape [n_items]
        """
        before = np.r_[0, np.cumsum(known[self.items])]
        some = before[self.ends] > before[self.starts]
        self.ends, self.starts = self.ends[some], self.starts[some]
        if not len(self.ends):
            raise UserError(f"no later interaction of {self.name} comes after a click on an item known at the freeze")

    def slices(self) -> Iterator[tuple[int, float, np.ndarray]]:
        """Number, start and places in ``ends`` of each slice; the last one ends with the data."""
        of = np.searchsorted(self.edges, self.times[self.ends], side="right") - 1
        for index, start in enumerate(self.edges):
            rows = np.flatnonzero(of == index)
            if len(rows):
                yield index, float(start), rows

    def histories(self, rows: np.ndarray) -> list[np.ndarray]:
        """The user's clicks before each of the interactions, whole."""
        return [self.items[self.starts[r] : self.ends[r]] for r in rows]

    def candidates(self, rows: np.ndarray, index: int) -> np.ndarray:
        """The interaction's own item and the protocol's negatives [rows, 1 + N], 0 where there are too few."""
        generator = protocol_generator(self.name, self.seed, _CANDIDATES, index)
        drawn = self.sampler.sample(self.users[self.ends[rows]], self.negatives, generator)
        return np.concatenate([self.items[self.ends[rows], None], drawn], axis=1).astype(np.int64)


class Snapshot:
    """The data before a time, as a training run would read them then.

    Parameters
    ----------
    request : Request
    folder : pathlib.Path
        For the model's file.
    before : float
    tokens : numpy.ndarray of str, shape [n_items]
        Items of the whole data, by their numbers there.
    """

    def __init__(self, request: Request, folder: Path, before: float, tokens: np.ndarray):
        self.request, self.folder, self.before = request, folder, before
        self.config = request.config(folder, before)
        init_seed(self.config["seed"], self.config["reproducibility"])
        try:
            self.data = read_data(self.config)
        except UserError as error:
            raise UserError(f"the interactions before the time {before:.12g}: {error}") from None
        self.train, self.valid, self.test = self.data.train, self.data.valid, self.data.test
        own = np.asarray(self.data.dataset.field2id_token[self.data.dataset.iid_field]).astype(str)
        number = {token: i for i, token in enumerate(own.tolist())}
        # Padding is 0 in both; an item of later times is 0 here.
        self.to_own = np.array([number.get(t, 0) if i else 0 for i, t in enumerate(tokens.tolist())], dtype=np.int64)
        self.from_own = np.zeros(len(own), dtype=np.int64)
        self.from_own[self.to_own[1:]] = np.arange(1, len(tokens))
        self.from_own[0] = 0

    def item_item(self) -> ItemItem:
        """The corrector of all these interactions, over the items of the whole data."""
        users, items, _ = self.train.dataset.interactions()
        kept = self.from_own[items] > 0  # an item may be left out of the whole data by its filters
        return ItemItem.fit(users[kept], self.from_own[items[kept]], len(self.to_own), **self.request.corrector)

    def device(self, name: str) -> "Device":
        """Train the device's model on the snapshot's training rows, and keep its best epoch."""
        config = self.config
        prepared = prepare(config, self.data)
        model, trainer = prepared.model, prepared.trainer
        trainer.saved_model_file = str(self.folder / f"{name}.safetensors")
        trainer.fit(self.train, self.valid, verbose=False, saved=True)
        trainer.tensorboard.close()
        load_weights(model, load_checkpoint(trainer.saved_model_file).weights, trainer.saved_model_file)
        model.eval()
        return Device(model, self.to_own, config["MAX_ITEM_LIST_LENGTH"], config["eval_batch_size"])

    def trust(self, device: "Device") -> Trust:
        """The trust, learned on the snapshot's validation items with a corrector that has not seen them."""
        users, items = training_interactions(self.valid.dataset)
        corrector = ItemItem.fit(users, items, self.valid.dataset.item_num, **self.request.corrector)
        return fit_trust(DeviceScores(device.model), self.valid, corrector)


class Device:
    """A trained model among items some of which it has no vector for.

    Parameters
    ----------
    model : SequentialRecommender
        In evaluation mode.
    to_own : numpy.ndarray of int64, shape [n_items]
        The model's number of each item of the whole data; 0 where it has none.
    length : int
        Clicks that it reads.
    batch : int
        Rows at once.
    """

    def __init__(self, model, to_own: np.ndarray, length: int, batch: int):
        self.model, self.to_own, self.length, self.batch = model, to_own, length, batch
        self._scorer = None

    @torch.no_grad()
    def scores(self, histories: Sequence[np.ndarray], candidates: np.ndarray) -> np.ndarray:
        """Scores of each row's candidates.

        Parameters
        ----------
        histories : sequence of numpy.ndarray of int
            Oldest first; the last ``length`` that the model knows are read, one at least.
        candidates : numpy.ndarray of int64, shape [B, C]
            0 where there is none.

        Returns
        -------
        numpy.ndarray of float64, shape [B, C]
            An item without a vector has the lowest score of its row.

        Raises
        ------
        UserError
            If the model reads more than the clicks.
        """
        clicks = np.zeros((len(histories), self.length), dtype=np.int64)
        count = np.zeros(len(histories), dtype=np.int64)
        for row, history in enumerate(histories):
            own = self.to_own[history]
            own = own[own > 0][-self.length :]
            clicks[row, : len(own)], count[row] = own, len(own)
        items = self.to_own[candidates]
        found = []
        for part in torch.arange(len(clicks)).split(self.batch):
            rows = part.numpy()
            found.append(self._scores(clicks[rows], count[rows], items[rows]))
        scores = np.concatenate(found)
        known = items > 0
        lowest = np.where(known, scores, np.inf).min(axis=1, keepdims=True)
        return np.where(known, scores, np.where(np.isfinite(lowest), lowest, 0.0))

    def extended(self, vectors: np.ndarray, to_own: np.ndarray) -> "Device":
        """The same model with the vectors [m, d] of further items behind its own."""
        model = copy.deepcopy(self.model)
        weight = model.item_embedding.weight.detach()
        further = torch.from_numpy(vectors).to(weight)
        model.item_embedding = torch.nn.Embedding.from_pretrained(torch.cat([weight, further]), padding_idx=0)
        model.n_items = len(weight) + len(further)
        return Device(model, to_own, self.length, self.batch)

    def _scores(self, clicks: np.ndarray, count: np.ndarray, items: np.ndarray) -> np.ndarray:
        where = next(self.model.parameters()).device
        columns = {
            self.model.ITEM_SEQ: torch.from_numpy(clicks),
            self.model.ITEM_SEQ_LEN: torch.from_numpy(count),
            self.model.ITEM_ID: torch.from_numpy(items[:, 0]),
        }
        interaction = Interaction(columns).to(where)
        try:
            if self._scorer is None:
                self._scorer = find_scorer(self.model, interaction[:8])
                self._scorer.prepare()
            return self._scorer.candidates(interaction, torch.from_numpy(items).to(where)).double().cpu().numpy()
        except KeyError as error:
            raise UserError(
                f"{type(self.model).__name__} reads {error} beside the clicks; freshness ranks with the clicks alone"
            ) from None


@dataclass(frozen=True)
class Slice:
    """What was ranked in one slice of time.

    Attributes
    ----------
    index : int
    start, end : float
        Times of its start and of its last interaction.
    users : numpy.ndarray of str, shape [rows]
        Token of each ranked interaction's user.
    new : numpy.ndarray of bool, shape [rows]
        Whether the item was first seen after the freeze.
    new_user : numpy.ndarray of bool, shape [rows]
        Whether the user was.
    tables : dict of str to numpy.ndarray of int, shape [rows, 3]
        Ranks by variant.
    """

    index: int
    start: float
    end: float
    users: np.ndarray
    new: np.ndarray
    new_user: np.ndarray
    tables: dict[str, np.ndarray]


@dataclass(frozen=True)
class Measured:
    """One seed's measurement.

    Attributes
    ----------
    seed : int
    frozen_at : float
    learned : int
        Interactions before the freeze.
    trust : Trust
    slices : list of Slice
    """

    seed: int
    frozen_at: float
    learned: int
    trust: Trust
    slices: list[Slice]


def fused(trust: Trust, device: np.ndarray, corrector: Corrector, known: list[np.ndarray], candidates: np.ndarray):
    """The device's scores [B, C] with the cloud's evidence from the clicks ``known``."""
    clicks = np.array([len(h) for h in known], dtype=np.int64)
    return trust.fuse(device, corrector.scores(known, candidates), clicks)


def measure(request: Request, folder: Path, say: Callable[[str], None] = print) -> Measured:
    """Train, freeze, and rank what came later.

    Parameters
    ----------
    request : Request
    folder : pathlib.Path
        Where the models' files are written.
    say : callable

    Raises
    ------
    UserError
        For anything the user can mend.
    """
    folder.mkdir(parents=True, exist_ok=True)
    later = Later(request.config(folder), request.freeze, request.slices)
    frozen = Snapshot(request, folder, later.frozen_at, later.tokens)
    later.keep(frozen.to_own > 0)
    say(f"seed {request.seed}: training on the interactions before the freeze")
    device = frozen.device(f"seed{request.seed}.frozen")
    trust, corrector = frozen.trust(device), frozen.item_item()
    deltas = None
    if request.deltas:
        clicks = later.users, later.items, later.times
        deltas = DailyDeltas(device, frozen.valid, clicks, later.frozen_at, request.corrector)
        say(f"seed {request.seed}: weight of the popularity {deltas.popularity:.3f}")
    slices = []
    for index, start, rows in later.slices():
        now = frozen if start == later.frozen_at else Snapshot(request, folder, start, later.tokens)
        known, candidates = later.histories(rows), later.candidates(rows, index)
        alone = device.scores(known, candidates)
        scores = {
            NONE: alone,
            FROZEN: fused(trust, alone, corrector, known, candidates),
            FRESH: fused(trust, alone, corrector if now is frozen else now.item_item(), known, candidates),
        }
        if deltas is not None:
            moments = later.times[later.ends[rows]]
            scores[DELTAS], scores[POPULAR] = deltas.scores(known, candidates, moments)
        if request.retrain:
            anew = device
            if now is not frozen:
                say(f"seed {request.seed}: training anew for slice {index + 1}")
                anew = now.device(f"seed{request.seed}.slice{index + 1}")
            scores[RETRAINED] = anew.scores(known, candidates)
        real = torch.from_numpy(candidates[:, 1:] > 0)
        try:
            tables = {name: rank_positive(torch.from_numpy(s), real).numpy() for name, s in scores.items()}
        except ValueError as error:
            raise UserError(f"slice {index + 1} cannot be ranked: {error}") from None
        ends = later.ends[rows]
        slices.append(
            Slice(
                index,
                start,
                float(later.times[ends].max()),
                later.user_tokens[later.users[ends]],
                frozen.to_own[later.items[ends]] == 0,
                later.times[later.starts[rows]] >= later.frozen_at,
                tables,
            )
        )
        say(f"seed {request.seed}: slice {index + 1}, {len(rows):,} interactions ranked")
    return Measured(request.seed, later.frozen_at, int((later.times < later.frozen_at).sum()), trust, slices)
