"""What every model costs, at every length of the history: the result of ``cost``.

A row's keys are those of :data:`NUMBERS` and ``model``, ``K`` and ``reads_history_again``; ``docs/cost.md`` describes
them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tabulate import tabulate

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record
from recbole_cocorr.experiments.results.base import Result, Row
from recbole_cocorr.experiments.results.cost_targets import check_targets
from recbole_cocorr.experiments.results.spread import check_quartiles

_WHOLE = """
    L parameters parameters_without_items device_parameters cloud_parameters item_table_bytes
    flops flops_products flops_elementwise flops_encode flops_score flops_score_without_table
    device_flops cloud_flops flops_per_click device_flops_per_click cloud_flops_per_click
    state_bytes cloud_state_bytes peak_bytes device_peak_bytes runs
"""
WHOLE = frozenset(_WHOLE.split())
# Every key of a row that holds a number; the last three are microseconds.
NUMBERS = (*_WHOLE.split(), "latency_us", "device_latency_us", "click_latency_us")

Column = tuple[str, Callable[[Row], str]]


def _count(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key]:,}"


def _thousands(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key] / 1e3:,.1f}"


def _microseconds(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key]:,.0f}"


TABLES: tuple[tuple[str, tuple[Column, ...]], ...] = (
    (
        "Parameters",
        (
            ("with items", _count("parameters")),
            ("without items", _count("parameters_without_items")),
            ("on the device", _count("device_parameters")),
            ("in the cloud", _count("cloud_parameters")),
        ),
    ),
    (
        "One inference: L clicks to the scores of the candidates",
        (
            ("kFLOPs", _thousands("flops")),
            ("products", _thousands("flops_products")),
            ("elementwise", _thousands("flops_elementwise")),
            ("of it scores", _thousands("flops_score")),
            ("on the device", _thousands("device_flops")),
            ("in the cloud", _thousands("cloud_flops")),
            ("peak kB", _thousands("peak_bytes")),
            ("on the device", _thousands("device_peak_bytes")),
            ("latency us", _microseconds("latency_us")),
            ("on the device", _microseconds("device_latency_us")),
        ),
    ),
    (
        "One new click, to the scores of the candidates",
        (
            ("state bytes", _count("state_bytes")),
            ("in the cloud", _count("cloud_state_bytes")),
            ("kFLOPs a click", _thousands("flops_per_click")),
            ("on the device", _thousands("device_flops_per_click")),
            ("in the cloud", _thousands("cloud_flops_per_click")),
            ("latency us", _microseconds("click_latency_us")),
            ("re-reads", lambda row: "yes" if row["reads_history_again"] else "no"),
        ),
    ),
)


@dataclass
class Cost(Result):
    """What ``cost`` measured.

    Attributes
    ----------
    rows : list of dict
        One for each model and length.
    settings : dict
        Items of the catalogue, candidates, K, threads and repeats.
    versions, machine : dict
    """

    FORMAT, NAME, VERB, FILE = "recbole_cocorr.cost", "cost file", "cost", "cost.json"

    rows: list[Row] = field(default_factory=list)
    settings: Row = field(default_factory=dict)
    versions: Row = field(default_factory=dict)
    machine: Row = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record) -> "Cost":
        """The cost that a file holds: at least one row, every row whole and for another model or length."""
        rows = record.records("rows")
        if not rows:
            raise record.refuse("rows", "a list of at least one object")
        seen = set()
        for number, row in enumerate(rows, 1):
            _check_row(row)
            model, length = row.text("model"), row.whole("L")
            if (model, length) in seen:
                raise UserError(f"{record.source} is damaged: row {number} repeats {model} at L = {length}")
            seen.add((model, length))
        about = {name: record.record(name).content for name in ("settings", "versions", "machine")}
        return cls([row.content for row in rows], **about)

    def text(self, markdown: bool = False) -> str:
        """Parameters, one inference, one new click, and how the targets stand."""
        s, heading = self.settings, "### " if markdown else ""
        blocks = [
            f"{s['items']:,} items, {s['candidates']} candidates, CoCorrRec's K at most {s['mini_batch_size']}; "
            f"latency on {s['threads']} thread{'s' if s['threads'] > 1 else ''} of "
            f"{self.machine.get('processor', 'this machine')}, median of {s['repeats']} runs"
        ]
        for title, columns in TABLES:
            blocks += [heading + title, _table(self.rows, columns, markdown)]
        targets = check_targets(self.rows)
        if targets:
            blocks += [f"{heading}Targets", "\n".join(f"- {target}" for target in targets)]
        return "\n\n".join(blocks)


def _check_row(row: Record) -> None:
    if not row.text("model"):
        raise row.refuse("model", "the name of a model")
    row.flag("reads_history_again")
    for key in NUMBERS:
        if key in WHOLE:
            row.whole(key, most=1 << 200)
        else:
            row.number(key, 0)
            check_quartiles(row, key)
    if not row.absent("K"):
        row.whole("K", 1)


def _table(rows: Sequence[Row], columns: Sequence[Column], markdown: bool) -> str:
    header = ["L", "model", *(title for title, _ in columns)]
    body = [[str(row["L"]), row["model"], *(value(row) for _, value in columns)] for row in rows]
    return tabulate(
        body,
        headers=header,
        tablefmt="github" if markdown else "simple",
        colalign=["right", "left", *["right"] * len(columns)],
        disable_numparse=True,
    )
