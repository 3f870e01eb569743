"""What corrections recover once the device's model is frozen: the result of ``freshness``."""

from dataclasses import dataclass

from recbole_cocorr.base.readers import Record
from recbole_cocorr.experiments.results.base import Result, Row, checked_rows
from recbole_cocorr.experiments.results.comparison_rows import checked_comparisons
from recbole_cocorr.experiments.results.formats import decimal

# Variants of the ranking, in the order of the tables.
NONE, FROZEN, FRESH, RETRAINED = "none", "frozen", "fresh", "retrained"
DELTAS, POPULAR = "deltas", "popular"
TITLES = {
    NONE: "no correction",
    FROZEN: "item-item, frozen too",
    FRESH: "item-item, goes on learning",
    DELTAS: "a delta every day, nothing uploaded",
    POPULAR: "a delta every day, with popularity",
    RETRAINED: "device's model retrained, no correction",
}
# Which interactions count: all, those whose item the device's model knows, and those whose item came later.
ALL, KNOWN, NEW = "all", "known", "new"
_COUNTS = ("slice", "interactions", "users", "new_items", "of_new_users")


@dataclass
class Freshness(Result):
    """What ``freshness`` measured.

    Attributes
    ----------
    dataset, model : str
    freeze : float
        Quantile of the interactions' times.
    seeds : list of int
    corrector, settings : dict
        Settings of the corrector and of the training.
    versions, machine : dict
    frozen_at : float
        The time of the freeze.
    learned_interactions : int
        Interactions before it.
    trust : list of dict
        By ``seed``.
    slices : list of dict
        ``slice`` (from 1), ``start`` and ``end`` (times), ``interactions``, ``users``, ``new_items`` and
        ``of_new_users``.
    results : list of dict
        ``slice`` (None: all), ``targets`` (all, known, new), ``variant``, ``users``, ``seeds``, ``metrics`` and
        ``standard_errors`` (None where they are not defined).
    comparisons : list of dict
        ``slice`` and the fields of a Comparison.
    """

    FORMAT, NAME, VERB = "recbole_cocorr.freshness", "freshness file", "freshness"
    FILE = "freshness.json"

    dataset: str
    model: str
    freeze: float
    seeds: list[int]
    corrector: Row
    settings: Row
    versions: Row
    machine: Row
    frozen_at: float
    learned_interactions: int
    trust: list[Row]
    slices: list[Row]
    results: list[Row]
    comparisons: list[Row]

    @classmethod
    def of(cls, record: Record) -> "Freshness":
        """The measurement that a file holds."""
        counts = {**dict.fromkeys(_COUNTS, int), "start": float, "end": float}
        results = checked_rows(record, "results", {"targets": str, "variant": str, "users": int}, required=True)
        for row in record.records("results"):
            row.text("variant", tuple(TITLES))
            for key in ("metrics", "standard_errors"):
                numbers = row.record(key)
                for name in (n for n in numbers if not numbers.absent(n)):
                    numbers.number(name)
        return cls(
            dataset=record.text("dataset"),
            model=record.text("model"),
            freeze=record.number("freeze"),
            seeds=record.wholes("seeds"),
            **{name: record.record(name).content for name in ("corrector", "settings", "versions", "machine")},
            frozen_at=record.number("frozen_at"),
            learned_interactions=record.whole("learned_interactions"),
            trust=checked_rows(record, "trust", {"seed": int}),
            slices=checked_rows(record, "slices", counts, required=True),
            results=results,
            comparisons=checked_comparisons(record, {}),
        )

    @property
    def variants(self) -> list[str]:
        """The variants that were ranked, in the order of the tables."""
        ranked = {row["variant"] for row in self.results}
        return [variant for variant in TITLES if variant in ranked]

    def result(self, index: int | None, targets: str, variant: str) -> Row | None:
        """The row of one slice (None: all), kind of targets and variant."""
        rows = (r for r in self.results if (r["slice"], r["targets"], r["variant"]) == (index, targets, variant))
        return next(rows, None)

    def total(self, key: str) -> int:
        """A count summed over the slices."""
        return sum(s[key] for s in self.slices)

    def text(self) -> str:
        """Sentences: what the comparisons of NDCG@10 over all slices say."""
        overall = {
            (c["model"], c["baseline"]): c for c in self.comparisons if c["slice"] is None and c["metric"] == "ndcg@10"
        }
        sentences = [
            f"{TITLES[a]} minus {TITLES[b]}: NDCG@10 {decimal(c['difference'], sign=True)} "
            f"({decimal(c['low'], sign=True)} to {decimal(c['high'], sign=True)}), p (Holm) {c['adjusted']:.2g}"
            for (a, b), c in overall.items()
        ]
        gap, gain = overall.get((RETRAINED, NONE)), overall.get((FRESH, FROZEN))
        if gap and gain and gap["difference"] > 0:
            share, whole = gain["difference"] / gap["difference"], decimal(gap["difference"], sign=True)
            sentences.append(
                f"What the corrections gain by going on to learn is {share:.0%} of what retraining the device's model "
                f"gains ({whole}, without a correction)."
            )
        return "\n".join(sentences)
