"""From a configuration to a dataset: which files there are, and which class reads them."""

import os
from pathlib import Path

import numpy as np
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.utils import FeatureType

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.together import finish
from recbole_cocorr.data.cut_by_time import CUT, CutByTime
from recbole_cocorr.data.parquet import parquet_files
from recbole_cocorr.data.parquet_dataset import ParquetDataset
from recbole_cocorr.data.sequences import HISTORY_END, SequenceDataset
from recbole_cocorr.data.split_files import SplitFiles, check_columns
from recbole_cocorr.data.time_order import TimeOrder

# Column of a batch's negatives, [rows, sample_num], 0 where a user has too few items left.
NEG_ITEMS = "neg_items"


def create_dataset(config) -> Dataset:
    """Load, filter and number the interactions that ``config`` describes.

    Data that come already split (``benchmark_filename``) are read by
    :class:`~recbole_cocorr.data.split_files.SplitFiles`, all others by
    :class:`~recbole_cocorr.data.sequences.SequenceDataset`, or from Parquet files by
    :class:`~recbole_cocorr.data.parquet_dataset.ParquetDataset`; for a model with a dataset class of its own in
    RecBole, that class with the same order of time.

    Raises
    ------
    UserError
        If the files are missing, damaged, or nothing is left after filtering.
    """
    dataset_class = _dataset_class(config)
    path = Path(config["data_path"]) / f"{config['dataset']}.inter"
    finish(path.parent)
    if parquet_files(path.parent, config["dataset"]):
        if path.is_file():
            raise UserError(f"both {path} and {path.stem}.parquet are there; keep one of them")
        if dataset_class is not SequenceDataset:
            raise UserError(_not_from_parquet(config, path))
        dataset_class = ParquetDataset
    elif config["benchmark_filename"] is None and os.path.isdir(config["data_path"]):
        if not path.is_file():
            raise UserError(
                f"{path.parent.resolve()} holds no {path.name}; put the interactions there, in RecBole's "
                "atomic format (python -m recbole_cocorr convert makes it from the raw public files), or as "
                f"{path.stem}.parquet"
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


def _not_from_parquet(config, path: Path) -> str:
    """Why this run needs a .inter file."""
    if CUT in config["eval_args"]["split"]:
        what = "a split by time"
    elif config["benchmark_filename"] is not None:
        what = "benchmark_filename"
    else:
        what = f"the dataset class of {config['model']}"
    return f"{what} reads .inter files, and {path.parent} holds {path.stem}.parquet; write the rows as {path.name}"


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
    if isinstance(dataset, (CutByTime, ParquetDataset)):
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
