"""Full ranking in its two ways, side by side: the items of the user's history among the candidates, and left out."""

from collections.abc import Mapping
from typing import Any

from recbole_cocorr.evaluation.result_table import metric_title
from recbole_cocorr.experiments.comparisons import metric_columns
from recbole_cocorr.experiments.runs.groups import Group
from recbole_cocorr.experiments.runs.run_files import RunRecord
from recbole_cocorr.models.catalogue import is_trained
from recbole_cocorr.report.table_formats import MISSING, Cell, Table, mean_and_deviation, places, row

WAYS = ("out", "in")
_WAY_TITLES = ("The user's history left out", "Among the candidates")
# What a number cannot be compared without, and the literature often leaves out: a title, and settings of that meaning.
_SETTINGS = {
    "L": ("MAX_ITEM_LIST_LENGTH",),
    "Width": ("hidden_size", "embedding_size"),
    "Rows": ("training_rows",),
    "Loss": ("loss_type",),
    "Dropout": ("dropout_prob", "hidden_dropout_prob", "attn_dropout_prob"),
}


def both_ways_tables(group: Group) -> list[Table]:
    """One table of the runs that measured both ways; none where no run did."""
    runs = {label: [r for r in by_seed.values() if r.test_by_history] for label, by_seed in group.runs.items()}
    runs = {label: records for label, records in runs.items() if records}
    if not runs:
        return []
    wanted = [name for name in metric_columns(group) if name.endswith("@10")] or metric_columns(group)
    columns = [(way, metric) for way in WAYS for metric in wanted]
    values = {c: [_values(records, *c) for records in runs.values()] for c in columns}
    ranking = {c: places([sum(v) / len(v) if v else None for v in values[c]]) for c in columns}
    rows = [
        row(
            label,
            *(
                Cell(
                    mean_and_deviation(values[c][index]),
                    bold=ranking[c][index] == 1,
                    underlined=ranking[c][index] == 2,
                )
                for c in columns
            ),
            *(_in_words(records, keys) for keys in _SETTINGS.values()),
            str(len(records)),
        )
        for index, (label, records) in enumerate(runs.items())
    ]
    return [
        Table(
            name=f"history-in-and-out-{group.slug}",
            caption=f"Test metrics with the user's history left out of the candidates (out) and among them (in), "
            f"{group.name}",
            header=("Model", *(f"{metric_title(m)}, {way}" for way, m in columns), *_SETTINGS, "Seeds"),
            groups=(
                ("", ("Model",)),
                *((title, tuple(metric_title(m) for m in wanted)) for title in _WAY_TITLES),
                ("Settings", tuple(_SETTINGS)),
                ("", ("Seeds",)),
            ),
            rows=tuple(rows),
            notes=(
                "L: clicks of the history that are read. Width: of the item vectors. Rows: prefix, a training row for "
                "each click; sequence, one for each user with a loss at every click. Best in bold, second underlined.",
                *_cut_note(runs),
            ),
        )
    ]


def _values(records: list[RunRecord], way: str, metric: str) -> list[float]:
    return [r.test_by_history[way][metric] for r in records if metric in r.test_by_history[way]]


def _in_words(records: list[RunRecord], keys: tuple[str, ...]) -> str:
    """The first of some settings that the model has, in every seed."""
    if not is_trained(records[0].model) and keys != _SETTINGS["L"]:
        return MISSING
    return ", ".join(dict.fromkeys(_setting(r.config, keys) for r in records))


def _setting(config: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    value = next((config[key] for key in keys if config.get(key) is not None), None)
    if value is None:
        return "prefix" if keys == _SETTINGS["Rows"] else MISSING  # a record of before the setting
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cut_note(runs: Mapping[str, list[RunRecord]]) -> list[str]:
    """Where time cut the data, if it did."""
    notes = []
    for record in (records[0] for records in runs.values()):
        if not (cut := record.cut):
            continue
        test, miss = cut["test"], record.config.get("new_item_targets") == "miss"
        notes.append(
            f"Training before {cut['valid_from']}, validation before {cut['test_from']}, test to {cut['last']}: "
            f"{test['targets']:,} targets, {test['of_new_users']:,} of users and {test['of_new_items']:,} of items "
            f"that training never saw (the latter {'count as misses' if miss else 'are left out'})."
        )
    return list(dict.fromkeys(notes))
