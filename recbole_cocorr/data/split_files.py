"""Data that come already split: files NAME.train.inter and so on, each row with its history (``benchmark_filename``).

A row has a user, an item that was chosen, and a column of the items before it (``item_id_list:token_seq`` by the
default names), oldest first. RecBole numbers that column on its own unless ``alias_of_item_id`` names it, keeps the
oldest clicks where a list is too long, and reads a missing list as an empty one; nothing of that is wanted here.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from recbole.utils import FeatureSource, FeatureType

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.time_order import take_rows


def check_columns(config, path: Path, columns: list[str]) -> None:
    """Look at an atomic file before RecBole reads it; see :func:`~recbole_cocorr.data.convert.check.check_inter_file`.

    Parameters
    ----------
    config : Config
    path : pathlib.Path
    columns : list of str
        What must be there beside user and item, as "name:type".

    Raises
    ------
    UserError
        If the file is missing or damaged, or lacks a column.
    """
    from recbole_cocorr.data.convert.check import check_inter_file

    check_inter_file(
        path,
        required=[f"{config['USER_ID_FIELD']}:token", f"{config['ITEM_ID_FIELD']}:token", *columns],
        separator=config["field_separator"],
        encoding=config["encoding"],
    )


class SplitFiles:
    """Goes before one of RecBole's sequential dataset classes that reads ``benchmark_filename``.

    Raises
    ------
    UserError
        If a file is missing, damaged or has other columns than the first; if a row has no user, item or history, or
        a length that contradicts its history.
    """

    @property
    def _list_field(self) -> str:
        return self.iid_field + self.config["LIST_SUFFIX"]

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        paths = [Path(dataset_path) / f"{token}.{name}.inter" for name in self.benchmark_filename_list]
        for path in paths:
            check_columns(self.config, path, [f"{self._list_field}:token_seq"])
        headers = [self._loaded_columns(path) for path in paths]
        for path, header in zip(paths, headers, strict=True):
            if header != headers[0]:
                raise UserError(
                    f"{path} has other columns than {paths[0].name}: {', '.join(sorted(header ^ headers[0]))}; "
                    "the files must agree"
                )
        if not any(column.partition(":")[0] == self._list_field for column in headers[0]):
            raise UserError(
                f"load_col leaves out {self._list_field!r} of 'inter', the history of a row of {paths[0].name}"
            )
        if self._list_field in (self.config["seq_len"] or {}):
            raise UserError(
                f"seq_len has {self._list_field!r}, and would keep the oldest clicks; leave it to MAX_ITEM_LIST_LENGTH"
            )
        super()._load_inter_feat(token, dataset_path)
        start = 0
        for path, size in zip(paths, self.file_size_list, strict=True):
            self._check_rows(path, self.inter_feat.iloc[start : start + size])
            start += size

    def _loaded_columns(self, path: Path) -> set[str]:
        wanted, unwanted = self._get_load_and_unload_col(FeatureSource.INTERACTION)
        with open(path, encoding=self.config["encoding"]) as file:
            columns = file.readline().rstrip("\n").split(self.config["field_separator"])
        names = {column: column.partition(":")[0] for column in columns}
        return {
            column
            for column, name in names.items()
            if (wanted is None or name in wanted) and name not in (unwanted or ())
        }

    def _check_rows(self, path: Path, rows: pd.DataFrame) -> None:
        def refuse(bad: np.ndarray, what: str) -> None:
            if bad.any():
                raise UserError(f"{path}, interaction {int(np.flatnonzero(bad)[0]) + 1}: {what}")

        for field in (self.uid_field, self.iid_field):
            refuse(rows[field].isna().to_numpy(), f"there is no {field}")
        lengths = rows[self._list_field].map(len).to_numpy()
        refuse(lengths == 0, f"{self._list_field} is empty; a row needs at least one earlier item")
        if self.item_list_length_field in rows:
            written = pd.to_numeric(rows[self.item_list_length_field], errors="coerce").to_numpy()
            refuse(
                written != lengths, f"{self.item_list_length_field} is not the number of items in {self._list_field}"
            )
        for field in self._history_columns(rows):
            refuse(
                rows[field].map(len).to_numpy() != lengths,
                f"{field} and {self._list_field} are of different lengths; they must tell of the same items",
            )

    def _history_columns(self, table) -> list[str]:
        """The columns with an entry for each item of a history: those of a list, named like another column."""
        suffix = self.config["LIST_SUFFIX"]
        return [f"{field}{suffix}" for field in table if f"{field}{suffix}" in table]

    def _init_alias(self) -> None:
        super()._init_alias()
        # A column and its list are numbered together, as the lists are that RecBole makes itself.
        suffix = self.config["LIST_SUFFIX"]
        for field in list(self._rest_fields):
            both = [field, field + suffix]
            if both[1] in self._rest_fields:
                self.alias[field] = np.array(both)
                self._rest_fields = np.setdiff1d(self._rest_fields, both, assume_unique=True)

    def _set_alias(self, alias_name: str, default_value: list[str]) -> None:
        super()._set_alias(alias_name, [*default_value, self._list_field] if alias_name == "item_id" else default_value)

    def _benchmark_presets(self) -> None:
        for field in self._history_columns(self.inter_feat):
            setattr(self, f"{field.removesuffix(self.config['LIST_SUFFIX'])}_list_field", field)
        self.set_field_property(self.item_list_length_field, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)

    def _change_feat_format(self) -> None:
        """Keep the newest clicks of each history, padded at the end to ``MAX_ITEM_LIST_LENGTH``."""
        most = self.max_item_list_len
        histories = self.inter_feat[self._list_field]
        lengths = histories.map(len).to_numpy()
        self._history_items, self._history_cuts = np.concatenate(histories), np.r_[0, np.cumsum(lengths)]
        self.inter_feat[self.item_list_length_field] = np.minimum(lengths, most)
        columns = self._history_columns(self.inter_feat)
        for field in columns:
            self.inter_feat[field] = self.inter_feat[field].map(lambda row: row[-most:])
            self.field2seqlen[field] = most
        super()._change_feat_format()
        for field in columns:
            values = self.inter_feat[field]
            room = [0, 0] * (values.dim() - 2) + [0, most - values.shape[1]]
            self.inter_feat[field] = torch.nn.functional.pad(values, room)

    def build(self) -> list:
        """The rows of each file."""
        self._change_feat_format()
        self._drop_unused_col()
        splits = []
        for start, end in pairwise(np.cumsum([0, *self.file_size_list]).tolist()):
            split = self.copy(take_rows(self.inter_feat, torch.arange(start, end)))
            split._first_row = start
            splits.append(split)
        return splits

    def history_pairs(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The histories of the rows as the files have them, without the limit of L.

        Returns
        -------
        tuple of torch.Tensor
            Place in ``rows`` and item id, one entry per earlier interaction.
        """
        rows = rows.numpy() + self._first_row
        start, count = self._history_cuts[rows], self._history_cuts[rows + 1] - self._history_cuts[rows]
        owner = np.repeat(np.arange(len(rows)), count)
        place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return torch.from_numpy(owner), torch.from_numpy(self._history_items[np.repeat(start, count) + place])
