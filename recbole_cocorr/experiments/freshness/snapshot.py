"""The data before a time, and what is learned from them: the device's model, its trust and the corrector."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import ItemItem, Trust
from recbole_cocorr.data.clicks import training_interactions
from recbole_cocorr.experiments.freshness.later import Request
from recbole_cocorr.models.scoring import find_scorer
from recbole_cocorr.training.checkpoint import load_checkpoint, load_weights
from recbole_cocorr.training.corrected_lists import DeviceScores, fit_trust
from recbole_cocorr.training.prepare import prepare, read_data


class Device:
    """A trained model among items some of which it has no vector for.

    Parameters
    ----------
    model : SequentialRecommender
        In evaluation mode.
    to_own : numpy.ndarray of int64, shape [n_items]
        The model's number of each item of the whole data; 0 where it does not know the item.
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
            0 where there are too few.

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
        batches = (rows.numpy() for rows in torch.arange(len(clicks)).split(self.batch))
        scores = np.concatenate([self._scores(clicks[rows], count[rows], items[rows]) for rows in batches])
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


class Snapshot:
    """The data before a time, as a training run would read them then.

    Parameters
    ----------
    request : Request
    folder : pathlib.Path
        Where the model's file is written.
    before : float
    tokens : numpy.ndarray of str, shape [n_items]
        Items of the whole data, by their numbers there.
    """

    def __init__(self, request: Request, folder: Path, before: float, tokens: np.ndarray):
        self.request, self.folder = request, folder
        self.config = request.config(folder, before)
        init_seed(self.config["seed"], self.config["reproducibility"])
        try:
            self.data = read_data(self.config)
        except UserError as error:
            raise UserError(f"the interactions before the time {before:.12g}: {error}") from None
        self.train, self.valid = self.data.train, self.data.valid
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
        known = self.from_own[items] > 0  # an item may be left out of the whole data by its filters
        return ItemItem.fit(users[known], self.from_own[items[known]], len(self.to_own), **self.request.corrector)

    def device(self, name: str) -> Device:
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

    def trust(self, device: Device) -> Trust:
        """The trust, learned on the snapshot's validation items with a corrector that has not seen them."""
        users, items = training_interactions(self.valid.dataset)
        corrector = ItemItem.fit(users, items, self.valid.dataset.item_num, **self.request.corrector)
        return fit_trust(DeviceScores(device.model), self.valid, corrector)
