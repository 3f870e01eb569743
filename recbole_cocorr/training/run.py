"""Train and evaluate in one call, in one process or several."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from logging import Logger, getLogger
from typing import Any

from recbole.utils import get_environment, set_color

from recbole_cocorr.base.checkpoints import TRAINING, checkpoint_file
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.threads import limit_threads
from recbole_cocorr.data import distributed
from recbole_cocorr.data.frames import write_dataset
from recbole_cocorr.evaluation.result_table import result_table
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.prepare import Prepared, prepare
from recbole_cocorr.training.run_log import start_log
from recbole_cocorr.training.search import objective_function

__all__ = ["objective_function", "run", "run_recbole"]


def run(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    nproc: int = 1,
    world_size: int = -1,
    ip: str = "localhost",
    port: str = "5678",
    group_offset: int = 0,
    overrides: dict[str, Any] | None = None,
    interactions: Any = None,
) -> dict[str, Any]:
    """Train a model and evaluate it; the counterpart of RecBole's ``run``.

    Parameters
    ----------
    model, dataset, config_file_list, config_dict
        As for :class:`~recbole_cocorr.training.config.Config`.
    saved : bool
        Whether to write checkpoints and to test the best epoch rather than the last.
    nproc : int
        Processes on this machine.
    world_size : int
        Processes on all machines; -1 for ``nproc``.
    ip, port : str
        Where the first machine listens.
    group_offset : int
        Processes on the machines before this one.
    overrides : dict, optional
        Command-line settings, which beat everything; read from ``sys.argv`` if left out.
    interactions : pandas.DataFrame, optional
        The data, in place of files: a row for each interaction, with the columns ``user``, ``item`` and ``timestamp``
        (or ``user_id``, ``item_id`` and ``time``); see :func:`recbole_cocorr.data.frames.write_dataset`. They are
        written as RecBole's file into a folder that is gone after the run, or, where ``data_path`` is given, into
        ``data_path/dataset/``, where later commands find them again. ``dataset`` is a name for them ("interactions"
        if left out), and ``sys.argv`` is not read.

    Returns
    -------
    dict
        ``test_result`` and ``best_valid_result``: the metrics by name, such as ``ndcg@10``, on the test items and on
        the validation items of the best epoch; ``best_valid_score``: the one metric that epochs are compared by;
        ``valid_score_bigger``: whether more of it is better; ``saved_model_file``: the checkpoint, None if it is not
        saved.

    Raises
    ------
    UserError
        For anything the user can mend.
    """
    if interactions is not None:
        with _written(interactions, dataset, config_dict, overrides) as settings:
            return run(
                model,
                settings["dataset"],
                config_file_list,
                config_dict,
                saved,
                nproc,
                world_size,
                ip,
                port,
                group_offset,
                settings,
            )
    for name, number, least in (("nproc", nproc, 1), ("group_offset", group_offset, 0)):
        if number < least:
            raise UserError(f"{name} is {number}; it must be at least {least}")
    total = nproc if world_size <= 0 else world_size
    if total < nproc + group_offset:
        raise UserError(f"world_size is {total}, but this machine's processes go up to number {nproc + group_offset}")
    if total == 1 or distributed.under_torchrun():
        return run_recbole(model, dataset, config_file_list, config_dict, saved, overrides)

    import torch.multiprocessing as multiprocessing

    process_settings = {"world_size": total, "ip": ip, "port": port, "nproc": nproc, "offset": group_offset}
    # Checked here first: one sentence for the user instead of one from every process. RecBole's Config
    # leaves one GPU visible, and the processes would inherit that.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    Config(model, dataset, config_file_list, config_dict, overrides)
    if visible is None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    arguments = (model, dataset, config_file_list, {**(config_dict or {}), **process_settings}, saved, overrides, queue)
    try:
        multiprocessing.spawn(_process, args=arguments, nprocs=nproc, join=True)
    except (multiprocessing.ProcessRaisedException, multiprocessing.ProcessExitedException) as error:
        if not queue.empty():
            raise UserError(queue.get()["error"]) from None
        raise error
    return {} if queue.empty() else queue.get()


@contextmanager
def _written(
    interactions: Any, dataset: str | None, config_dict: dict[str, Any] | None, overrides: dict[str, Any] | None
) -> Iterator[dict[str, Any]]:
    """The overrides of a run that reads these interactions from a file."""
    given = {**(config_dict or {}), **(overrides or {})}
    dataset = dataset or given.get("dataset") or "interactions"
    with ExitStack() as stack:
        folder = given.get("data_path") or stack.enter_context(tempfile.TemporaryDirectory(prefix="interactions-"))
        write_dataset(interactions, folder, dataset)
        yield {**(overrides or {}), "dataset": dataset, "data_path": str(folder)}


def _process(local_rank, model, dataset, config_file_list, config_dict, saved, overrides, queue) -> None:
    try:
        result = run_recbole(
            model, dataset, config_file_list, {**config_dict, "local_rank": local_rank}, saved, overrides
        )
    except UserError as error:
        queue.put({"error": str(error)})
        raise
    if local_rank == 0:
        queue.put(result)


def run_recbole(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    overrides: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train and evaluate in this process; see :func:`run`."""
    limit_threads()
    config = Config(model, dataset, config_file_list, config_dict, overrides)
    try:
        return _run(config, saved)
    finally:
        distributed.leave()


def _run(config: Config, saved: bool) -> dict[str, Any]:
    logger = getLogger()
    if config["rank"] == 0:
        start_log(config)
    logger.info(sys.argv)
    logger.info(config)
    prepared = prepare(config)
    try:
        return _fitted(config, prepared, saved, logger)
    finally:
        prepared.trainer.tensorboard.close()  # it has a thread of its own


def _fitted(config: Config, prepared: Prepared, saved: bool, logger: Logger) -> dict[str, Any]:
    data, trainer = prepared.data, prepared.trainer
    if config["resume"]:
        trainer.resume_checkpoint(checkpoint_file(config["resume"], TRAINING, config["checkpoint_dir"]))
    best_valid_score, best_valid_result = trainer.fit(
        data.train, data.valid, saved=saved, show_progress=config["show_progress"]
    )
    test_result = trainer.evaluate(data.test, load_best_model=saved, show_progress=config["show_progress"])
    if config["rank"] == 0:
        logger.info("The running environment of this training is as follows:\n" + get_environment(config).draw())
        logger.info(set_color("best valid ", "yellow") + f": {best_valid_result}")
        logger.info(set_color("test result", "yellow") + f": {test_result}")
        if test_result:
            print(result_table(config, best_valid_result, test_result))
        if saved:
            print(f"model: {trainer.saved_model_file}")
    return {
        "best_valid_score": best_valid_score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": best_valid_result,
        "test_result": test_result,
        "saved_model_file": trainer.saved_model_file if saved else None,
    }
