"""The protocol by time: one moment ends training for everybody, another one ends validation.

What training sees is what there was before the first cut, its vocabulary included: items and users that came later
have no number of their own. A later click on such an item has item 0 as its target, which ranks below all
candidates, and stands in no history; a row of such a user shows the model user 0.
"""

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from logging import getLogger
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.time_cuts import Moments, check_real_times, share_of_interactions, share_of_span
from recbole_cocorr.data.time_order import take_rows

# The entry of `eval_args: split` that asks for it.
CUT = "CUT"
CUTS = ("valid_from", "test_from")
# Filters that count interactions of all times, or let a later one drop an earlier one.
_LOOK_AHEAD = ("user_inter_num_interval", "item_inter_num_interval")


class _Written(Sequence):
    """The times behind sorted order keys: float64 as they are, or the written ones where float64 has rounded."""

    def __init__(self, keys: np.ndarray, exact: list[Decimal] | None):
        self._keys, self._exact = keys, exact

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, place: int) -> Decimal:
        key = self._keys[place]
        return Decimal(repr(float(key))) if self._exact is None else self._exact[key]


class CutByTime:
    """Goes before :class:`~recbole_cocorr.data.dataset.SequenceDataset` where ``eval_args`` splits by ``CUT``.

    Attributes
    ----------
    all_user_tokens : numpy.ndarray of str
        Tokens of users by number, also of those that training never saw.
    cut : dict
        What the cuts found: dates, and how many interactions, users, items and targets there are on each side. For
        logs and records; complete once the dataset is built.

    Raises
    ------
    UserError
        If the times are positions, the cuts are in the wrong order, or one side of the first is empty.
    """

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        super()._load_inter_feat(token, dataset_path)
        self._check_time_column()
        self._exact = None
        if self._order is not self._times:
            _, first = np.unique(self._order, return_index=True)
            texts = [text for part in self._written_times(token, dataset_path) for text in part]
            self._exact = [Decimal(texts[row]) for row in first]

    def _reset_index(self) -> None:
        super()._reset_index()
        name, config = self.dataset_name, self.config
        for key in (*CUTS, "share_of", "targets_per_user", "new_item_targets"):
            if config[key] is None:
                raise UserError(f"eval_args splits by {CUT}, and {key} is not set; --protocol=time sets it")
        check_real_times(pd.factorize(self.inter_feat[self.uid_field])[0], self._order, f"a split of {name!r} by time")
        for key in _LOOK_AHEAD:
            if str(config[key]).replace(" ", "") not in ("None", "[0,inf)"):
                getLogger().warning(f"{key} counts the interactions after the cuts too; leave it out, or say so")
        if config["rm_dup_inter"] == "last":
            getLogger().warning("rm_dup_inter=last drops interactions for later ones, also for those after the cuts")
        if len(config["alias_of_item_id"] or ()):
            raise UserError("alias_of_item_id cannot be used with a split by time; leave those columns out")
        keys, counts = np.unique(self._order, return_counts=True)
        moments = Moments(_Written(keys, self._exact))
        spans = {
            "interactions": partial(share_of_interactions, moments, counts),
            "span": partial(share_of_span, moments),
        }
        cuts = [moments.at(key, config[key], spans[config["share_of"]]) for key in CUTS]
        whole = f"{name!r} goes from {moments.text(moments.times[0])} to {moments.text(moments.times[-1])}"
        texts = dict(zip(CUTS, map(moments.text, cuts), strict=True))
        if not cuts[0] < cuts[1]:
            raise UserError(
                f"valid_from ({texts['valid_from']}) must lie before test_from ({texts['test_from']}); {whole}"
            )
        places = [moments.place(cut) for cut in cuts]
        for key, place in zip(CUTS, places, strict=True):
            if not 0 < place < len(keys):
                where = "before" if place == 0 else "from then on"
                raise UserError(f"{key} is {texts[key]}, and there is no interaction {where}; {whole}")
        self._cut_keys = keys[places]
        ends = {"first": moments.text(moments.times[0]), "last": moments.text(moments.times[-1])}
        self.cut: dict[str, Any] = {**texts, **ends}
        # Users and items are numbered in the order of the rows: those that training knows come first.
        order = np.argsort(self._phase(self._order) > 0, kind="stable")
        self.inter_feat = self.inter_feat.iloc[order].reset_index(drop=True)
        self._times, self._order = self._times[order], self._order[order]

    def _phase(self, order: np.ndarray) -> np.ndarray:
        """0 before the first cut, 1 between the two, 2 from the second on."""
        return (order[:, None] >= self._cut_keys).sum(axis=1)

    def _remap_ID_all(self) -> None:
        super()._remap_ID_all()
        early = int((self._phase(self._order) == 0).sum())
        self.all_user_tokens = self.field2id_token[self.uid_field]
        for field, feat in ((self.uid_field, self.user_feat), (self.iid_field, self.item_feat)):
            self._keep_first(field, feat, int(self.inter_feat[field].iloc[:early].max()) + 1)
        items = self.inter_feat[self.iid_field]
        self.inter_feat[self.iid_field] = items.where(items < self.item_num, 0)

    def known_interactions(self) -> tuple[np.ndarray, np.ndarray]:
        """Users and items of the interactions before the first cut; before the dataset is built."""
        early = self._phase(self._order) == 0
        return tuple(self.inter_feat[field].to_numpy()[early] for field in (self.uid_field, self.iid_field))

    def data_augmentation(self) -> None:
        """Make a row of each interaction with a click on a known item before it; histories hold known items alone."""
        self._aug_presets()
        whole = self.inter_feat
        users, known = whole[self.uid_field].numpy(), whole[self.iid_field].numpy() > 0
        before = np.cumsum(known) - known
        first = np.searchsorted(users, users)
        length = before - before[first]
        self._sequences = take_rows(whole, torch.from_numpy(known))
        self._targets, self._known = np.flatnonzero(length > 0), known
        self._owners, self._has_history = users, length > 0
        self.inter_feat = take_rows(whole, torch.from_numpy(self._targets))
        self._give_histories(length[self._targets], before[self._targets])

    def build(self) -> list:
        """Training rows: targets before the first cut. Validation and test rows: each user's last target, or every one.

        Returns
        -------
        list of this class
            They share the interactions and hold their own rows.
        """
        self._change_feat_format()
        phases = self._phase(self._order)
        parts = [np.flatnonzero(phases[self._targets] == 0)]
        self.cut["training"] = {
            "interactions": int((phases == 0).sum()),
            "rows": len(parts[0]),
            "users": self.user_num - 1,
            "items": self.item_num - 1,
        }
        for phase, name in ((1, "valid"), (2, "test")):
            rows, self.cut[name] = self._held_out(np.flatnonzero(phases == phase))
            parts.append(rows)
        self._drop_unused_col()
        self._times, self._order = self._times[self._known], self._order[self._known]
        self._for_training = self._phase(self._order) == 0
        getLogger().info(self.cut_text())
        return [self.copy(take_rows(self.inter_feat, torch.from_numpy(rows))) for rows in parts]

    def _held_out(self, chosen: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        """Rows of the targets among some interactions, and what there is to count."""
        counts = {"interactions": len(chosen)}
        users = self._owners
        if self.config["targets_per_user"] == "last" and len(chosen):
            chosen = chosen[np.r_[users[chosen][1:] != users[chosen][:-1], True]]
        ranked = self._has_history[chosen]
        chosen = chosen[ranked]
        rows = np.searchsorted(self._targets, chosen)
        new = ~self._known[chosen]
        counts |= {
            "targets": len(rows),
            "of_new_items": int(new.sum()),
            "of_new_users": int((users[chosen] >= self.user_num).sum()),
            "without_history": int((~ranked).sum()),
        }
        return rows[~new] if self.config["new_item_targets"] == "leave_out" else rows, counts

    def with_histories(self, rows: Interaction) -> Interaction:
        """As of the class behind; a user that training never saw has the number 0."""
        rows = super().with_histories(rows)
        users = rows[self.uid_field]
        rows.update(Interaction({self.uid_field: users * (users < self.user_num)}))
        return rows

    def cut_text(self) -> str:
        """What the cuts found, for people."""
        cut, known = self.cut, self.cut["training"]
        targets = {"last": "the last click of each user", "every": "every click"}[self.config["targets_per_user"]]
        miss = "left out" if self.config["new_item_targets"] == "leave_out" else "in the metrics, as misses"
        lines = [
            f"split by time: {cut['first']} | validation from {cut['valid_from']} | test from {cut['test_from']} | "
            f"{cut['last']}",
            f"training: {known['interactions']:,} interactions, {known['users']:,} users, {known['items']:,} items",
        ]
        lines += [
            f"{name}: {part['interactions']:,} interactions; ranked is {targets}: {part['targets']:,} "
            f"targets, {part['of_new_users']:,} of users that training never saw (ranked by their later clicks), "
            f"{part['of_new_items']:,} of items that it never saw ({miss}); not ranked, since no click on a known item "
            f"comes before them: {part['without_history']:,}"
            for name, part in (("validation", cut["valid"]), ("test", cut["test"]))
        ]
        return "\n".join(lines)
