"""RecBole's sequential dataset, held as one array of interactions.

RecBole stores a padded copy of every history, [rows, L], built in a Python loop. Here a row is three
numbers (the target's place in the sorted interactions, the length of its history, and so the
history's place), and histories are gathered when a batch asks for them. The rows, their order and
their contents are RecBole's.
"""

import os
import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import closest, known_names, recbole_properties
from recbole_cocorr.base.together import finish
from recbole_cocorr.base.yaml_reader import read_yaml
from recbole_cocorr.data.cut_by_time import CUT, CutByTime
from recbole_cocorr.data.shuffled import shuffled_steps
from recbole_cocorr.data.split_files import SplitFiles, check_columns
from recbole_cocorr.data.time_order import TimeOrder, take_rows

# Column of `inter_feat` that holds where a row's history ends in the sorted interactions.
HISTORY_END = "history_end"

# Column of a batch's negatives, [rows, sample_num], 0 where a user has too few items left.
NEG_ITEMS = "neg_items"


class SequenceDataset(TimeOrder, SequentialDataset):
    """Interactions sorted by user and time, and the rows (history, next item) made from them.

    Differs from RecBole's ``SequentialDataset`` in two ways that show: memory is linear in the
    interactions, whatever ``MAX_ITEM_LIST_LENGTH``; and interactions are ordered and split by their
    timestamps as written in the file (:class:`~recbole_cocorr.data.time_order.TimeOrder`).
    """

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
        sequences = self._sequences
        return sequences[self.uid_field].numpy(), sequences[self.iid_field].numpy(), self._times

    def training_interactions(self) -> tuple[np.ndarray, np.ndarray]:
        """Users and items, int64 [N], of every interaction that may be learned from; once the splits are made.

        These are all but the targets of the validation and test rows and, where one time cuts all users (``RS``
        without grouping, and ``TS``), what comes after the last training row. A user's first click is the target of no
        row, and belongs to them even where the user has no training row.
        """
        users, items, _ = self.interactions()
        return users[self._for_training], items[self._for_training]

    def training_times(self) -> np.ndarray:
        """Times as written in the file, float64 [N], of the :meth:`training_interactions`."""
        return self._times[self._for_training]

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
        users = self._sequences[self.uid_field].numpy()
        end = self.inter_feat[HISTORY_END][rows].numpy()
        count = end - np.searchsorted(users, self.inter_feat[self.uid_field][rows].numpy())
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

    Data that come already split (``benchmark_filename``) are read by
    :class:`~recbole_cocorr.data.split_files.SplitFiles`, all others by :class:`SequenceDataset`; for a model
    with a dataset class of its own in RecBole, that class with the same order of time.

    Raises
    ------
    UserError
        If the files are missing, damaged, or nothing is left after filtering.
    """
    dataset_class = _dataset_class(config)
    path = Path(config["data_path"]) / f"{config['dataset']}.inter"
    finish(path.parent)
    if config["benchmark_filename"] is None and os.path.isdir(config["data_path"]):
        if not path.is_file():
            raise UserError(
                f"{path.parent.resolve()} holds no {path.name}; put the interactions there, in RecBole's "
                "atomic format (python -m recbole_cocorr convert makes it from the raw public files)"
            )
        check_columns(config, path, [f"{config['TIME_FIELD']}:float"])
    try:
        dataset = dataset_class(config)
    except ValueError as error:
        if "Some feat is empty" in str(error):
            raise UserError(_nothing_left(config)) from None
        raise UserError(f"dataset {config['dataset']!r}: {error}") from None
    except (AttributeError, KeyError, TypeError, NotImplementedError) as error:
        # RecBole's words for a column that is not there, or a setting of another kind; a key may be numpy's text.
        reason = f"{str(error.args[0])!r}" if isinstance(error, KeyError) and error.args else str(error)
        raise UserError(
            f"dataset {config['dataset']!r} cannot be read with these settings ({type(error).__name__}: {reason})"
        ) from error
    if len(dataset.inter_feat) == 0:
        raise UserError(_nothing_left(config))
    _check_names(dataset)
    return dataset


def _dataset_class(config) -> type:
    import recbole.data.dataset as recbole_datasets

    special = getattr(recbole_datasets, config["model"] + "Dataset", None)
    if config["shuffle_history"] and (special is not None or config["benchmark_filename"] is not None):
        raise UserError(
            "shuffle_history needs histories that are made here: no split files, and no model that makes its own"
        )
    if CUT in config["eval_args"]["split"]:
        if config["benchmark_filename"] is not None:
            raise UserError("benchmark_filename names files that are split already; they cannot be split by time too")
        if special is not None:
            raise UserError(f"{config['model']} makes its own histories; its data cannot be split by time")
        return type("CutDataset", (CutByTime, SequenceDataset), {})
    if config["benchmark_filename"] is None:
        return SequenceDataset if special is None else type(special.__name__, (TimeOrder, special), {})
    if special is None:
        return type("SplitFilesDataset", (SplitFiles, SequentialDataset), {})
    if special.data_augmentation is not SequentialDataset.data_augmentation:
        raise UserError(f"{config['model']} makes its own histories; it cannot read split files (benchmark_filename)")
    return type(special.__name__, (SplitFiles, special), {})


def _check_names(dataset: Dataset) -> None:
    """Refuse columns that others would silently take the place of: those that a batch adds, and two of one name."""
    config, split_files = dataset.config, dataset.config["benchmark_filename"] is not None
    reserved = {HISTORY_END, NEG_ITEMS, config["NEG_PREFIX"] + dataset.iid_field}
    derived = {dataset.item_list_length_field} | {name + config["LIST_SUFFIX"] for name in dataset.inter_feat}
    tables = {"inter": dataset.inter_feat, "user": dataset.user_feat, "item": dataset.item_feat}
    keys = {"inter": (), "user": (dataset.uid_field,), "item": (dataset.iid_field,)}
    seen: dict[str, str] = {}
    for source, table in tables.items():
        for name in table if table is not None else ():
            if name in reserved or (name in derived and not (split_files and source == "inter")):
                raise UserError(
                    f"the column {name!r} of .{source} has the name of one that is made for the batches; rename it, or "
                    "leave it out with load_col (LIST_SUFFIX, ITEM_LIST_LENGTH_FIELD and NEG_PREFIX name those)"
                )
            if name in keys[source]:
                continue
            if seen.setdefault(name, source) != source:
                raise UserError(
                    f"both .{seen[name]} and .{source} have a column {name!r}, and one would take the other's place; "
                    "leave one out with load_col"
                )


def touched_pairs(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Users and items that the data bring together in any place: as target, in a history, in a column of items.

    Parameters
    ----------
    dataset : Dataset
        Before it is built.

    Returns
    -------
    tuple of numpy.ndarray of int64
        The interactions with their repeats where a row is one interaction and no more; else each pair once. Where the
        data are split by time, those before the first cut.
    """
    if isinstance(dataset, CutByTime):
        return dataset.known_interactions()
    table = dataset.inter_feat
    users, items = (table[field].to_numpy() for field in (dataset.uid_field, dataset.iid_field))
    item_fields = [field for field in dataset.alias["item_id"] if field in table and field != dataset.iid_field]
    if not item_fields:
        return users, items
    owners, item_lists = [users], [items]
    for field in item_fields:
        column = table[field].to_numpy()
        lists = column if dataset.field2type[field] == FeatureType.TOKEN_SEQ else column[:, None]
        owners.append(np.repeat(users, [len(row) for row in lists]))
        item_lists.append(np.concatenate(lists))
    pairs = np.unique(np.concatenate(owners).astype(np.int64) * dataset.item_num + np.concatenate(item_lists))
    pairs = pairs[pairs % dataset.item_num > 0]
    return pairs // dataset.item_num, pairs % dataset.item_num


def _nothing_left(config) -> str:
    return (
        f"no interaction of {config['dataset']!r} is left after filtering; loosen user_inter_num_interval "
        f"({config['user_inter_num_interval']}), item_inter_num_interval ({config['item_inter_num_interval']}) "
        f"or val_interval ({config['val_interval']})"
    )
