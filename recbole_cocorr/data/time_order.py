"""The order in which interactions happened, as the file writes their times.

RecBole keeps times as float32, in which clicks of today's epoch seconds that lie up to 64 s apart are equal, and
scales them or puts them into buckets where its settings ask for it. Nothing here is ordered or cut by that column.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.splits import split_rows

# Numbers of at most so many digits are told apart by float64.
_DIGITS = 15

_ROWS = 1 << 20  # of the file that are read as text at once


def take_rows(interaction: Interaction, rows: torch.Tensor) -> Interaction:
    """Some rows of an interaction; RecBole's own indexing makes a Python list of the numbers first."""
    return Interaction({k: v[rows] for k, v in interaction.interaction.items()})


def order_keys(times: np.ndarray, texts: Callable[[], Iterable[Sequence[str]]]) -> np.ndarray:
    """Numbers that compare as the written times do.

    Parameters
    ----------
    times : numpy.ndarray of float64, shape [N]
        As parsed.
    texts : callable
        Gives the same times as they are written, part by part.

    Returns
    -------
    numpy.ndarray, shape [N]
        The times themselves, or their ranks (int64) where float64 has rounded one of them (nanoseconds since 1970,
        small fractions of a second).
    """
    if not any(len(text) > _DIGITS for part in texts() for text in part):
        return times
    written = (Decimal(text) for part in texts() for text in part)
    rest = np.array([float(exact - Decimal(time)) for exact, time in zip(written, times.tolist(), strict=True)])
    if not rest.any():
        return times
    # Rounding keeps the order, so what it took away decides only among equals.
    order = np.lexsort((rest, times))
    step = (np.diff(times[order]) != 0) | (np.diff(rest[order]) != 0)
    keys = np.empty(len(times), dtype=np.int64)
    keys[order] = np.r_[0, np.cumsum(step)]
    return keys


class TimeOrder:
    """Goes before one of RecBole's sequential dataset classes, and orders and splits its rows by the written times.

    Interactions of a user with the same time keep the order of the file; rows of different users with the same
    time stand in the order of the users' numbers, as RecBole has them.
    """

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        super()._load_inter_feat(token, dataset_path)
        if self.time_field in self.inter_feat:
            self._times = self.inter_feat[self.time_field].to_numpy().copy()
            self._order = order_keys(self._times, lambda: self._written_times(token, dataset_path))

    def _written_times(self, token: str, dataset_path: str) -> Iterator[Sequence[str]]:
        column = f"{self.time_field}:{self.field2type[self.time_field].value}"
        separator = self.config["field_separator"]
        chunks = pd.read_csv(
            f"{dataset_path}/{token}.inter",
            delimiter=separator,
            usecols=[column],
            dtype=str,
            encoding=self.config["encoding"],
            engine="c" if len(separator) == 1 else "python",
            chunksize=_ROWS,
        )
        return (chunk[column].tolist() for chunk in chunks)

    def _remove_duplication(self) -> None:
        """RecBole's, but among equal times the order of the file decides; its own sort leaves that to chance."""
        keep = self.config["rm_dup_inter"]
        if keep is None:
            return
        self._check_time_column()
        order = np.argsort(self._order[self.inter_feat.index.to_numpy()], kind="stable")
        pair = [self.uid_field, self.iid_field]
        self.inter_feat = self.inter_feat.iloc[order].drop_duplicates(subset=pair, keep=keep)

    def _reset_index(self) -> None:
        rows = self.inter_feat.index.to_numpy()
        super()._reset_index()
        if self.time_field in self.inter_feat:
            self._times, self._order = self._times[rows], self._order[rows]

    def _check_time_column(self) -> None:
        if self.time_field not in self.inter_feat:
            raise UserError(
                f"dataset {self.dataset_name!r} has no column {self.time_field!r}; a sequential model needs one "
                "to order the interactions (load_col in the dataset's yaml says which columns are read)"
            )

    def _change_feat_format(self) -> None:
        self._check_field("uid_field", "time_field")
        self._check_time_column()
        users, rows = self.inter_feat[self.uid_field].to_numpy(), self.inter_feat.index.to_numpy()
        order = np.lexsort((self._order[rows], users))
        # RecBole's classes sort again, by user and the rounded time; that sort is stable and so changes nothing.
        self.inter_feat = self.inter_feat.iloc[order]
        self._times, self._order = self._times[rows][order], self._order[rows][order]
        super()._change_feat_format()
        self._for_training = np.ones(len(order), dtype=bool)
        users = users[order]
        later = np.flatnonzero(users[1:] == users[:-1]) + 1  # a row for each interaction but a user's first
        self._to_split = later, users[later], self._order[later]

    def build(self) -> list:
        """Split the rows into training, validation and test rows, as ``eval_args`` says.

        Returns
        -------
        list of this class
            They share the interactions and hold their own rows.
        """
        arguments = self.config["eval_args"]
        self._change_feat_format()
        (places, users, order), self._to_split = self._to_split, None
        splits = split_rows(users, order, arguments["split"], arguments["group_by"] == "user")
        self._drop_unused_col()
        by_user = "LS" in arguments["split"] or ("RS" in arguments["split"] and arguments["group_by"] == "user")
        if len(splits[0]) and not by_user:
            # One time cuts all users: what comes after the last training row is unknown in training.
            self._for_training = self._order <= order[splits[0]].max()
        for held_out in splits[1:]:
            self._for_training[places[held_out]] = False
        return [self._part(rows) for rows in splits]

    def _part(self, rows: np.ndarray) -> "TimeOrder":
        return self.copy(take_rows(self.inter_feat, torch.from_numpy(rows)))
