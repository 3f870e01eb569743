"""RecBole's sequential dataset from Parquet files, at some nine bytes an interaction.

What stays in memory of an interaction is its item, of a row the place of its target, both of four bytes: users follow
from where each user's interactions begin, histories from the place. The times decide the order and the split; who asks
for them afterwards has them read again. The rows, their order and their contents are those of the same interactions in
a ``.inter`` file.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.parquet import Table, numbered, parquet_files, read_table
from recbole_cocorr.data.sequences import HISTORY_END, SequenceDataset

# Settings that ask for what is not read from Parquet files.
_LEFT_OUT = {
    "val_interval": "filter the rows when you write the file",
    "benchmark_filename": "files that are split already are read as .inter",
    "alias_of_item_id": "of the columns of items one is read",
    "alias_of_user_id": "of the columns of users one is read",
}


class Clicks:
    """Interactions sorted by user and time.

    Parameters
    ----------
    begin : numpy.ndarray of int64, shape [users + 1]
        The interactions of user u are ``begin[u] : begin[u + 1]``.
    items : numpy.ndarray of int32, shape [N]
    """

    def __init__(self, begin: np.ndarray, items: np.ndarray):
        self.begin, self.items = begin, items

    def users(self) -> np.ndarray:
        """Each interaction's user, int32 [N]."""
        return np.repeat(np.arange(len(self.begin) - 1, dtype=np.int32), np.diff(self.begin))

    def users_at(self, places: np.ndarray) -> np.ndarray:
        """Users of some interactions, int64."""
        return np.searchsorted(self.begin, places, side="right") - 1


class PlacedRows:
    """Rows as the places of their targets: what RecBole's ``Interaction`` shows, made column by column when asked for.

    Parameters
    ----------
    clicks : Clicks
    places : numpy.ndarray of int32 or int64, shape [rows]
    columns : dict
        How a column, int64 [rows], is made of places, by its name.
    """

    def __init__(self, clicks: Clicks, places: np.ndarray, columns: dict[str, Callable[[np.ndarray], np.ndarray]]):
        self.clicks, self.places, self._columns = clicks, places, columns

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._columns)

    @property
    def interaction(self) -> dict[str, torch.Tensor]:
        """All columns of all rows."""
        return {name: self[name] for name in self._columns}

    def __getitem__(self, index: Any) -> Any:
        """A column by its name, or rows as an ``Interaction``."""
        if isinstance(index, str):
            return self._column(index, self.places)
        if torch.is_tensor(index):
            index = index.numpy()
        places = self.places[index]
        if places.ndim:
            return Interaction({name: self._column(name, places) for name in self._columns})
        return Interaction({name: self._column(name, places[None])[0] for name in self._columns})

    def _column(self, name: str, places: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self._columns[name](places).astype(np.int64))

    def at(self, rows: np.ndarray) -> "PlacedRows":
        """Some of the rows, without making a column."""
        return PlacedRows(self.clicks, self.places[rows], self._columns)


