"""The rows of a comparison: the models of the catalogue, those of benchmark.yaml, and any RecBole model by name."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import nearest, property_file, read_properties
from recbole_cocorr.base.readers import Record
from recbole_cocorr.models import registry
from recbole_cocorr.models.catalogue import variants


@dataclass(frozen=True)
class Entry:
    """A model of the field.

    Attributes
    ----------
    label : str
        Its name in tables.
    model : str
        The class that is run.
    settings : dict
        Settings of this entry.
    learning_rates : tuple of float or None
        Its own grid; None for the plan's.
    options : tuple of dict
        Further settings to choose from: each is trained with each learning rate, and validation decides. Empty if there
        is nothing to choose.
    """

    label: str
    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    learning_rates: tuple[float, ...] | None = None
    options: tuple[dict[str, Any], ...] = ()


# What the benchmark sets itself, so that a row cannot.
RESERVED = frozenset(["model", "dataset", "protocol", "seed", "learning_rate", "checkpoint_dir", "resume", "nproc"])
_KEYS = ("model", "settings", "learning_rates", "options", "by_name_only")


def benchmark_defaults() -> dict[str, Any]:
    """``properties/benchmark.yaml``: further rows, the grid and the seeds.

    Raises
    ------
    UserError
        If it lacks one of these.
    """
    content = read_properties("", "benchmark")
    for key in ("models", "learning_rates", "seeds"):
        if not content.get(key):
            raise UserError(f"{property_file('', 'benchmark')} lacks {key!r}")
    record = Record(content, str(property_file("", "benchmark")))
    record.array("learning_rates", (int, float)), record.wholes("seeds"), record.record("models")
    return content


def _entry_of(label: str, row: Record) -> Entry:
    """A row of benchmark.yaml; raises UserError for what it cannot hold."""
    if "," in label:
        raise UserError(f"{row.source}: the label {label!r} has a comma, which stands between labels in --models")
    unknown = next((key for key in row if key not in _KEYS), None)
    if unknown is not None:
        raise UserError(f"{row.source}: {row.where}{unknown} means nothing in a row; {nearest(unknown, _KEYS)}")
    settings = {} if row.absent("settings") else row.record("settings").content
    options = [] if row.absent("options") else row.records("options")
    rates = None if row.absent("learning_rates") else tuple(row.array("learning_rates", (int, float)))
    if rates is not None and not all(0 < rate < math.inf for rate in rates):
        raise row.refuse("learning_rates", "a list of numbers above 0")
    for one in (settings, *(option.content for option in options)):
        key = next(iter(sorted(RESERVED & set(one))), None)
        if key is not None:
            remedy = "; write learning_rates: [...] in the row" if key == "learning_rate" else ""
            raise UserError(f"{row.source}: {label!r} sets {key}, which is the benchmark's own to set{remedy}")
    contents = [option.content for option in options]
    if any(contents.count(content) > 1 for content in contents):
        raise UserError(f"{row.source}: {label!r} has one of its options twice")
    return Entry(label, row.text("model", default=label), dict(settings), rates or None, tuple(contents))


def catalogue_entries() -> list[Entry]:
    """The rows of the models' cards, in order."""
    # Where nothing is learned by gradient there is no learning rate to choose.
    return [
        Entry(label, card.name, dict(variant.settings), None if card.trained else (0.001,))
        for label, (card, variant) in variants().items()
    ]


def sweep_entries(sizes: Iterable[int], length: int, use_gcn: bool) -> list[Entry]:
    """The rows of a sweep: CoCorrRec with each K, at one L.

    Raises
    ------
    UserError
        If K is below 1, or above L, where it would be the model of K = L.
    """
    rows = []
    for size in sizes:
        if not 1 <= size <= length:
            raise UserError(f"K is {size}; it must be at least 1 and at most L = {length}")
        settings = {"mini_batch_size": size, "MAX_ITEM_LIST_LENGTH": length, "use_gcn": use_gcn, "hidden_size": 64}
        rows.append(Entry(f"K = {size}", "CoCorrRec", settings))
    return rows


def find_entries(names: Sequence[str] | None, own_rates: bool = True) -> list[Entry]:
    """The models that ``names`` stand for: labels of the catalogue or of benchmark.yaml, or models of RecBole.

    None stands for the catalogue and for all rows of benchmark.yaml that are not marked ``by_name_only``; there, a row
    with a label of the catalogue takes its place. With ``own_rates=False`` a row's own grid gives way to the plan's; a
    single rate stays, because it stands where there is nothing to choose.

    Raises
    ------
    UserError
        If a name is unknown (the error names the nearest known one), or stands there twice.
    """
    rows = {entry.label: entry for entry in catalogue_entries()}
    by_name_only = set()
    source = str(property_file("", "benchmark"))
    for label, content in benchmark_defaults()["models"].items():
        row = Record(content or {}, source, f"models.{label}.")
        rows[label] = _entry_of(label, row)
        if row.flag("by_name_only", False):
            by_name_only.add(label)
    if names is None:
        names = [label for label in rows if label not in by_name_only]
    names = [name.strip() for name in names]
    if not names:
        raise UserError("no model is given")
    exact = {name.lower(): name for name in (*registry.known_models(), *rows)}  # a row before a model of the name
    labels = [exact.get(name.lower(), name) for name in names]
    for name, label in zip(names, labels, strict=True):
        if label not in rows and label not in registry.known_models():
            raise UserError(f"there is no model {name!r}; {nearest(name, [*rows, *registry.known_models()])}")
        if labels.count(label) > 1:
            raise UserError(f"the model {label!r} is given twice")
    entries = [rows.get(label, Entry(label, label)) for label in labels]
    for entry in entries:
        if registry.find_model(entry.model) is None:
            raise UserError(f"properties/benchmark.yaml: {entry.label!r} names the model {entry.model!r}, unknown here")
    if own_rates:
        return entries
    return [
        replace(entry, learning_rates=None) if entry.learning_rates and len(entry.learning_rates) > 1 else entry
        for entry in entries
    ]
