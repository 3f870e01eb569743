"""Which runs of a results folder belong together, and the order in which models are named."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.runs.run_files import RunRecord
from recbole_cocorr.models.catalogue import is_ours, variants

_SWEEP_LABEL = re.compile(r"K = \d+")


@dataclass(frozen=True)
class Group:
    """Tested runs of one data set under one protocol.

    Attributes
    ----------
    dataset, protocol : str
    runs : dict of str to dict of int to RunRecord
        Label, in the field's order, to seed, ascending, to run.
    """

    dataset: str
    protocol: str
    runs: dict[str, dict[int, RunRecord]]

    @property
    def name(self) -> str:
        """For headings: ``amazon-beauty, protocol paper``."""
        return f"{self.dataset}, protocol {self.protocol}"

    @property
    def slug(self) -> str:
        """For file names."""
        return slug(f"{self.dataset}-{self.protocol}")

    @property
    def baselines(self) -> list[str]:
        """Labels of the models that are not ours."""
        return [label for label, by_seed in self.runs.items() if not is_ours(model_of(by_seed))]


def model_of(by_seed: dict[int, RunRecord]) -> str:
    """Class name of the model behind runs of one label."""
    return next(iter(by_seed.values())).model


def slug(text: str) -> str:
    """A file name's part: lower case, with hyphens for all that is no ASCII letter, digit or dot."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "x"


def in_field_order(labels: Iterable[str]) -> list[str]:
    """The rows of the catalogue first, in its order, then others by name; each once."""
    known, field = set(labels), list(variants())
    return [label for label in field if label in known] + sorted(known - set(field))


def is_sweep(record: RunRecord) -> bool:
    """Whether a run belongs to ``sweep``, which trains one model with several TTT mini-batch sizes."""
    return "mini_batch_size" in record.settings and _SWEEP_LABEL.fullmatch(record.label) is not None


def comparison_groups(records: Sequence[RunRecord]) -> list[Group]:
    """Tested runs by data set and protocol, without those of a sweep.

    Raises
    ------
    UserError
        If a model was tested twice with one seed: which of the two counts is not for a table to choose.
    """
    groups: dict[tuple[str, str], dict[str, dict[int, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if record.test is not None and not is_sweep(record):
            _add(groups[record.dataset, record.protocol][record.label], record.seed, record)
    return [
        Group(dataset, protocol, {label: dict(sorted(runs[label].items())) for label in in_field_order(runs)})
        for (dataset, protocol), runs in sorted(groups.items())
    ]


def sweep_groups(records: Sequence[RunRecord]) -> dict[tuple[str, str], dict[int, dict[int, RunRecord]]]:
    """Tested runs of sweeps: data set and protocol to K to seed to run, all ascending.

    Raises
    ------
    UserError
        If one K was tested twice with one seed.
    """
    groups: dict[tuple[str, str], dict[int, dict[int, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if record.test is not None and is_sweep(record):
            size = int(record.settings["mini_batch_size"])
            _add(groups[record.dataset, record.protocol][size], record.seed, record)
    return {
        key: {size: dict(sorted(by_size[size].items())) for size in sorted(by_size)}
        for key, by_size in sorted(groups.items())
    }


def _add(by_seed: dict[int, RunRecord], seed: int, record: RunRecord) -> None:
    if seed in by_seed:
        rates = " and ".join(f"{r.learning_rate:g}" for r in (by_seed[seed], record))
        raise UserError(
            f"{record.label} on {record.dataset} under protocol {record.protocol} has two tested runs with seed {seed} "
            f"(learning rates {rates}); a table needs one: move the other one's folder out of runs/"
        )
    by_seed[seed] = record
