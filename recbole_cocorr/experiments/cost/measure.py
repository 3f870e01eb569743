"""What one inference and one new click cost each model, at each length of the history."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.cost.field import build, history
from recbole_cocorr.experiments.cost.flops import Flops, count_flops
from recbole_cocorr.experiments.cost.latency import one_user_scorer, threads, times_in_turn
from recbole_cocorr.experiments.cost.memory import peak_bytes
from recbole_cocorr.experiments.cost.parameters import count_parameters, per_item_names
from recbole_cocorr.experiments.entries import Entry, catalogue_entries
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.cost import Cost
from recbole_cocorr.experiments.results.spread import QUARTILES, quartiles
from recbole_cocorr.experiments.runs.environment import machine, versions
from recbole_cocorr.models.catalogue import takes_corrections
from recbole_cocorr.models.scoring import DotProductScorer
from recbole_cocorr.models.step import stepper_of

# A call that has been timed so long leaves the later rounds (DIN at L = 1000 takes seconds).
MOST_SECONDS = 5.0


@dataclass(frozen=True)
class Settings:
    """What the rows have in common.

    Attributes
    ----------
    items : int
        Items of the catalogue, without padding.
    candidates : int
        Items that an inference scores.
    mini_batch_size : int
        K of CoCorrRec; L, where that is less.
    threads : int
        Threads that the latency is measured with.
    repeats : int
        Rounds of timing.
    """

    items: int = 12101
    candidates: int = 100
    mini_batch_size: int = 10
    threads: int = 1
    repeats: int = 50


class Subject:
    """A model with one user's history and candidates, and the calls that are counted and timed.

    Parameters
    ----------
    entry : Entry
    length : int
    settings : Settings
    """

    def __init__(self, entry: Entry, length: int, settings: Settings):
        self.entry, self.length, self.settings = entry, length, settings
        self.model = build(entry, length, settings.items, settings.mini_batch_size)
        self.interaction = history(self.model, length)
        self.items = (torch.arange(settings.candidates) % settings.items + 1)[None]
        with torch.no_grad():
            self.scorer = one_user_scorer(self.model, self.interaction)
            self.steps = stepper_of(self.model)
            self._state = self.steps.initial_state() if self.steps else None

    # -- one inference ---------------------------------------------------------------------------

    def infer(self) -> torch.Tensor:
        """The history to the scores [1, C], all on this machine."""
        return self.scorer.candidates(self.interaction, self.items)

    @cached_property
    def reads_once(self) -> bool:
        """Whether the history makes one user vector for all candidates; DIN reads it for each."""
        return isinstance(self.scorer, DotProductScorer)

    def encode(self) -> torch.Tensor:
        """The history to the user vector [1, d]."""
        return self.scorer.encode(self.interaction)

    @cached_property
    def has_cloud(self) -> bool:
        """Whether part of the work is the cloud's."""
        return takes_corrections(self.model)

    @cached_property
    def _uploaded(self) -> tuple[torch.Tensor, torch.Tensor]:
        sequence, lengths = self.interaction[self.model.ITEM_SEQ], self.interaction[self.model.ITEM_SEQ_LEN]
        return self.model.hidden_states(sequence), lengths

    def cloud(self) -> Any:
        """The cloud's part: X to the correction."""
        return self.model.correction(*self._uploaded)

    @cached_property
    def _received(self) -> Any:
        return self.cloud()

    def on_device(self) -> torch.Tensor:
        """The device's part, the correction having arrived: the history to the scores."""
        if not self.has_cloud:
            return self.infer()
        received = self._received
        self.model.correction = lambda hidden_states, lengths: received  # before the class's own
        try:
            return self.infer()
        finally:
            del self.model.correction

    def transform_candidates(self) -> torch.Tensor:
        """phi of the candidates on the spot, for a device that keeps no table of it."""
        return self.model.item_vectors(self.items)

    # -- one click -------------------------------------------------------------------------------

    def click(self) -> Any:
        """One more click to the user vector, for a model with a state."""
        return self.steps.step(self.items[0, :1], self._state)

    def click_cloud(self) -> Any:
        """The cloud's part of it."""
        return self.steps.cloud(self._uploaded[0][:, -1], self._state[1])

    def click_and_score(self) -> torch.Tensor:
        """One more click to the scores; the history again, for a model without a state."""
        if self.steps is None:
            return self.infer()
        return self.scorer.score(self.click()[0], self.items)

    def kept_bytes(self) -> tuple[int, int]:
        """Bytes kept for the user between two clicks, on the device and in the cloud."""
        if self.steps is None:
            sequence = self.interaction[self.model.ITEM_SEQ]
            return sequence.numel() * sequence.element_size(), 0
        return self.steps.kept_bytes(self._state)


