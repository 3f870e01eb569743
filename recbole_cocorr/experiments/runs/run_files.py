"""The results folder of ``benchmark`` and ``sweep``: one JSON file per finished run.

Layout
------
``plan.json``
    The plan: ``format``, ``format_version`` and its settings.
``runs/<run id>/run.json``
    A finished run, written last and in one piece: a run without it is not finished.
``runs/<run id>/run.json.gz``
    The same in a published folder (:mod:`recbole_cocorr.experiments.runs.publish`).
``runs/<run id>/model.safetensors``, ``progress.json``, ``training.log``
    The best epoch's weights, what a killed run goes on from, and the log.
"""

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write, write_versioned
from recbole_cocorr.base.readers import Record, is_number, read_json, versioned

RUN_FORMAT = "recbole_cocorr.run"
PLAN_FORMAT = "recbole_cocorr.plan"
FORMAT_VERSION = 1
RUN_FILE, PACKED_RUN_FILE = "run.json", "run.json.gz"
PLAN_FILE, FAILURES_FILE = "plan.json", "failures.json"
_MEND = "read it with the version that wrote it, or name a new results folder"


@dataclass
class Ranks:
    """Where each user's test item stands: what every metric is computed from.

    Attributes
    ----------
    users : list of str
        User tokens.
    higher, tied, others : list of int
        Candidates that score higher than the test item, that score the same, and all candidates but the test item.
    history : list of int
        Clicks before the test item, not cut to the model's L.
    """

    users: list[str]
    higher: list[int]
    tied: list[int]
    others: list[int]
    history: list[int]

    def table(self) -> np.ndarray:
        """[users, 3] for :func:`recbole_cocorr.evaluation.ranking.per_row`."""
        return np.stack([self.higher, self.tied, self.others], axis=1).astype(np.int64)


@dataclass
class RunRecord:
    """One training run.

    Attributes
    ----------
    label : str
        Name of the model in tables, for example "CoCorrRec (w/o GCN)".
    model, dataset, protocol : str
    seed : int
    learning_rate : float
    settings : dict
        What the plan set beside these.
    config : dict
        The whole configuration, as far as JSON can hold it.
    versions : dict
        Of Python, this package, torch, RecBole and numpy; ``commit`` of the checkout, if it is one.
    machine : dict
        ``processor``, ``cores``, ``threads``, ``system``, ``gpu``.
    started : str
        UTC, ISO 8601.
    seconds : float
        Training and validation together.
    parameters : int
    curve : list of dict
        Per epoch: ``epoch`` (from 0), ``train_loss``, ``train_seconds``, ``valid`` (metrics, or None) and
        ``valid_seconds``.
    best_epoch : int
        From 0, as ``epoch``; tables, figures and logs count from 1.
    valid : dict
        Validation metrics of the best epoch.
    test : dict or None
        Test metrics of the best epoch; None where the run only served to choose a learning rate.
    ranks : Ranks or None
        The ranks of the test items.
    test_by_history : dict or None
        Rank metrics of the same test under full ranking: ``"in"`` where the items of a user's history are candidates,
        ``"out"`` where they are left out. ``test`` is the one that ``eval_mask_history`` asks for.
    cut : dict
        Where time cut the data, and what lies on each side
        (:class:`~recbole_cocorr.data.cut_by_time.CutByTime`); empty under another split.
    """

    label: str
    model: str
    dataset: str
    protocol: str
    seed: int
    learning_rate: float
    settings: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    started: str = ""
    seconds: float = 0.0
    parameters: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = -1
    valid: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] | None = None
    ranks: Ranks | None = None
    test_by_history: dict[str, dict[str, float]] | None = None
    cut: dict[str, Any] = field(default_factory=dict)


def write_run(path: Path, record: RunRecord) -> None:
    """Write a finished run, whole or not at all."""
    write_versioned(path, "run record", RUN_FORMAT, FORMAT_VERSION, dataclasses.asdict(record), indent=None)


def read_record(path: Path, kind: str, name: str, mend: str = _MEND) -> Record:
    """Read a JSON file of a results folder; Python's NaN is allowed, which a run that went astray may hold.

    Parameters
    ----------
    path : pathlib.Path
    kind : str
        The value of its ``format``.
    name : str
        What the file is, for errors: "run record".
    mend : str
        What to do about a file of another version.

    Raises
    ------
    UserError
        If it is no JSON, of another kind or of another format version.
    """
    return versioned(read_json(path, name, nan=True, halves=False), str(path), kind, name, FORMAT_VERSION, mend)


