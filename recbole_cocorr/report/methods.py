"""What was done, said from the runs themselves: the methods paragraph, and versions and machines."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from recbole_cocorr.experiments.comparisons import Comparisons
from recbole_cocorr.experiments.runs.groups import Group, in_field_order, is_sweep
from recbole_cocorr.experiments.runs.run_files import RunRecord
from recbole_cocorr.models.catalogue import own_loss
from recbole_cocorr.report.table_formats import Table, row

_PROTOCOLS = {
    "paper": "chronological leave-one-out (last item test, the one before it validation); the test item is ranked "
    "among 100 items that the user never touched in any split, drawn once per data set and seed and the same "
    "for every model",
    "full": "chronological leave-one-out (last item test, the one before it validation); the test item is ranked among "
    "all items",
}


def methods(
    records: Sequence[RunRecord], groups: Sequence[Group], compared: Sequence[tuple[Group, Comparisons]]
) -> list[str]:
    """Paragraphs on protocol, tuning, selection and statistics."""
    result = []
    for protocol in sorted({group.protocol for group in groups}):
        runs = [
            run for g in groups if g.protocol == protocol for by_seed in g.runs.values() for run in by_seed.values()
        ]
        meaning = _PROTOCOLS.get(protocol, "as its property file says")
        facts = [
            _setting(runs, "MAX_ITEM_LIST_LENGTH", "L = {} clicks of history"),
            _setting([run for run in runs if not own_loss(run.model)], "loss_type", "loss {}"),
            _setting(runs, "learner", "optimiser {}"),
            _setting(runs, "training_rows", "training rows {}"),
            _setting(runs, "train_batch_size", "batch {}"),
            _setting(runs, "epochs", "at most {} epochs"),
            _setting(runs, "stopping_step", "ended after {} validations without a better score"),
        ]
        result.append(
            f"Protocol {protocol}: {meaning}. Settings: {'; '.join(f for f in facts if f) or 'not recorded'}."
        )
    if groups:
        result.append(
            "Equal scores count as a random order would. The epoch is the one with the best validation metric; the "
            "test items are ranked once, with that epoch's weights. " + " ".join([_rates(records), *_options(records)])
        )
    seeds = sorted({seed for g in groups for by_seed in g.runs.values() for seed in by_seed})
    if seeds:
        result.append(f"Seeds: {', '.join(map(str, seeds))}. A figure in brackets is the standard deviation over them.")
    counts = [f"{len(comparisons.rows)} on {group.name}" for group, comparisons in compared if comparisons.rows]
    if counts:
        result.append(
            "Significance: users are the units. Each user's metric is averaged over the seeds both models share, and a "
            "paired t test is made on the differences; p is corrected by Holm's method for the number of "
            f"comparisons in each table ({'; '.join(counts)}). It speaks about other users of these trained "
            "models; how much another training would move a difference is the deviation over seeds."
        )
    return result or ["No tested run."]


def _rates(records: Sequence[RunRecord]) -> str:
    """One sentence on the learning rates tried and how one was chosen."""
    tried: dict[str, set[float]] = {}
    for record in records:
        if not is_sweep(record):
            tried.setdefault(record.label, set()).add(record.learning_rate)
    grids = Counter(tuple(sorted(rates)) for rates in tried.values())
    if all(len(grid) == 1 for grid in grids):
        return "Each model was trained with one learning rate."
    grids_tried = []
    for grid, _ in grids.most_common():
        names = in_field_order(label for label, rates in tried.items() if tuple(sorted(rates)) == grid)
        grids_tried.append(f"{', '.join(f'{rate:g}' for rate in grid)} ({', '.join(names)})")
    return f"Learning rates tried, chosen on validation only: {'; '.join(grids_tried)}."


def _options(records: Sequence[RunRecord]) -> list[str]:
    """A sentence for each model and data set of which further settings were tried: how many, and what was kept."""
    tried: dict[tuple[str, str, str], list[RunRecord]] = {}
    for record in records:
        if not is_sweep(record):
            tried.setdefault((record.label, record.dataset, record.protocol), []).append(record)
    sentences = []
    for (label, dataset, _), runs in tried.items():
        values: dict[str, set[str]] = {}
        for run in runs:
            for key, value in run.settings.items():
                values.setdefault(key, set()).add(str(value))
        keys = [key for key, distinct in values.items() if len(distinct) > 1]
        kept = [run for run in runs if run.test is not None]
        if keys and kept:
            trials = len({(str(run.settings), run.learning_rate) for run in runs})
            chosen = ", ".join(f"{key} {kept[0].settings.get(key)}" for key in keys)
            sentences.append(f"Of {label} on {dataset} {trials} settings were tried in the same way; kept: {chosen}.")
    return sentences


def _setting(runs: Sequence[RunRecord], key: str, text: str) -> str:
    values = _distinct(run.config.get(key) for run in runs)
    return text.format(" or ".join(values)) if values else ""


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(v) for v in values if v is not None))


def provenance(records: Sequence[RunRecord]) -> Table:
    """Versions and machines of all runs; what differs between runs is listed with the number of runs."""
    rows = []
    for heading, name in (("Version of", "versions"), ("Machine", "machine")):
        keys = dict.fromkeys(key for record in records for key in getattr(record, name))
        for key in keys:
            count = Counter(str(getattr(r, name)[key]) for r in records if getattr(r, name).get(key) is not None)
            if count:
                texts = [
                    value if len(count) == 1 else f"{value} ({n} of {len(records)} runs)"
                    for value, n in count.most_common()
                ]
                rows.append(row(f"{heading} {key}" if name == "versions" else f"{heading}: {key}", "; ".join(texts)))
    hours = sum(record.seconds for record in records) / 3600
    rows.append(row("Finished runs", f"{len(records)}, {hours:.1f} hours of training and validation together"))
    started = sorted(record.started for record in records if record.started)
    if started:
        rows.append(row("Started", started[0] if len(started) == 1 else f"{started[0]} to {started[-1]}"))
    return Table("provenance", "Versions and machine", ("What", "Value"), tuple(rows), text_columns=2)
