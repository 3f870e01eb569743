"""The tables of a results folder: Table 1, significance, Figure 6 in digits, history length."""

from collections import Counter
from collections.abc import Mapping, Sequence

from recbole_cocorr.evaluation.result_table import metric_title
from recbole_cocorr.evaluation.significance import Comparison
from recbole_cocorr.experiments.comparisons import (
    Comparisons,
    beats_the_best,
    best_baselines,
    mean_over_seeds,
    metric_columns,
    over_seeds,
)
from recbole_cocorr.experiments.history_bins import HistoryBin
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.runs.groups import Group, slug
from recbole_cocorr.experiments.runs.run_files import RunRecord
from recbole_cocorr.models.catalogue import own_loss
from recbole_cocorr.report.cost_tables import NOISE_NOTE, cost_value, noisy
from recbole_cocorr.report.table_formats import MISSING, Cell, Table, decimal, mean_and_deviation, places, row
from recbole_cocorr.report.verdict_tables import main_metric, p_value, verdict_table


def results_table(group: Group, comparisons: Comparisons) -> Table:
    """Table 1 of one data set and protocol.

    Best bold, second underlined, as the printed digits say; mean over seeds with the standard deviation; a star where
    the reference beats the best baseline significantly.
    """
    metrics = metric_columns(group)
    ranking = {m: places([mean_over_seeds(runs, m) for runs in group.runs.values()]) for m in metrics}
    starred = {m for m in metrics if beats_the_best(group, comparisons, m)}
    rows, notes = [], []
    for index, (label, by_seed) in enumerate(group.runs.items()):
        note = loss_note(label, by_seed, group)
        if note and note not in notes:
            notes.append(note)
        mark = f"\u00a0[{notes.index(note) + 1}]" if note else ""
        cells = [
            Cell(
                mean_and_deviation(over_seeds(by_seed, m)),
                bold=ranking[m][index] == 1,
                underlined=ranking[m][index] == 2,
                star=label == comparisons.reference and m in starred,
            )
            for m in metrics
        ]
        rates = ", ".join(f"{rate:g}" for rate in sorted({run.learning_rate for run in by_seed.values()}))
        rows.append(row(label + mark, *cells, str(len(by_seed)), rates))
    legend = ["Best in bold, second underlined."]
    if any(len(by_seed) > 1 for by_seed in group.runs.values()):
        legend.append("Mean over seeds (standard deviation).")
    if starred:
        legend.append(
            f"* {comparisons.reference} above the best baseline of the column, p < .05, paired per user, corrected for "
            f"{len(comparisons.rows)} comparisons (Holm)."
        )
    return Table(
        name=f"table1-{group.slug}",
        caption=f"Test metrics on {group.dataset}, protocol {group.protocol}",
        header=("Model", *(metric_title(m) for m in metrics), "Seeds", "Learning rate"),
        rows=tuple(rows),
        notes=(" ".join(legend), *(f"[{i}] {note}" for i, note in enumerate(notes, start=1))),
    )


def loss_note(label: str, by_seed: dict[int, RunRecord], group: Group) -> str | None:
    """What to say of a model that was not trained with the loss of the most others; None if it was."""
    run = next(iter(by_seed.values()))
    if own_loss(run.model):
        return own_loss(run.model)
    loss = run.config.get("loss_type")
    if not loss:
        return f"{label} keeps its own loss."
    losses = Counter(
        runs.config.get("loss_type")
        for runs in (next(iter(r.values())) for r in group.runs.values())
        if not own_loss(runs.model)
    )
    usual = max(losses, key=lambda name: (losses[name], str(name)))
    return None if loss == usual else f"{label} is trained with the loss {loss}."


def verdict_tables(group: Group, comparisons: Comparisons) -> list[Table]:
    """The reference against each other model in words; none where nothing was compared."""
    if not comparisons.rows:
        return []
    best = best_baselines(group, main_metric(metric_columns(group)))
    pairs: dict[tuple[str, ...], list[Comparison]] = {}
    for c in comparisons.rows:
        pairs.setdefault((c.baseline + (" (best baseline)" if c.baseline in best else ""),), []).append(c)
    caption = f"{comparisons.reference} against each other model, {group.name}"
    return [verdict_table(f"verdicts-{group.slug}", caption, ("Against",), pairs)]


def significance_table(group: Group, comparisons: Comparisons) -> Table:
    """Every comparison with its effect, interval, p and spread over seeds."""
    best = {metric: best_baselines(group, metric) for metric in metric_columns(group)}
    rows = [
        row(c.baseline + (" (best)" if c.baseline in best[c.metric] else ""), *comparison_cells(c))
        for c in comparisons.rows
    ]
    return Table(
        name=f"significance-{group.slug}",
        caption=f"{comparisons.reference} minus each other model on {group.dataset}, protocol {group.protocol}",
        header=("Against", *COMPARISON_HEADER),
        rows=tuple(rows),
        notes=(f"{how_compared(comparisons.rows)} (best): the best baseline of the metric.",) if rows else (),
        text_columns=2,
    )