def read_run(path: Path) -> RunRecord:
    """Read a ``run.json``.

    Raises
    ------
    UserError
        If it is damaged, or of another version.
    """
    run = read_record(path, RUN_FORMAT, "run record")
    return RunRecord(
        **{name: run.text(name) for name in ("label", "model", "dataset", "protocol", "started")},
        seed=run.whole("seed"),
        learning_rate=run.number("learning_rate"),
        **{name: run.record(name).content for name in ("settings", "config", "versions", "machine")},
        seconds=run.number("seconds", 0),
        parameters=run.whole("parameters"),
        curve=curve_of(run),
        best_epoch=run.whole("best_epoch", -1),
        valid=run.numbers("valid"),
        test=None if run.absent("test") else run.numbers("test"),
        ranks=None if run.absent("ranks") else _ranks_of(run.record("ranks")),
        test_by_history=None if run.absent("test_by_history") else _by_history(run.record("test_by_history")),
        cut={} if run.absent("cut") else _cut_of(run.record("cut")),
    )


def _by_history(metrics: Record) -> dict[str, dict[str, float]]:
    return {way: metrics.numbers(way) for way in ("in", "out")}


def curve_of(content: Record) -> list[dict[str, Any]]:
    """The ``curve`` of a run that is finished, or on its way; raises UserError for any other value."""
    for epoch in content.records("curve"):
        epoch.whole("epoch")
        for key in ("train_seconds", "valid_seconds"):
            epoch.number(key, 0)
        if not is_number(epoch.content.get("train_loss")):
            raise epoch.refuse("train_loss", "a number")
        if not epoch.absent("valid"):
            epoch.numbers("valid")
    return content.array("curve")


def _ranks_of(ranks: Record) -> Ranks:
    counts = {name: ranks.wholes(name) for name in ("higher", "tied", "others", "history")}
    users = ranks.array("users", str)
    for name, values in counts.items():
        if len(values) != len(users):
            raise ranks.refuse(name, f"of the length of users, {len(users)}")
    return Ranks(users, **counts)


def _cut_of(cut: Record) -> dict[str, Any]:
    if cut.content:
        for key in ("first", "valid_from", "test_from", "last"):
            cut.text(key)
        for phase in ("valid", "test"):
            for key in ("targets", "of_new_users", "of_new_items"):
                cut.record(phase).whole(key)
    return cut.content


def runs_in(folder: Path) -> Iterator[tuple[RunRecord, Path]]:
    """Every finished run of a results folder and its own folder, in the order of their ids.

    Raises
    ------
    UserError
        If a record is damaged, or of another version.
    """
    for run in sorted(folder.glob("runs/*")):
        for name in (RUN_FILE, PACKED_RUN_FILE):
            if (run / name).is_file():
                yield read_run(run / name), run
                break


def read_plan(folder: Path) -> dict[str, Any]:
    """The plan of a results folder; raises UserError if it is damaged, or of another version."""
    plan = read_record(folder / PLAN_FILE, PLAN_FORMAT, "plan")
    plan.text("protocol", default="paper")
    plan.record("settings", default={})
    for key, kind in (("datasets", str), ("seeds", int), ("learning_rates", (int, float))):
        plan.array(key, kind, default=[])
    for model in plan.records("models") if "models" in plan else ():
        model.text("label")
        if not model.absent("learning_rates"):
            model.array("learning_rates", (int, float))
    return plan.content


def read_results(folder: str | Path) -> list[RunRecord]:
    """Every finished run of a results folder, in the order of their ids.

    Raises
    ------
    UserError
        If the folder is no results folder, or a file in it cannot be read.
    """
    folder = Path(folder)
    check_results_folder(folder)
    return [record for record, _ in runs_in(folder)]


def check_results_folder(folder: Path) -> None:
    """Raise UserError if a folder has no plan, or a damaged one."""
    if not (folder / PLAN_FILE).is_file():
        how = shlex.join(["benchmark", "--datasets=NAME", f"--out={folder}"])
        raise UserError(
            f"{folder} is no results folder: it has no {PLAN_FILE}; `python -m recbole_cocorr {how}` makes one"
        )
    read_plan(folder)


def write_failures(folder: Path, errors: Mapping[str, str]) -> None:
    """Write the failed runs and their errors; without any there is no file."""
    file = folder / FAILURES_FILE
    if not errors:
        file.unlink(missing_ok=True)
        return
    with atomic_write(file, what="list of failures") as out:
        json.dump([{"run": run, "error": error} for run, error in sorted(errors.items())], out, indent=1)


def read_failures(folder: Path) -> dict[str, str]:
    """The failed runs of a results folder and their errors; raises UserError if the file is damaged."""
    file = folder / FAILURES_FILE
    if not file.is_file():
        return {}
    failures = Record({"failures": read_json(file, "list of failed runs", halves=False)}, str(file)).records("failures")
    return {failure.text("run"): failure.text("error") for failure in failures}
