"""RecBole's sequential dataset, held as one array of interactions.

RecBole stores a padded copy of every history, [rows, L], built in a Python loop. Here a row is three
numbers (the target's place in the sorted interactions, the length of its history, and so the
history's place), and histories are gathered when a batch asks for them. The rows, their order and
their contents are RecBole's.
"""

import os
import warnings
import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.yaml_reader import read_yaml
from recbole_cocorr.property_files import closest, known_names, recbole_properties

# Column of `inter_feat` that holds where a row's history ends in the sorted interactions.
HISTORY_END = "history_end"


def take_rows(interaction: Interaction, rows: torch.Tensor) -> Interaction:
    """Some rows of an interaction; RecBole's own indexing makes a Python list of the numbers first."""
    return Interaction({k: v[rows] for k, v in interaction.interaction.items()})


class SequenceDataset(SequentialDataset):
    """Interactions sorted by user and time, and the rows (history, next item) made from them.

    Differs from RecBole's ``SequentialDataset`` in two ways that show: memory is linear in the
    interactions, whatever ``MAX_ITEM_LIST_LENGTH``; and interactions are ordered by their timestamps as
    written in the file (equal ones in file order), where RecBole first rounds them to float32, which
    makes neighbours of today's epoch seconds, up to 64 s apart, equal.
    """

    def _change_feat_format(self) -> None:
        self._check_field("uid_field", "time_field")
        self._check_times()
        self.inter_feat = self.inter_feat.sort_values([self.uid_field, self.time_field], kind="stable")
        self._times = self.inter_feat[self.time_field].to_numpy()
        Dataset._change_feat_format(self)
        self._aug_presets()
        self._sequences = self.inter_feat
        users = self.inter_feat[self.uid_field].numpy()
        first = np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.empty(0, np.int64)
        start = np.repeat(first, np.diff(np.r_[first, len(users)]))
        place = np.arange(len(users)) - start
        target = np.flatnonzero(place > 0)
        self.inter_feat = take_rows(self._sequences, torch.from_numpy(target))
        lengths = np.minimum(place[target], self.max_item_list_len)
        self.inter_feat.update(
            Interaction(
                {
                    self.item_list_length_field: torch.from_numpy(lengths),
                    HISTORY_END: torch.from_numpy(target),
                }
            )
        )

    def _check_times(self) -> None:
        if self.time_field not in self.inter_feat:
            raise UserError(
                f"dataset {self.dataset_name!r} has no column {self.time_field!r}; a sequential model needs one "
                "to order the interactions (load_col in the dataset's yaml says which columns are read)"
            )
        bad = self.inter_feat[self.time_field].isna()
        if bad.any():
            raise UserError(
                f"dataset {self.dataset_name!r} has {int(bad.sum())} interactions without a {self.time_field}"
            )

    def build(self) -> list["SequenceDataset"]:
        """Split the rows into training, validation and test rows, as ``eval_args`` says.

        Returns
        -------
        list of SequenceDataset
            They share the interactions and hold their own rows.
        """
        arguments = self.config["eval_args"]
        if arguments["order"] != "TO":
            raise UserError(f"eval_args: order is {arguments['order']!r}; a sequential model needs 'TO'")
        if arguments["split"] != {"LS": "valid_and_test"} or arguments["group_by"] != "user":
            return super().build()
        self._change_feat_format()
        self._drop_unused_col()
        return [self.copy(take_rows(self.inter_feat, torch.from_numpy(rows))) for rows in self._leave_two_out()]

    def unsplit(self) -> "SequenceDataset":
        """This dataset with a row for every interaction that has one before it, in no split.

        For what cuts by time and not by user; :meth:`build` is for leave-one-out.
        """
        self._change_feat_format()
        self._drop_unused_col()
        return self.copy(self.inter_feat)

    def interactions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Users, items [N] of int64 and times [N] as written in the file, sorted by user and time; once it is built."""
        sequences = self._sequences
        return sequences[self.uid_field].numpy(), sequences[self.iid_field].numpy(), self._times

    def shown_interactions(self) -> tuple[np.ndarray, np.ndarray]:
        """Users and items, int64 [N], of the interactions that these rows show: a user's, up to the last target."""
        users, items, _ = self.interactions()
        last = np.full(int(users.max(initial=0)) + 1, -1)
        end = self.inter_feat[HISTORY_END].numpy()
        np.maximum.at(last, users[end], end)
        shown = np.arange(len(users)) <= last[users]
        return users[shown], items[shown]

    def _leave_two_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row numbers of RecBole's leave-one-out (valid_and_test), in RecBole's order.

        RecBole sorts all rows by time and then groups them by user in the order in which users first
        appear. A user with one row keeps it for training, one with two rows has no validation row.
        """
        users = self.inter_feat[self.uid_field].numpy()
        time_order = np.argsort(self._times[self.inter_feat[HISTORY_END].numpy()], kind="stable")
        seen, first = np.unique(users[time_order], return_index=True)
        appearance = np.zeros(users.max(initial=0) + 1, dtype=np.int64)
        appearance[seen] = first
        order = np.argsort(appearance[users], kind="stable")  # rows of a user are already in time order
        users = users[order]
        first = np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.empty(0, np.int64)
        count = np.diff(np.r_[first, len(users)])
        place = np.arange(len(users)) - np.repeat(first, count)
        from_end = np.repeat(count, count) - 1 - place
        total = np.repeat(count, count)
        test = (from_end == 0) & (total >= 2)
        valid = (from_end == 1) & (total >= 3)
        return order[~test & ~valid], order[valid], order[test]

    def __getitem__(self, index, join: bool = True) -> Interaction:
        """Rows as RecBole gives them: target columns, histories padded at the end, item features."""
        if self.inter_feat is None or HISTORY_END not in self.inter_feat:
            return super().__getitem__(index, join)  # not built yet
        rows = take_rows(self.inter_feat, index) if torch.is_tensor(index) else self.inter_feat[index]
        rows = self.with_histories(rows)
        return self.join(rows) if join else rows

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
        users = self._sequences[self.uid_field].numpy()
        end = self.inter_feat[HISTORY_END][rows].numpy()
        count = end - np.searchsorted(users, users[end])
        owner = np.repeat(np.arange(len(end)), count)
        place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        items = self._sequences[self.iid_field].numpy()[np.repeat(end - count, count) + place]
        return torch.from_numpy(owner), torch.from_numpy(items)

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


def create_dataset(config) -> Dataset:
    """Load, filter and number the interactions that ``config`` describes.

    Models for which RecBole has a dataset class of their own, and data that come already split
    (``benchmark_filename``), use RecBole's class; all others :class:`SequenceDataset`.

    Raises
    ------
    UserError
        If the files are missing, damaged, or nothing is left after filtering.
    """
    import recbole.data.dataset as recbole_datasets

    special = getattr(recbole_datasets, config["model"] + "Dataset", None)
    if special is None and config["benchmark_filename"] is None:
        dataset_class = SequenceDataset
    else:
        dataset_class = special or SequentialDataset
    path = Path(config["data_path"]) / f"{config['dataset']}.inter"
    if config["benchmark_filename"] is None and os.path.isdir(config["data_path"]):
        if not path.is_file():
            raise UserError(
                f"{path.parent.resolve()} holds no {path.name}; put the interactions there, in RecBole's "
                "atomic format (python -m recbole_cocorr convert makes it from the raw public files)"
            )
        _check_file(config, path)
    try:
        with warnings.catch_warnings():
            # RecBole fills missing values in a way that pandas 3 ends; setup.cfg keeps to pandas 2.
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
            dataset = dataset_class(config)
    except ValueError as error:
        if "Some feat is empty" in str(error):
            raise UserError(_nothing_left(config)) from None
        raise UserError(f"dataset {config['dataset']!r}: {error}") from None
    except (AttributeError, KeyError, TypeError, NotImplementedError) as error:
        # RecBole's words for a column that is not there, or a setting of another kind.
        raise UserError(
            f"dataset {config['dataset']!r} cannot be read with these settings ({type(error).__name__}: {error})"
        ) from error
    if len(dataset.inter_feat) == 0:
        raise UserError(_nothing_left(config))
    return dataset


def _nothing_left(config) -> str:
    return (
        f"no interaction of {config['dataset']!r} is left after filtering; loosen user_inter_num_interval "
        f"({config['user_inter_num_interval']}), item_inter_num_interval ({config['item_inter_num_interval']}) "
        f"or val_interval ({config['val_interval']})"
    )


def _check_file(config, path: Path) -> None:
    try:
        from recbole_cocorr.data.convert.check import check_inter_file
    except ImportError:
        return
    check_inter_file(
        path,
        required=[config["USER_ID_FIELD"], config["ITEM_ID_FIELD"], f"{config['TIME_FIELD']}:float"],
        separator=config["field_separator"],
        encoding=config["encoding"],
    )
