"""``data_of``: the data that a checkpoint was trained and evaluated on, for every command that needs them again."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.parquet import parquet_files
from recbole_cocorr.training.agreement import PLACE
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.prepare import Loaders, read_data

# Config works these out again, from its own arguments and from eval_args; so do RecBole's transforms, which put the
# names of their columns among the settings.
_WORKED_OUT = frozenset(
    [
        *("model", "dataset", "device", "valid_neg_sample_args", "test_neg_sample_args"),
        *("MASK_INDEX", "MASK_ITEM_SEQ", "POS_ITEMS", "NEG_ITEMS"),
        *("INVERSE_ITEM_SEQ", "CROP_ITEM_SEQ", "CROP_ITEM_SEQ_LEN", "REORDER_ITEM_SEQ"),
    ]
)


class DataNotHere(UserError):
    """The data set is not where training read it, and no other folder is named."""


def data_of(
    settings: Mapping[str, Any],
    items: Sequence[str],
    source: str,
    data_path: str | None = None,
    use_gpu: bool = False,
) -> Loaders:
    """Read the data of a checkpoint again, with every setting that it was trained with.

    Parameters
    ----------
    settings : mapping
        The checkpoint's configuration.
    items : sequence of str
        Its item tokens by item id.
    source : str
        What errors call the checkpoint.
    data_path : str, optional
        The folder that holds ``NAME/NAME.inter``; where training read it, if left out.
    use_gpu : bool
        Whether the configuration of the loaders names a GPU where there is one.

    Returns
    -------
    Loaders
        With the rows and the candidates of the run behind the checkpoint.

    Raises
    ------
    DataNotHere
        If ``data_path`` is left out and the data are not where training read them.
    UserError
        If the data cannot be read, or hold other items than the checkpoint.
    """
    name = str(settings["dataset"])
    # Not the configuration's: for ml-100k RecBole takes its own copy, whatever folder is named.
    if data_path is None and not settings.get("data_path"):
        raise DataNotHere(f"{source} does not say where its data are; name the folder that holds them with --data_path")
    folder = Path(str(settings["data_path"])) if data_path is None else Path(data_path) / name
    if not _is_here(folder, name, settings.get("benchmark_filename")):
        if data_path is not None:
            raise UserError(f"{data_path} holds no {name}/{name}.inter, the data of {source}")
        raise DataNotHere(
            f"the data set {name!r} of {source} is not where training found it ({folder}); name the folder that holds "
            "it with --data_path=FOLDER"
        )
    arguments = {k: v for k, v in settings.items() if k not in PLACE and k not in _WORKED_OUT}
    # A configuration keeps the data set's own folder; one is made from the folder above.
    arguments["data_path"] = os.path.dirname(str(settings["data_path"])) if data_path is None else str(data_path)
    arguments |= {"use_gpu": use_gpu, "show_progress": False}
    config = Config(str(settings["model"]), name, None, arguments, overrides={})
    data = read_data(config)
    if [str(token) for token in data.dataset.field2id_token[data.dataset.iid_field]] != list(items):
        raise UserError(f"the data in {folder} hold other items than {source} was trained on, or number them otherwise")
    return data


def _is_here(folder: Path, name: str, splits: Sequence[str] | None) -> bool:
    """Whether the file of interactions, or those of a data set that comes split, are in the folder."""
    if not splits and parquet_files(folder, name):
        return True
    files = [f"{name}.{split}.inter" for split in splits] if splits else [f"{name}.inter"]
    return all((folder / file).is_file() for file in files)
