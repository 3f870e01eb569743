"""One training run of a benchmark, in a process of its own: ``python -m recbole_cocorr.experiments.runs.worker SPEC``.

A run that was killed goes on after its last whole epoch, to the numbers it would have had; a run that only lacks the
test items is read from its weights.
"""

import dataclasses
import errno
import json
import logging
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_cocorr.base.command_line import report_errors
from recbole_cocorr.base.files import atomic_write, exclusive
from recbole_cocorr.base.readers import Record, parse_json, read_json
from recbole_cocorr.data.dataset import HISTORY_END
from recbole_cocorr.data.loaders import EvalLoader
from recbole_cocorr.experiments.runs.checks import check_record
from recbole_cocorr.experiments.runs.environment import machine, versions
from recbole_cocorr.experiments.runs.plan import RunSpec
from recbole_cocorr.experiments.runs.run_files import RUN_FILE, Ranks, RunRecord, curve_of, read_run, write_run
from recbole_cocorr.training.checkpoint import load_checkpoint, plain_config
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.prepare import prepare
from recbole_cocorr.training.trainer import Trainer

MODEL_FILE, STATE_FILE, PROGRESS_FILE = "model.safetensors", "model.training.safetensors", "progress.json"

# Exit status of a run that found the disk full: the others would find it too.
DISK_FULL = 28


class RecordingTrainer(Trainer):
    """A trainer whose files lie in the run's folder, and which writes the curve of the training.

    Parameters
    ----------
    config : Config
    model : SequentialRecommender
    folder : pathlib.Path
    """

    def __init__(self, config, model, folder: Path):
        super().__init__(config, model)
        self.saved_model_file = str(folder / MODEL_FILE)
        self._progress_file = folder / PROGRESS_FILE
        self.curve: list[dict[str, Any]] = []

    def resume_checkpoint(self, resume_file: str) -> None:
        """Go on from the last whole epoch; the curve is that of the epochs before."""
        super().resume_checkpoint(resume_file)
        curve, _ = read_progress(self._progress_file) if self._progress_file.is_file() else ([], "")
        self.curve = curve[: self.start_epoch]

    def _train_epoch(self, train_data, epoch_idx: int, *arguments: Any, **options: Any):
        start = time.perf_counter()
        loss = super()._train_epoch(train_data, epoch_idx, *arguments, **options)
        self.record_epoch(epoch_idx, loss / max(1, len(train_data)), time.perf_counter() - start)
        return loss

    def record_epoch(self, epoch: int, loss: float, seconds: float) -> None:
        """Write down that an epoch has been trained, and is not yet validated."""
        of_epoch = {"epoch": epoch, "train_loss": loss, "train_seconds": seconds, "valid": None, "valid_seconds": 0.0}
        self.curve.append(of_epoch)
        self._write_progress()

    def _valid_epoch(self, valid_data, show_progress: bool = False):
        start = time.perf_counter()
        score, result = super()._valid_epoch(valid_data, show_progress)
        self.curve[-1]["valid"] = {k: float(v) for k, v in result.items()}
        self.curve[-1]["valid_seconds"] = time.perf_counter() - start
        self._write_progress()
        return score, result

    def _write_progress(self) -> None:
        with atomic_write(self._progress_file, what="progress of the run") as file:
            json.dump({"curve": self.curve, "valid_metric": self.valid_metric}, file)