@torch.no_grad()
def count(subject: Subject, per_item: frozenset[str]) -> Row:
    """All of a row that does not depend on the machine's speed; the keys are described in ``docs/cost.md``."""
    s, nothing = subject, Flops()
    parameters = count_parameters(s.model, per_item)
    whole = count_flops(s.infer)
    encode = count_flops(s.encode) if s.reads_once else nothing
    score = whole - encode
    cloud = count_flops(s.cloud) if s.has_cloud else nothing
    click = count_flops(s.click) if s.steps else whole - score if s.reads_once else nothing
    click_cloud = count_flops(s.click_cloud) if s.has_cloud else nothing
    device_state, cloud_state = s.kept_bytes()
    transform = not isinstance(getattr(s.model, "target_transform", nn.Identity()), nn.Identity)
    on_the_spot = score + count_flops(s.transform_candidates) if transform else score
    tables = parameters.items * 4 + (s.model.n_items * s.model.hidden_size * 4 if transform else 0)
    return {
        "model": s.entry.label,
        "L": s.length,
        "K": getattr(s.model, "mini_batch_size", None),
        "parameters": parameters.total,
        "parameters_without_items": parameters.without_items,
        "device_parameters": parameters.device,
        "cloud_parameters": parameters.cloud,
        "item_table_bytes": tables,
        "flops": whole.total,
        "flops_products": whole.products,
        "flops_elementwise": whole.elementwise,
        "flops_encode": encode.total,
        "flops_score": score.total,
        "flops_score_without_table": on_the_spot.total,
        "device_flops": (whole - cloud).total,
        "cloud_flops": cloud.total,
        "flops_per_click": (click + score).total,
        "device_flops_per_click": (click - click_cloud + score).total,
        "cloud_flops_per_click": click_cloud.total,
        "reads_history_again": s.steps is None,
        "state_bytes": device_state,
        "cloud_state_bytes": cloud_state,
        "peak_bytes": peak_bytes(s.infer),
        "device_peak_bytes": peak_bytes(s.on_device),
    }


def _times(subjects: Sequence[Subject], settings: Settings) -> list[Row]:
    """Median microseconds of every subject's calls, all in turn, and the quartiles of each."""
    calls: dict[str, Callable[[], Any]] = {}
    for number, s in enumerate(subjects):
        calls[f"{number} latency_us"] = s.infer
        if s.has_cloud:
            calls[f"{number} device_latency_us"] = s.on_device
        if s.steps is not None:
            calls[f"{number} click_latency_us"] = s.click_and_score
    with threads(settings.threads):
        taken = times_in_turn(calls, settings.repeats, MOST_SECONDS)
    rows = []
    for number in range(len(subjects)):
        runs = {name.partition(" ")[2]: t for name, t in taken.items() if name.partition(" ")[0] == str(number)}
        row: Row = {}
        for name in ("latency_us", "device_latency_us", "click_latency_us"):
            times = [seconds * 1e6 for seconds in runs.get(name, runs["latency_us"])]
            row[name] = round(statistics.median(times), 1)
            row[name + QUARTILES] = [round(q, 1) for q in quartiles(times)]
        rows.append({**row, "runs": len(runs["latency_us"])})
    return rows


def _counted(entry: Entry, length: int, settings: Settings, per_item: frozenset[str]) -> tuple[Subject, Row]:
    try:
        subject = Subject(entry, length, settings)
        return subject, count(subject, per_item)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        if entry in catalogue_entries():
            raise
        # RecBole has models that score with more than a history, or want a larger catalogue.
        reason = f"it asks for {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise UserError(f"{entry.label} cannot be measured on a history and candidates alone: {reason}") from error


def measure(
    entries: Sequence[Entry],
    lengths: Sequence[int],
    settings: Settings,
    done: Callable[[int], None] = lambda length: None,
) -> Cost:
    """Count and time all entries, one length after another.

    Parameters
    ----------
    entries : sequence of Entry
    lengths : sequence of int
        Each L once.
    settings : Settings
    done : callable
        Called with each L that is finished.

    Raises
    ------
    UserError
        If a model cannot be built or read one user's history, or computes with an operation that is not in the table.
    """
    rows: list[Row] = []
    per_item: dict[str, frozenset[str]] = {}
    with threads(settings.threads):
        about = machine()
        for length in lengths:
            subjects, counts = [], []
            for entry in entries:
                if entry.label not in per_item:
                    per_item[entry.label] = per_item_names(lambda n, e=entry: build(e, 2, n, 2))
                subject, row = _counted(entry, length, settings, per_item[entry.label])
                subjects.append(subject)
                counts.append(row)
            rows += [{**row, **times} for row, times in zip(counts, _times(subjects, settings), strict=True)]
            done(length)
    return Cost(rows, vars(settings), versions(), about)
