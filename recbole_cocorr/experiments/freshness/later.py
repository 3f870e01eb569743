"""What is measured, and the interactions after the freeze that are ranked for it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import HISTORY_END, SequenceDataset, create_dataset, touched_pairs
from recbole_cocorr.data.negatives import NegativeSampler, protocol_generator
from recbole_cocorr.experiments.entries import Entry
from recbole_cocorr.training.config import Config

_CANDIDATES = 8  # what the random generator is for; part of its seed


@dataclass(frozen=True)
class Request:
    """What is to be measured, with one seed.

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
        Its settings: ``l2``, ``neighbours``, ``decay`` and ``next_click``.
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
        interval = dict(config["val_interval"] or {})
        if config["TIME_FIELD"] in interval:
            raise UserError(f"val_interval has {config['TIME_FIELD']}, by which freshness cuts the data itself")
        if before is None:
            return config
        interval[config["TIME_FIELD"]] = f"[-inf,{float(before)!r})"
        return Config(self.entry.model, self.dataset, None, fixed, overrides={**overrides, "val_interval": interval})


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
        If the data have another form, or one side of the freeze is empty.
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