def read_progress(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The curve of a run so far, and the metric that its validation is judged by.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    content = Record(read_json(path, "progress of a run", nan=True), str(path))
    return curve_of(content), content.text("valid_metric")


def ranks_of(trainer: Trainer, loader: EvalLoader) -> Ranks:
    """Where each user's item stands, as the last evaluation of ``loader`` found it."""
    dataset = loader.dataset
    table = trainer.ranks[loader.phase]
    if HISTORY_END in dataset.inter_feat:
        rows = torch.arange(len(loader.users))
        owner, _ = dataset.history_pairs(rows)
        history = np.bincount(owner.numpy(), minlength=len(rows))
    else:
        history = dataset.inter_feat[dataset.item_list_length_field].numpy()
    columns = (table[:, column].tolist() for column in range(3))
    return Ranks(loader.user_tokens(), *columns, history.tolist())


def execute(spec: RunSpec, folder: Path) -> RunRecord:
    """Train, or finish training, and write ``run.json``.

    Raises
    ------
    UserError
        If the settings or the data do not fit, or a file is damaged.
    """
    finished = folder / RUN_FILE
    earlier = read_run(finished) if finished.is_file() else None
    if earlier is not None and (earlier.test is not None or not spec.test):
        return earlier
    config = Config(
        spec.model,
        spec.dataset,
        None,
        {"checkpoint_dir": str(folder), "save_training_state": True, "show_progress": False},
        overrides=spec.overrides(),
    )
    if earlier is not None:
        check_record(earlier, config, str(finished))
    prepared = prepare(config, make_trainer=lambda config, model: RecordingTrainer(config, model, folder))
    data, trainer = prepared.data, prepared.trainer
    record = earlier
    if record is None:
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        state = folder / STATE_FILE
        if state.is_file():
            trainer.resume_checkpoint(str(state))
        trainer.fit(data.train, data.valid, saved=True)
        best = load_checkpoint(folder / MODEL_FILE)
        record = RunRecord(
            label=spec.label,
            model=spec.model,
            dataset=spec.dataset,
            protocol=spec.protocol,
            seed=spec.seed,
            learning_rate=spec.learning_rate,
            settings=spec.settings,
            config=plain_config(config.final_config_dict),
            versions=versions(),
            machine=machine(),
            started=started,
            seconds=sum(e["train_seconds"] + e["valid_seconds"] for e in trainer.curve),
            parameters=sum(p.numel() for p in prepared.model.parameters()),
            curve=trainer.curve,
            best_epoch=best.epoch,
            valid=best.metrics,
            cut=getattr(data.train.dataset, "cut", {}),
        )
    if spec.test:
        result = trainer.evaluate(data.test, load_best_model=True, model_file=str(folder / MODEL_FILE))
        record.test = {k: float(v) for k, v in result.items()}
        if trainer.by_history is not None:
            record.test_by_history = {
                way: {k: float(v) for k, v in metrics.items()} for way, metrics in trainer.by_history.items()
            }
        if "test" in trainer.ranks:
            record.ranks = ranks_of(trainer, data.test)
    write_run(finished, record)
    for name in (STATE_FILE, PROGRESS_FILE):  # what a killed run needs, and this one no longer
        (folder / name).unlink(missing_ok=True)
    return record


def main(argv: Sequence[str] | None = None) -> int:
    """Run the spec (JSON: ``folder``, ``threads`` and the run's own fields); returns the exit status."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s")

    def run() -> int:
        spec, folder, threads = _arguments((sys.argv[1:] if argv is None else argv)[0])
        if threads:
            torch.set_num_threads(threads)
        try:
            # Waits for a worker that a killed benchmark left behind; its result is then there to be read.
            with exclusive(folder, wait=True):
                execute(spec, folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                named = f"{error.filename}: {error.strerror}" if error.filename else str(folder)
                print(f"error: no space is left on the disk: {named}", file=sys.stderr)
                return DISK_FULL
            raise
        return 0

    return report_errors(run)


def _arguments(text: str) -> tuple[RunSpec, Path, int | None]:
    arguments = Record(parse_json(text, "the worker's argument"), "the worker's argument")
    spec = RunSpec(
        **{name: arguments.text(name) for name in ("label", "model", "dataset", "protocol")},
        seed=arguments.whole("seed"),
        learning_rate=arguments.number("learning_rate"),
        settings=arguments.record("settings").content,
        test=arguments.flag("test"),
    )
    return spec, Path(arguments.text("folder")), None if arguments.absent("threads") else arguments.whole("threads", 1)


def command(spec: RunSpec, folder: Path, threads: int | None) -> list[str]:
    """The command line of a worker."""
    content = {**dataclasses.asdict(spec), "folder": str(folder), "threads": threads}
    return [sys.executable, "-m", "recbole_cocorr.experiments.runs.worker", json.dumps(content)]


if __name__ == "__main__":
    sys.exit(main())
