"""What ``freshness`` ranks by where the device's model is frozen and its artifact gets a delta every day."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from recbole_cocorr.correctors import ItemItem, Trust
from recbole_cocorr.correctors.neighbours import DEFAULT_NEIGHBOURS, corrector_of, settings_for, table_of
from recbole_cocorr.correctors.new_items import vectors_of_new
from recbole_cocorr.correctors.recent import RecentClicks
from recbole_cocorr.data.clicks import training_interactions
from recbole_cocorr.data.loaders import EvalLoader
from recbole_cocorr.data.time_cuts import days
from recbole_cocorr.experiments.freshness.snapshot import Device
from recbole_cocorr.training.corrected_lists import DeviceScores, fit_trust
from recbole_cocorr.training.recent_popularity import popularity_weight

# Days in which a click counts for the popularity.
WINDOW = 7.0


class DailyDeltas:
    """The frozen model with the delta of each day: vectors of new items, the neighbour table, a popularity.

    The trust in the table and the weight of the popularity are those of the freeze.

    Parameters
    ----------
    device : Device
    valid : EvalLoader
        The validation items from before the freeze.
    clicks : tuple of three numpy.ndarray
        Users, items and times of all interactions; of those of a day or later nothing is used for the day's delta.
    start : float
        The time of the freeze.
    settings : dict
        Of the item-item weights.
    """

    def __init__(
        self,
        device: Device,
        valid: EvalLoader,
        clicks: tuple[np.ndarray, np.ndarray, np.ndarray],
        start: float,
        settings: dict[str, Any],
    ):
        self.device, self.start = device, start
        self.users, self.items, self.times = clicks
        self.settings = settings_for(DEFAULT_NEIGHBOURS, settings)
        self.day = days(self.times)
        users, items = training_interactions(valid.dataset)
        fitted = ItemItem.fit(users, items, valid.dataset.item_num, **self.settings)
        table = corrector_of(table_of(fitted, DEFAULT_NEIGHBOURS), fitted.decay)
        scores = DeviceScores(device.model)
        self.trust: Trust = fit_trust(scores, valid, table)
        recent = RecentClicks(*valid.dataset.interactions()[1:], WINDOW * self.day)
        self.popularity = popularity_weight(scores, valid, recent, table, self.trust)

    def scores(
        self, histories: Sequence[np.ndarray], candidates: np.ndarray, moments: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores [B, C] of each row's candidates at its moment [B], without the popularity and with it."""
        day = ((moments - self.start) // self.day).astype(np.int64)
        without, with_it = np.zeros(candidates.shape), np.zeros(candidates.shape)
        for number in np.unique(day):
            rows = np.flatnonzero(day == number)
            known = [histories[row] for row in rows]
            without[rows], popular = self._of_day(self.start + number * self.day, known, candidates[rows])
            with_it[rows] = without[rows] + popular
        return without, with_it

    def _of_day(self, now: float, known: list[np.ndarray], candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores with the delta of what happened before ``now``, and what its popularity adds to them."""
        earlier, to_own = self.times < now, self.device.to_own
        items = self.items[earlier]
        # The model's items first, as an artifact has them; then the others.
        order = np.r_[0, 1 + np.argsort(to_own[1:] == 0, kind="stable")]
        own = np.flatnonzero(to_own[order] > 0)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        fitted = ItemItem.fit(self.users[earlier], place[items], len(order), **self.settings, show_progress=False)
        weight = self.device.model.item_embedding.weight.detach().float().cpu().numpy()
        new, vectors = vectors_of_new(fitted.weights, np.concatenate([weight[:1] * 0, weight[to_own[order[own]]]]))
        extended = to_own.copy()
        extended[order[new]] = len(weight) + np.arange(len(new))
        alone = self.device.extended(vectors, extended).scores(known, candidates)
        table = corrector_of(table_of(fitted, DEFAULT_NEIGHBOURS), fitted.decay)
        lengths = np.array([len(h) for h in known], dtype=np.int64)
        fused = self.trust.fuse(alone, table.scores([place[h] for h in known], place[candidates]), lengths)
        moments = np.full(candidates.shape, now)
        recent = RecentClicks(items, self.times[earlier], WINDOW * self.day).before(candidates, moments)
        return fused, np.where(candidates > 0, self.popularity * np.arcsinh(recent), 0.0)
