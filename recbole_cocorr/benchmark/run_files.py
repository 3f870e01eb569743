"""The results folder of ``benchmark`` and ``sweep``: one JSON file per finished run.

Layout
------
``plan.json``
    What was asked for: ``format``, ``format_version`` and the plan's own settings.
``runs/<run id>/run.json``
    A finished run, written last and in one piece: a run without it is not finished.
``runs/<run id>/model.safetensors``, ``progress.json``, ``training.log``
    The best epoch's weights, what a killed run goes on from, and the log.
"""

import dataclasses
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr import __version__
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write

RUN_FORMAT = "recbole_cocorr.run"
PLAN_FORMAT = "recbole_cocorr.plan"
FORMAT_VERSION = 1
RUN_FILE, PLAN_FILE = "run.json", "plan.json"


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
        Of the test items.
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


def write_run(path: Path, record: RunRecord) -> None:
    """Write a finished run, whole or not at all."""
    content = {"format": RUN_FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(record)}
    with atomic_write(path) as file:
        json.dump(content, file)


def read_json(path: Path, kind: str) -> dict[str, Any]:
    """Read a JSON file of this package.

    Raises
    ------
    UserError
        If it is no JSON, of another kind or of another format version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict) or content.get("format") != kind:
        raise UserError(f"{path} is no file of the kind {kind}")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version!r}; recbole_cocorr {__version__} reads version {FORMAT_VERSION}. "
            "Read it with the version that wrote it, or name a new results folder"
        )
    return content


def read_run(path: Path) -> RunRecord:
    """Read a ``run.json``.

    Raises
    ------
    UserError
        If it is damaged, or of another version.
    """
    content = read_json(path, RUN_FORMAT)
    names = {f.name for f in dataclasses.fields(RunRecord)}
    lacking = sorted(names - set(content))
    if lacking:
        raise UserError(f"{path} is damaged: it lacks {lacking[0]!r}")
    try:
        record = RunRecord(**{name: content[name] for name in names})
        if record.ranks is not None:
            record.ranks = Ranks(**record.ranks)
            lengths = {len(column) for column in dataclasses.astuple(record.ranks)}
            if len(lengths) != 1:
                raise UserError(f"{path} is damaged: the columns of its ranks have different lengths")
    except TypeError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    return record


def read_results(folder: str | Path) -> list[RunRecord]:
    """Every finished run of a results folder, in the order of their ids.

    Raises
    ------
    UserError
        If the folder is no results folder, or a file in it cannot be read.
    """
    folder = Path(folder)
    if not (folder / PLAN_FILE).is_file():
        how = shlex.join(["benchmark", "--datasets=NAME", f"--out={folder}"])
        raise UserError(
            f"{folder} is no results folder: it has no {PLAN_FILE}; `python -m recbole_cocorr {how}` makes one"
        )
    read_json(folder / PLAN_FILE, PLAN_FORMAT)
    return [read_run(path) for path in sorted((folder / "runs").glob(f"*/{RUN_FILE}"))]