COMPARISON_HEADER = ("Metric", "Difference", "95% interval", "p", "p (Holm)", "Deviation over seeds", "Verdict")


def comparison_cells(c: Comparison) -> tuple[str | Cell, ...]:
    """A comparison under ``COMPARISON_HEADER``."""
    return (
        metric_title(c.metric),
        decimal(c.difference, sign=True),
        f"{decimal(c.low, sign=True)} to {decimal(c.high, sign=True)}",
        p_value(c.p),
        p_value(c.adjusted),
        decimal(c.spread) if c.spread is not None else MISSING,
        Cell(c.verdict, bold=c.verdict != "no difference"),
    )


def how_compared(comparisons: Sequence[Comparison]) -> str:
    """One sentence on the test behind comparisons that were corrected together."""
    seeds = "; ".join(", ".join(map(str, s)) for s in sorted({c.seeds for c in comparisons}))
    counts = {c.users for c in comparisons}
    users = " to ".join(f"{n:,}" for n in sorted({min(counts), max(counts)})) if counts else ""
    return (
        f"Paired t test over {users} users, each user's metric averaged over the shared seeds ({seeds}); p "
        f"corrected for {len(comparisons)} comparisons."
    )


_SWEEP_TIMES = ("latency_us", "batch_latency_us")


def sweep_table(sweep: dict[int, dict[int, RunRecord]], timings: Sequence[Row], name: str) -> Table:
    """Figure 6 in digits: quality and time of one inference over K."""
    group = Group("", "", {f"K = {size}": runs for size, runs in sweep.items()})
    metrics = metric_columns(group)
    time = {r["K"]: r for r in timings}
    sizes = sorted({*sweep, *time})
    rows = [
        row(
            str(size),
            *(mean_and_deviation(over_seeds(sweep.get(size, {}), m)) for m in metrics),
            *(
                Cell(cost_value("latency_us", of.get(c)), mark="~" if noisy(of, c) else "")
                for of in [time.get(size, {})]
                for c in _SWEEP_TIMES
            ),
        )
        for size in sizes
    ]
    header = ("K", *(metric_title(m) for m in metrics), "One user", "One batch")
    return Table(
        f"figure6-{slug(name)}",
        f"Quality and inference time over the TTT mini-batch K, {name}",
        header,
        tuple(rows),
        notes=(NOISE_NOTE,) if any(noisy(r, c) for r in timings for c in _SWEEP_TIMES) else (),
    )


def history_table(group: Group, bins: dict[str, list[HistoryBin]], metric: str) -> Table:
    """A metric by the length of the user's history, with the half-width of its 95% interval."""
    labels = {b.label: b.users for of_model in bins.values() for b in of_model}
    value = {
        (model, b.label): f"{decimal(b.mean)} ± {decimal(b.half_width)}"
        for model, of_model in bins.items()
        for b in of_model
    }
    return Table(
        name=f"history-{group.slug}",
        caption=f"{metric_title(metric)} by the number of clicks before the test item, {group.name}",
        header=("Model", *(f"{label} ({users:,} users)" for label, users in labels.items())),
        rows=tuple(row(model, *(value.get((model, label), MISSING) for label in labels)) for model in bins),
        notes=("Mean over users ± half of the 95% interval; each user's metric averaged over seeds first.",),
    )


def verdicts(group: Group, comparisons: Comparisons) -> list[str]:
    """One sentence: on how many metrics the reference is better, worse or the same as the best baseline."""
    best = {m: best_baselines(group, m) for m in metric_columns(group)}
    against = {m: [comparisons.against(label, m) for label in labels] for m, labels in best.items()}
    known = {m: [c.verdict for c in cs if c is not None] for m, cs in against.items()}
    known = {m: verdict for m, verdict in known.items() if verdict and len(verdict) == len(best[m])}
    if not known:
        return []
    better = [metric_title(m) for m, v in known.items() if set(v) == {"better"}]
    worse = [metric_title(m) for m, v in known.items() if "worse" in v]
    rest = [metric_title(m) for m in known if metric_title(m) not in better + worse]
    counts = counts_of(("better", better), ("worse", worse), ("without significant difference", rest))
    return [
        f"{comparisons.reference} against the best baseline of each of {len(known)} metrics (p < .05 after Holm's "
        f"correction for {len(comparisons.rows)} comparisons): {counts}."
    ]


def counts_of(*groups: tuple[str, Sequence[str]]) -> str:
    """``better on 2 (UAUC, HR@10); worse on 1 (HR@5)``: each word with its metrics, where it has any."""
    return "; ".join(f"{word} on {len(names)} ({', '.join(names)})" for word, names in groups if names)


def failures_table(failures: Mapping[str, str]) -> Table:
    """Runs that ended in an error."""
    rows = tuple(row(run, error) for run, error in failures.items())
    return Table("failures", "Runs that failed", ("Run", "Error"), rows, text_columns=2)
