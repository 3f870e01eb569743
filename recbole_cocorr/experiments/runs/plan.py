"""What a benchmark is to run: models x datasets x seeds x what is tried, and what each run is called."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import known_names, nearest
from recbole_cocorr.experiments.entries import Entry

# Settings that say where a run happens, not what it computes.
_PLACE = ("data_path", "use_gpu", "gpu_id", "show_progress", "state")


@dataclass(frozen=True)
class RunSpec:
    """One training run, as the worker gets it.

    Attributes
    ----------
    label, model, dataset, protocol : str
    seed : int
    learning_rate : float
    settings : dict
        Everything else that is set.
    test : bool
        Whether the best epoch is read on the test items.
    """

    label: str
    model: str
    dataset: str
    protocol: str
    seed: int
    learning_rate: float
    settings: dict[str, Any] = field(default_factory=dict)
    test: bool = False

    @property
    def id(self) -> str:
        """Name of the run's folder: readable, and different for different settings."""
        what = {k: v for k, v in self.settings.items() if k not in _PLACE}
        digest = hashlib.blake2b(json.dumps([self.model, what], sort_keys=True).encode(), digest_size=4).hexdigest()
        label = re.sub(r"[^a-z0-9]+", "-", self.label.lower()).strip("-")
        return f"{self.dataset}.{self.protocol}.{label}.seed{self.seed}.lr{self.learning_rate:g}.{digest}"

    def overrides(self) -> dict[str, Any]:
        """The run's settings, as a command line would give them."""
        return {
            **self.settings,
            "protocol": self.protocol,
            "seed": self.seed,
            "learning_rate": self.learning_rate,
        }


def numbers(text: str | Iterable[Any] | None, key: str, kind: type, default: Sequence[Any]) -> list[Any]:
    """Read "1,2,3" as numbers of one kind, each once.

    Raises
    ------
    UserError
        For text that is no such number, one that stands there twice, a negative one, or none at all.
    """
    if text is None:
        return list(default)
    texts = text.split(",") if isinstance(text, str) else list(text)
    values = []
    for one in texts:
        try:
            number = kind(str(one).strip())
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise UserError(f"{key} holds {str(one).strip()!r}; it must be {what}") from None
        if not 0 <= number < 2**32 or (kind is float and number == 0):
            raise UserError(f"{key} holds {one!r}; it must be positive")
        if number in values:
            raise UserError(f"{key} holds {one!r} twice")
        values.append(number)
    if not values:
        raise UserError(f"{key} is empty; name at least one number")
    return values


@dataclass
class Plan:
    """All runs of a results folder.

    Attributes
    ----------
    entries : list of Entry
    datasets : list of str
    protocol : str
    seeds : list of int
    learning_rates : list of float
    settings : dict
        Settings of every run; an entry's own beat them.
    """

    entries: list[Entry]
    datasets: list[str]
    protocol: str
    seeds: list[int]
    learning_rates: list[float]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = known_names("protocol")
        if self.protocol not in known:
            raise UserError(f"there is no protocol {self.protocol!r}; {nearest(self.protocol, known)}")

    def tunings(self) -> list["Tuning"]:
        """One per dataset and model: runs of which one is chosen."""
        return [Tuning(self, entry, dataset) for dataset in self.datasets for entry in self.entries]

    def content(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {
            "models": [
                {
                    "label": e.label,
                    "model": e.model,
                    "settings": e.settings,
                    "learning_rates": e.learning_rates,
                    "options": e.options,
                }
                for e in self.entries
            ],
            "datasets": self.datasets,
            "protocol": self.protocol,
            "seeds": self.seeds,
            "learning_rates": self.learning_rates,
            "settings": self.settings,
        }


class Tuning:
    """The runs of one model on one dataset.

    With the first seed every learning rate is trained with every option of the entry and judged on the validation items
    alone; the best is read on the test items, and the other seeds are trained as it was.

    Parameters
    ----------
    plan : Plan
    entry : Entry
    dataset : str
    """

    def __init__(self, plan: Plan, entry: Entry, dataset: str):
        self.plan, self.entry, self.dataset = plan, entry, dataset
        self.rates = list(entry.learning_rates or plan.learning_rates)

    def total(self) -> int:
        """Number of its training runs."""
        return len(self.trials()) + len(self.plan.seeds) - 1

    def trials(self) -> list[RunSpec]:
        """Runs of the first seed; tested at once where there is nothing to choose."""
        plan, entry = self.plan, self.entry
        settings = [{**plan.settings, **entry.settings, **option} for option in entry.options or ({},)]
        only = len(self.rates) * len(settings) == 1
        return [
            RunSpec(entry.label, entry.model, self.dataset, plan.protocol, plan.seeds[0], rate, one, only)
            for one in settings
            for rate in self.rates
        ]

    def chosen(self, scores: Mapping[str, float], bigger: bool = True) -> RunSpec | None:
        """The trial that did best on validation; None if every one failed.

        Parameters
        ----------
        scores : mapping of str to float
            Validation score by run id.
        bigger : bool
            Whether a greater score is better.
        """
        trials = [spec for spec in self.trials() if spec.id in scores]
        return (max if bigger else min)(trials, key=lambda spec: scores[spec.id], default=None)

    def finals(self, trial: RunSpec) -> list[RunSpec]:
        """Runs of every seed with a trial's learning rate and settings, all tested."""
        return [replace(trial, seed=seed, test=True) for seed in self.plan.seeds]

    def choice(self, trial: RunSpec) -> str:
        """What was chosen with a trial, for people: ``0.001, training_rows sequence``."""
        keys = dict.fromkeys(key for option in self.entry.options for key in option)
        return ", ".join(
            [f"{trial.learning_rate:g}", *(f"{key} {trial.settings[key]}" for key in keys if key in trial.settings)]
        )