class ParquetDataset(SequenceDataset):
    """Interactions of ``NAME.parquet``, or of the files in a folder of this name.

    Raises
    ------
    UserError
        If a setting asks for further columns, or a file cannot be read (see
        :func:`~recbole_cocorr.data.parquet.read_table`).
    """

    def _from_scratch(self) -> None:
        self._get_preset()
        self._get_field_from_config()
        self._check_settings()
        self.user_feat = self.item_feat = None
        self.feat_name_list = ["inter_feat"]
        for field in (self.uid_field, self.iid_field):
            self.set_field_property(field, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)
        self._init_alias()
        self._read()
        begin = self._clicks.begin
        self.inter_feat = self._rows(np.arange(begin[-1], dtype=np.int32 if begin[-1] < 1 << 31 else np.int64))

    def _check_settings(self) -> None:
        config = self.config
        for key, instead in _LEFT_OUT.items():
            if config[key]:
                raise UserError(f"{key} is {config[key]!r}, and the interactions are a Parquet file: {instead}")
        wanted = config["load_col"] or {}
        columns = wanted.get("inter") or ()
        more = set() if columns == "*" else set(columns) - {self.uid_field, self.iid_field, self.time_field}
        more |= {source for source in wanted if source != "inter" and wanted[source]}
        if more:
            raise UserError(
                f"load_col asks for {', '.join(sorted(more))}; of a Parquet file {self.uid_field}, {self.iid_field} "
                f"and {self.time_field} are read, and no file beside it; a .inter file may have more"
            )

    def _read(self) -> None:
        """Read, filter, number and sort the interactions."""
        files = parquet_files(Path(self.dataset_path), self.dataset_name)
        table = read_table(files, self.uid_field, self.iid_field, self.time_field)
        self._filter(table)
        users, user_tokens = numbered(table.users, table.user_tokens)
        items, item_tokens = numbered(table.items, table.item_tokens)
        self._tokens = {self.uid_field: user_tokens, self.iid_field: item_tokens}
        order = np.lexsort((table.times, users))
        self._order = table.times[order]
        self._per_second = table.per_second
        begin = np.r_[0, np.cumsum(np.bincount(users, minlength=len(user_tokens) + 1))]
        self._clicks = Clicks(begin, items[order])
        self._sequences = Interaction({self.iid_field: torch.from_numpy(self._clicks.items)})
        self.field2id_token, self.field2token_id = _ByNumber(self._tokens), _ByToken(self._tokens)

    def _filter(self, table: Table) -> None:
        """RecBole's filters by repeats and by numbers of interactions, in its order."""
        if self.config["rm_dup_inter"] is not None:
            order = np.argsort(table.times, kind="stable")
            pairs = table.users[order] * np.int64(len(table.item_tokens)) + table.items[order]
            if self.config["rm_dup_inter"] == "last":
                rows = len(pairs) - 1 - np.unique(pairs[::-1], return_index=True)[1]
            else:
                rows = np.unique(pairs, return_index=True)[1]
            table.keep(order[np.sort(rows)])
        limits = [self._parse_intervals_str(self.config[f"{who}_inter_num_interval"]) for who in ("user", "item")]
        while any(limits):
            good = np.ones(len(table), dtype=bool)
            for codes, limit in zip((table.users, table.items), limits, strict=True):
                if limit:
                    good &= self._within_intervals(np.bincount(codes), limit)[codes]
            if good.all():
                return
            table.keep(good)

    def num(self, field: str) -> int:
        """As RecBole's, without making the list of tokens."""
        return len(self._tokens[field]) + 1 if field in self._tokens else super().num(field)

    @property
    def avg_actions_of_users(self) -> float:
        """Interactions of a user; RecBole's counts them in Python."""
        return len(self.inter_feat) / max(1, self.user_num - 1)

    @property
    def avg_actions_of_items(self) -> float:
        """Interactions of an item; RecBole's counts them in Python."""
        return len(self.inter_feat) / max(1, self.item_num - 1)

    def _rows(self, places: np.ndarray, histories: bool = False) -> PlacedRows:
        clicks = self._clicks
        columns = {self.uid_field: clicks.users_at, self.iid_field: lambda at: clicks.items[at]}
        if histories:
            columns[self.item_list_length_field] = lambda at: np.minimum(
                at - clicks.begin[clicks.users_at(at)], self.max_item_list_len
            )
            columns[HISTORY_END] = lambda at: at
        return PlacedRows(clicks, places, columns)

    def _change_feat_format(self) -> None:
        """Make a row of every interaction but a user's first."""
        self._aug_presets()
        begin, places = self._clicks.begin, self.inter_feat.places
        later = np.ones(len(places), dtype=bool)
        later[begin[:-1][begin[1:] > begin[:-1]]] = False
        self._for_training = np.ones(len(places), dtype=bool)
        places = places[later]
        self._to_split = places, self._clicks.users()[later], self._order[later]
        self.inter_feat = self._rows(places, histories=True)

    def _part(self, rows: np.ndarray) -> "ParquetDataset":
        return self.copy(self.inter_feat.at(rows))

    def _at(self, index: Any) -> Interaction:
        return self.inter_feat[index]

    def build(self) -> list:
        """As of the class behind; the times go, and here the rows, which are in the parts."""
        parts = super().build()
        for dataset in (self, *parts):
            dataset._order = None
        self.inter_feat = self.inter_feat.at(np.empty(0, dtype=np.int64))
        return parts

    def unsplit(self) -> "ParquetDataset":
        """As of the class behind; the times go."""
        whole = super().unsplit()
        for dataset in (self, whole):
            dataset._order = dataset._to_split = None
        return whole

    # -- what is read of the interactions ----------------------------------------------------------

    def known_interactions(self) -> tuple[np.ndarray, np.ndarray]:
        """Users and items, int32 [N], of all interactions."""
        return self._clicks.users(), self._clicks.items

    def _users_and_items(self) -> tuple[np.ndarray, np.ndarray]:
        return self._clicks.users().astype(np.int64), self._clicks.items.astype(np.int64)

    def _all_times(self) -> np.ndarray:
        fresh = ParquetDataset(self.config)
        return fresh._order / fresh._per_second if fresh._per_second > 1 else fresh._order.astype(np.float64)

    def item_order(self) -> np.ndarray:
        """As of the class behind, of int32."""
        return self._clicks.items

    def row_places(self) -> np.ndarray:
        """As of the class behind, of int32 where that is enough."""
        return self.inter_feat.places

    def row_users(self, rows: Any = slice(None)) -> np.ndarray:
        """As of the class behind."""
        return self._clicks.users_at(self.inter_feat.places[rows])

    def first_place(self, users: np.ndarray) -> np.ndarray:
        """As of the class behind."""
        return self._clicks.begin[users]

    def with_histories(self, rows: Interaction) -> Interaction:
        """As of the class behind."""
        rows = super().with_histories(rows)
        field = getattr(self, f"{self.iid_field}_list_field")
        rows.update(Interaction({field: rows[field].long()}))
        return rows


class _ByNumber(dict):
    """Tokens by number, an array for each field: made when it is asked for, since nobody may ask for users'."""

    def __init__(self, tokens: dict[str, Any]):
        super().__init__()
        self._tokens = tokens

    def __missing__(self, field: str) -> np.ndarray:
        # Text of numpy's own kind takes the longest token's room for each.
        self[field] = np.array(["[PAD]", *self._tokens[field].to_pylist()])
        return self[field]


class _ByToken(_ByNumber):
    """Numbers by token, a dict for each field, made when it is asked for."""

    def __missing__(self, field: str) -> dict[str, int]:
        self[field] = {token: number for number, token in enumerate(["[PAD]", *self._tokens[field].to_pylist()])}
        return self[field]
