"""Models under several corrections: the results of ``benchmark --ablate`` and of ``correct``.

Both hold a row for each run and variant of the correction: ``dataset``, ``label``, ``seed``, ``variant`` and
``metrics``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

from recbole_cocorr.base.readers import Record
from recbole_cocorr.experiments.results.base import Result, Row, checked_object, checked_rows
from recbole_cocorr.experiments.results.comparison_rows import checked_comparisons

OF_A_RUN = {"dataset": str, "label": str, "seed": int}
OF_A_VARIANT = {**OF_A_RUN, "variant": str, "metrics": dict}


def _runs(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The name of each run and its rows, in their order."""
    for (label, dataset, seed), of_run in groupby(rows, lambda r: (r["label"], r["dataset"], r["seed"])):
        yield f"{label} on {dataset}, seed {seed}", list(of_run)


def _table(rows: list[Row], difference: str, heading: str) -> list[str]:
    """Lines of metrics by variant; ``difference`` is the column of NDCG@10 against another variant."""
    lines = [f"  {'correction':16}{'UAUC':>8}{'NDCG@10':>9}{'HR@10':>8}   {heading}"]
    nan = float("nan")
    for row in rows:
        metrics, against = row["metrics"], row[difference]
        lines.append(
            f"  {row['variant']:16}{metrics.get('gauc', nan):8.4f}{metrics.get('ndcg@10', nan):9.4f}"
            f"{metrics.get('hit@10', nan):8.4f}   {against['ndcg@10']:+.5f} "
            f"(standard error {against['standard_error']:.5f})"
        )
    return lines


@dataclass
class Ablation(Result):
    """Each CoCorrRec run with its own correction, none, a stale one and another user's.

    Attributes
    ----------
    rows : list of dict
        Beside the columns above ``own_minus_this``: ``ndcg@10`` and ``standard_error``.
    common_share : list of dict
        For each run, how much of the correction is common to all users: ``attention``, ``bias``; and the learned
        ``alpha`` and ``beta``.
    """

    FORMAT, NAME, VERB = "recbole_cocorr.ablation", "ablation file", "benchmark --ablate=correction"
    FILE, OF_RUNS = "ablation.json", True

    rows: list[Row] = field(default_factory=list)
    common_share: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, record: Record) -> "Ablation":
        """The ablation that a file holds."""
        shares = checked_rows(record, "common_share", {**OF_A_RUN, "attention": float, "bias": float})
        return cls(checked_rows(record, "rows", OF_A_VARIANT), shares)

    def text(self) -> str:
        """A table for each run."""
        lines = []
        for (name, rows), share in zip(_runs(self.rows), self.common_share, strict=True):
            lines += [name, *_table(rows, "own_minus_this", "own minus this, NDCG@10")]
            lines.append(
                f"  common to all users: {share['attention']:.1%} of A^, {share['bias']:.1%} of B^; "
                f"alpha {share['alpha']:.3f}, beta {share['beta']:.3f}"
            )
        return "\n".join(lines)


@dataclass
class Corrections(Result):
    """Every tested run with the cloud's item-item scores.

    Attributes
    ----------
    settings, versions, machine : dict
    rows : list of dict
        Beside the columns above ``protocol``, ``against_none`` (as in the ablation) and ``trust``. The variants
        "valid none" and "valid own" are of the validation items, the others of the test items.
    comparisons : list of dict, or None
        ``dataset``, ``protocol``, ``kind``, and the fields of a Comparison; None in a file that was written before
        there were any.
    best_of_ours : list of dict
        ``dataset``, ``protocol``, ``label``: which of our models is compared with the baselines.
    problems : list of str
        Comparisons that could not be made.
    failed : list of dict
        Runs that could not be corrected, each with its ``error``.
    """

    FORMAT, NAME, VERB, FILE = "recbole_cocorr.correctors", "corrector file", "correct", "correctors.json"
    OF_RUNS = True

    settings: Row = field(default_factory=dict)
    versions: Row = field(default_factory=dict)
    machine: Row = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    comparisons: list[Row] | None = None
    best_of_ours: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, record: Record) -> "Corrections":
        """The corrections that a file holds."""
        # Files without a protocol were written when `correct` read the paper's alone.
        rows = [{"protocol": "paper", **row} for row in checked_rows(record, "rows", OF_A_VARIANT)]
        where = {"dataset": str, "protocol": str}
        compared = "comparisons" in record
        return cls(
            **{name: checked_object(record, name) for name in ("settings", "versions", "machine")},
            rows=rows,
            comparisons=checked_comparisons(record, {**where, "kind": str}) if compared else None,
            best_of_ours=checked_rows(record, "best_of_ours", {**where, "label": str}),
            problems=record.array("problems", str, []),
            failed=checked_rows(record, "failed", {**OF_A_RUN, "error": str}),
        )

    @property
    def test_rows(self) -> list[Row]:
        """The rows of the test items."""
        return [row for row in self.rows if not row["variant"].startswith("valid ")]

    def text(self) -> str:
        """A table for each run, then what could not be compared."""
        lines = []
        for name, rows in _runs(self.rows):
            trust = rows[0]["trust"]
            lines.append(f"{name}: trust {trust['base']:.3f} {trust['per_log_click']:+.3f} ln(clicks)")
            lines += _table(rows, "against_none", "against none, NDCG@10")
        return "\n".join([*lines, *(f"note: {sentence}" for sentence in self.problems)])
