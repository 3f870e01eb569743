"""The objective of a hyper-parameter search: one training, judged on the validation items."""

import tempfile
from contextlib import nullcontext
from logging import getLogger
from typing import Any

import torch
from recbole.utils import init_seed

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.threads import limit_threads
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.prepare import prepare, read_data

# Beyond every metric. Not infinite: hyperopt's early stop multiplies it by 0.
WORST = 1e9


def objective_function(
    config_dict: dict[str, Any] | None = None,
    config_file_list: list[str] | None = None,
    saved: bool = False,
) -> dict[str, Any]:
    """Objective for RecBole's ``HyperTuning``: the numbers that ``run`` has with the same settings.

    A training that fails under a trial's settings (it diverges, the model refuses them, memory runs out) is the worst
    of the search, and the search goes on; the log says why it failed.

    Parameters
    ----------
    config_dict : dict, optional
        The trial's settings.
    config_file_list : list of str, optional
        Files with the settings of all trials.
    saved : bool
        Whether the best epoch's checkpoint stays in ``checkpoint_dir``.

    Returns
    -------
    dict
        ``model``, ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result`` and ``test_result``. Of a trial
        that failed: the worst possible score, and ``{}`` for the results; ``test_result`` is ``{}`` too where the split
        has no test items.

    Raises
    ------
    UserError
        If the settings cannot be read or do not fit together, the data cannot be read, or hold no validation item.
    """
    limit_threads()
    config = Config(config_dict=config_dict, config_file_list=config_file_list)
    if config["resume"]:
        raise UserError("a search begins every training anew; leave resume out")
    if min(config["eval_step"], config["epochs"]) < 1:
        raise UserError(
            f"a search is judged by validation, and with eval_step {config['eval_step']} and epochs "
            f"{config['epochs']} nothing is validated; both must be at least 1"
        )
    config["show_progress"] = False
    bigger = bool(config["valid_metric_bigger"])
    result: dict[str, Any] = {
        "model": config["model"],
        "best_valid_score": -WORST if bigger else WORST,
        "valid_score_bigger": bigger,
        "best_valid_result": {},
        "test_result": {},
    }
    # The best epoch is tested, as after ``run``: its weights need a place for as long as that takes.
    with nullcontext() if saved else tempfile.TemporaryDirectory(prefix="recbole_cocorr-search-") as folder:
        if not saved:
            config["checkpoint_dir"], config["save_training_state"] = folder, False
        init_seed(config["seed"], config["reproducibility"])
        data = read_data(config)
        if len(data.valid) == 0:
            raise UserError("a search is judged on validation items, and the split leaves no such item; see eval_args")
        try:
            trainer = prepare(config, data).trainer
            best_valid_score, best_valid_result = trainer.fit(data.train, data.valid, verbose=False, saved=True)
            test_result = trainer.evaluate(data.test)
        except (UserError, MemoryError, torch.OutOfMemoryError) as error:
            getLogger().warning(f"the trial {config_dict} failed and counts as the worst: {error}")
            return result
    return result | {
        "best_valid_score": best_valid_score,
        "best_valid_result": best_valid_result,
        "test_result": test_result or {},
    }
