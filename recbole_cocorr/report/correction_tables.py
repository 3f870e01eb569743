"""Models under several corrections: how a correction is called, and a row per model and correction."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from recbole_cocorr.evaluation.result_table import metric_title
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.corrections import Ablation
from recbole_cocorr.experiments.runs.groups import in_field_order, slug
from recbole_cocorr.report.table_formats import Cell, Table, mean_and_deviation, row


def variant_title(variant: str) -> str:
    """A correction as people read it: ``own, 2 clicks old`` for ``stale 2``."""
    kind, _, age = variant.partition(" ")
    if kind == "stale" and age.isdigit():
        return f"own, {age} click{'s' if age != '1' else ''} old"
    return {"own": "the user's own", "none": "without the cloud"}.get(variant, variant)


def ablation_table(ablation: Ablation, dataset: str) -> Table:
    """Is the correction personal? One checkpoint with its own correction, none, a stale one, another user's."""
    notes = []
    for label in in_field_order(r["label"] for r in ablation.common_share if r["dataset"] == dataset):
        shares = [r for r in ablation.common_share if (r["dataset"], r["label"]) == (dataset, label)]
        attention, bias = (f"{100 * np.mean([r[name] for r in shares]):.1f}%" for name in ("attention", "bias"))
        notes.append(
            f"{label}: {attention} of the correction of the attention and {bias} of that of the bias are common to all "
            "users."
        )
    return by_variant(
        ablation.rows,
        dataset,
        f"ablation-{slug(dataset)}",
        f"One checkpoint under other corrections, {dataset}",
        notes,
    )


def by_variant(
    every: Sequence[Row],
    dataset: str,
    name: str,
    caption: str,
    notes: Sequence[str],
    mark: Callable[[str, str, str], str] = lambda label, variant, metric: "",
) -> Table:
    """A row per model and correction, means over seeds.

    Parameters
    ----------
    every : sequence of dict
        Those of other data sets are left out.
    dataset, name, caption : str
    notes : sequence of str
    mark : callable
        Label, variant and metric to what stands raised behind the figure.
    """
    rows = [r for r in every if r["dataset"] == dataset]
    metrics = list(dict.fromkeys(m for r in rows for m in r["metrics"]))
    variants = variant_order(r["variant"] for r in rows)
    result = []
    for label in in_field_order(r["label"] for r in rows):
        for variant in variants:
            mine = [r["metrics"] for r in rows if (r["label"], r["variant"]) == (label, variant)]
            if mine:
                cells = (
                    Cell(
                        mean_and_deviation([m[name] for m in mine if name in m]),
                        mark=mark(label, variant, name),
                    )
                    for name in metrics
                )
                result.append(row(label, variant_title(variant), *cells, str(len(mine))))
    return Table(
        name=name,
        caption=caption,
        header=("Model", "Correction", *(metric_title(m) for m in metrics), "Seeds"),
        rows=tuple(result),
        notes=tuple(notes),
        text_columns=2,
    )


def variant_order(variants: Iterable[str]) -> list[str]:
    """``own`` first, then ``none``, the stale ones by age, the others by name."""

    def rank(variant: str) -> tuple[int, int, str]:
        kind, _, age = variant.partition(" ")
        if kind == "stale" and age.isdigit():
            return 2, int(age), variant
        return {"own": 0, "none": 1}.get(variant, 3), 0, variant

    return sorted(set(variants), key=rank)
