"""The test rows that a checkpoint was evaluated on, where its data set is at hand."""

from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.config import Config
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import EvalLoader, data_preparation
from recbole_cocorr.recommend import Recommender

# Saved settings that are of the run, not of the data.
_OF_THE_RUN = {
    "model",
    "dataset",
    "data_path",
    "checkpoint_dir",
    "gpu_id",
    "use_gpu",
    "single_spec",
    "rank",
    "world_size",
    "local_rank",
    "valid_neg_sample_args",
    "test_neg_sample_args",
    "show_progress",
    "resume",
}


def find_test_rows(recommender: Recommender, data_path: str | None = None, phase: str = "test") -> EvalLoader | None:
    """Load the data set of a checkpoint and make its test (or validation) rows, with the candidates of its protocol.

    Parameters
    ----------
    recommender : Recommender
        Of the checkpoint.
    data_path : str, optional
        The folder that holds ``NAME/NAME.inter``; where training found it, if left out.
    phase : {"test", "valid"}

    Returns
    -------
    EvalLoader or None
        None if no ``data_path`` is given and the data are not where training found them.

    Raises
    ------
    UserError
        If the data cannot be read, or are not those that the checkpoint was trained on.
    """
    saved = recommender.config
    name = saved["dataset"]
    if data_path is None:
        found = Path(str(saved["data_path"]))
        if not (found / f"{name}.inter").is_file():
            return None
        data_path = str(found.parent)
    elif not (Path(data_path) / str(name) / f"{name}.inter").is_file():
        raise UserError(f"{data_path} holds no {name}/{name}.inter, the data of this checkpoint")
    settings = {k: v for k, v in saved.items() if k not in _OF_THE_RUN and k != "device"}
    settings |= {"data_path": data_path, "use_gpu": False, "show_progress": False}
    config = Config(saved["model"], name, None, settings, overrides={})
    data = create_dataset(config)
    _, valid, test = data_preparation(config, data)
    if data.field2id_token[data.iid_field].tolist() != recommender.vocabulary.items:
        raise UserError(f"{data_path}/{name} is not what this checkpoint was trained on: its items are others")
    return test if phase == "test" else valid
