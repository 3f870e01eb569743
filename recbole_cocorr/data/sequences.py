"""RecBole's sequential dataset, held as one array of interactions.

RecBole stores a padded copy of every history, [rows, L], built in a Python loop. Here a row is three
numbers (the target's place in the sorted interactions, the length of its history, and so the
history's place), and histories are gathered when a batch asks for them. The rows, their order and
their contents are RecBole's.
"""

import zipfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import closest, known_names, recbole_properties
from recbole_cocorr.base.yaml_reader import read_yaml
from recbole_cocorr.data.shuffled import shuffled_steps
from recbole_cocorr.data.time_order import TimeOrder, take_rows

# Column of `inter_feat` that holds where a row's history ends in the sorted interactions.
HISTORY_END = "history_end"


class SequenceDataset(TimeOrder, SequentialDataset):
    """Interactions sorted by user and time, and the rows (history, next item) made from them.

    Differs from RecBole's ``SequentialDataset`` in two ways that show: memory is linear in the
    interactions, whatever ``MAX_ITEM_LIST_LENGTH``; and interactions are ordered and split by their
    timestamps as written in the file (:class:`~recbole_cocorr.data.time_order.TimeOrder`).
    """

    def _remap_ID_all(self) -> None:
        """RecBole's numbers, without the items of NAME.item that nobody clicked.

        Else a model that reads NAME.item and one that does not would rank other catalogues, and draw other negatives.
        """
        super()._remap_ID_all()
        if len(self.alias.get("item_id", ())) == 1:  # else histories in the file may hold further items
            self._keep_first(self.iid_field, self.item_feat, int(self.inter_feat[self.iid_field].max()) + 1)

    def _keep_first(self, field: str, feat: Any, known: int) -> None:
        """Forget the ids of a field from ``known`` on."""
        self.field2id_token[field] = self.field2id_token[field][:known]
        self.field2token_id[field] = {token: number for number, token in enumerate(self.field2id_token[field])}
        if feat is not None:
            feat.drop(feat.index[feat[field] >= known], inplace=True)

    def data_augmentation(self) -> None:
        """Make the rows; a history is only the place where it ends."""
        self._aug_presets()
        self._sequences = self.inter_feat
        users = self.inter_feat[self.uid_field].numpy()
        first = np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.empty(0, np.int64)
        start = np.repeat(first, np.diff(np.r_[first, len(users)]))
        place = np.arange(len(users)) - start
        target = np.flatnonzero(place > 0)
        self.inter_feat = take_rows(self._sequences, torch.from_numpy(target))
        self._give_histories(place[target], target)

    def _give_histories(self, lengths: np.ndarray, ends: np.ndarray) -> None:
        """Give each row its history: how long it is, before the limit of L, and where it ends in the interactions."""
        lengths = np.minimum(lengths, self.max_item_list_len)
        columns = {self.item_list_length_field: torch.from_numpy(lengths), HISTORY_END: torch.from_numpy(ends)}
        self.inter_feat.update(Interaction(columns))

    def unsplit(self) -> "SequenceDataset":
        """This dataset with a row for every interaction that has one before it, in no split.

        For what cuts by time and not by user; :meth:`build` is for leave-one-out.
        """
        self._change_feat_format()
        self._drop_unused_col()
        return self.copy(self.inter_feat)

    def interactions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Users, items [N] of int64 and times [N] as written in the file, sorted by user and time; once it is built."""
        return *self._users_and_items(), self._all_times()

    def _users_and_items(self) -> tuple[np.ndarray, np.ndarray]:
        return self._sequences[self.uid_field].numpy(), self._sequences[self.iid_field].numpy()

    def _all_times(self) -> np.ndarray:
        return self._times

    def item_order(self) -> np.ndarray:
        """Items [N] of all interactions, sorted by user and time; once it is built."""
        return self._sequences[self.iid_field].numpy()

    def row_places(self) -> np.ndarray:
        """Where each row's history ends in :meth:`item_order`, [rows]: there its target stands."""
        return self.inter_feat[HISTORY_END].numpy()

    def row_users(self, rows: Any = slice(None)) -> np.ndarray:
        """Users of the rows, or of some, int64."""
        return self.inter_feat[self.uid_field].numpy()[rows]

    def first_place(self, users: np.ndarray) -> np.ndarray:
        """Where the interactions of users begin in :meth:`item_order`."""
        return np.searchsorted(self._sequences[self.uid_field].numpy(), users)

    def training_interactions(self) -> tuple[np.ndarray, np.ndarray]:
        """Users and items, int64 [N], of every interaction that may be learned from; once the splits are made.

        These are all but the targets of the validation and test rows and, where one time cuts all users (``RS``
        without grouping, and ``TS``), what comes after the last training row. A user's first click is the target of no
        row, and belongs to them even where the user has no training row.
        """
        users, items = self._users_and_items()
        return users[self._for_training], items[self._for_training]

    def training_times(self) -> np.ndarray:
        """Times as written in the file, float64 [N], of the :meth:`training_interactions`."""
        return self._all_times()[self._for_training]

    def __getitem__(self, index, join: bool = True) -> Interaction:
        """Rows as RecBole gives them: target columns, histories padded at the end, item features."""
        if self.inter_feat is None or HISTORY_END not in self.inter_feat:
            return super().__getitem__(index, join)  # not built yet
        rows = self.with_histories(self._at(index))
        return self.join(rows) if join else rows

    def _at(self, index: Any) -> Interaction:
        return take_rows(self.inter_feat, index) if torch.is_tensor(index) else self.inter_feat[index]

    def with_histories(self, rows: Interaction) -> Interaction:
        """Replace the history's place by the history: one ``<field>_list`` [rows, L] per field."""
        columns = dict(rows.interaction)
        end = columns.pop(HISTORY_END)
        length = columns[self.item_list_length_field]
        single = end.dim() == 0
        if single:
            end, length = end.view(1), length.view(1)
        steps = torch.arange(self.max_item_list_len)
        real = steps < length[:, None]
        if self.config["shuffle_history"]:
            steps = shuffled_steps(end, length, self.max_item_list_len, self.config["seed"])
        place = ((end - length)[:, None] + steps).clamp_(max=len(self._sequences) - 1)
        for field in self._sequences:
            if field != self.uid_field:
                values = self._sequences[field][place]
                mask = real.view(*real.shape, *[1] * (values.dim() - 2))
                values = values * mask
                columns[getattr(self, f"{field}_list_field")] = values[0] if single else values
        return Interaction(columns)

    def history_pairs(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Everything the rows' users did before the rows' targets, without the limit of L.

        Returns
        -------
        tuple of torch.Tensor
            Place in ``rows`` and item id, one entry per earlier interaction.
        """
        end = self.row_places()[rows.numpy()].astype(np.int64)
        count = end - self.first_place(self.row_users(rows.numpy()))
        owner = np.repeat(np.arange(len(end)), count)
        place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        items = self.item_order()[np.repeat(end - count, count) + place].astype(np.int64)
        return torch.from_numpy(owner), torch.from_numpy(items)

    def histories(self, stale: int = 0) -> list[np.ndarray]:
        """Each row's clicks before its target, whole, without the newest ``stale``."""
        items, end = self.item_order(), self.row_places()
        start = self.first_place(self.row_users())
        return [items[a : max(a, b - stale)] for a, b in zip(start, end, strict=True)]

    def inter_matrix(self, form: str = "coo", value_field: str | None = None):
        """RecBole's sparse [users, items] matrix of these rows' interactions."""
        filled = self.copy(self.with_histories(self.inter_feat))
        return SequentialDataset.inter_matrix(filled, form, value_field)

    def _download(self) -> None:
        folder = Path(self.dataset_path)
        existed = folder.exists()
        wanted = folder / f"{self.dataset_name}.inter"
        by_hand = (
            f"put the file at {wanted.resolve()} by hand, or name the folder that holds "
            f"{self.dataset_name}/{self.dataset_name}.inter with --data_path=FOLDER"
        )
        try:
            url = self._get_download_url("url")
        except ValueError:
            similar = closest(self.dataset_name, _known_datasets(folder.parent), cutoff=0.7)
            hint = f"did you mean {similar!r}? Otherwise " if similar else ""
            raise UserError(
                f"there is no folder {folder} and RecBole knows no download for {self.dataset_name!r}; {hint}{by_hand}"
            ) from None
        try:
            super()._download()
        except (URLError, OSError, zipfile.BadZipFile, EOFError) as error:
            if not existed and folder.is_dir():
                for file in folder.iterdir():
                    file.unlink()
                folder.rmdir()
            raise UserError(f"the download of {self.dataset_name!r} from {url} failed ({error}); {by_hand}") from None
        except SystemExit:
            raise UserError(f"the download of {self.dataset_name!r} was declined; {by_hand}") from None


def _known_datasets(data_path: Path) -> set[str]:
    """Names that ``--dataset`` may have: folders of the data path, RecBole's downloads, and our yaml files."""
    downloads = read_yaml(recbole_properties() / "dataset" / "url.yaml", "list of downloads")
    folders = [p.name for p in data_path.iterdir() if p.is_dir()] if data_path.is_dir() else []
    return {*folders, *downloads, *known_names("dataset")}
