"""How well a device ranks, by how it reads long histories and with what scores: the result of ``device-eval``."""

from dataclasses import dataclass, field

from recbole_cocorr.base.readers import Record
from recbole_cocorr.experiments.results.base import CheckpointResult, Row, checked_rows

ALONE, SERVICE = "nothing", "the service's scores"
PHASES = ("valid", "test")


@dataclass
class DeviceQuality(CheckpointResult):
    """Metrics of a device's lists, and what each neighbour table is.

    Attributes
    ----------
    table : str
        Precision of the item table.
    window : int
        L: the clicks that the policy "window" reads.
    rows : list of dict
        ``phase`` (``valid`` or ``test``), ``policy``, what was ``added`` to the device's own scores (``ALONE``,
        ``SERVICE`` or "20 neighbours"), the number of ``targets``, the least number of ``clicks`` of their histories
        (0: any; L + 1, where several policies were tried: those for which they differ) and ``metrics``.
    tables : list of dict
        Of each table the ``count`` of neighbours, ``bytes``, the ``longest`` row, its trust, and the microseconds of a
        ``click`` with it by runtime and policy.
    """

    FORMAT, NAME, VERB = "recbole_cocorr.device-eval", "file of device-eval", "device-eval"
    FILE = "device-quality.json"

    table: str = ""
    window: int = 0
    rows: list[Row] = field(default_factory=list)
    tables: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, record: Record) -> "DeviceQuality":
        """The lists that a file holds."""
        columns = {"phase": str, "policy": str, "added": str, "targets": int, "clicks": int, "metrics": dict}
        rows = checked_rows(record, "rows", columns, required=True)
        if not rows:
            raise record.refuse("rows", "at least one list")
        for row in record.records("rows"):
            row.text("phase", PHASES)
            row.record("metrics").number("ndcg@10"), row.record("metrics").number("hit@10")
            if row.content["metrics"].keys() != rows[0]["metrics"].keys():
                raise row.refuse("metrics", f"the same metrics as those of rows[0]: {', '.join(rows[0]['metrics'])}")
        sizes = dict.fromkeys(("count", "bytes", "longest"), int)
        tables = checked_rows(record, "tables", {**sizes, "base": float, "per_log_click": float}, required=True)
        for table in record.records("tables"):
            for runtime in (click := table.record("click")):
                click.numbers(runtime)
        for name in ("dataset", "protocol", "model"):
            record.text(name)
        record.whole("seed")
        return cls(record.text("table"), record.whole("window"), rows, tables, **cls.origin_of(record))

    def text(self) -> str:
        """A line for each list, and what each table is."""
        lines = [
            f"{self.model} on {self.dataset}, protocol {self.protocol}; table {self.table}, L = {self.window} clicks"
        ]
        policy, added = (max(len(row[name]) for row in self.rows) for name in ("policy", "added"))
        names = list(self.rows[0]["metrics"])
        head = f"{'items':6}{'reads':{policy + 2}}{'adds':{added + 2}}{'clicks':>8}{'targets':>9}"
        lines.append(head + "".join(f"{name:>9}" for name in names))
        for r in self.rows:
            clicks = f">= {r['clicks']}" if r["clicks"] else "any"
            start = f"{r['phase']:6}{r['policy']:{policy + 2}}{r['added']:{added + 2}}{clicks:>8}{r['targets']:>9}"
            lines.append(start + "".join(f"{r['metrics'][name]:9.5f}" for name in names))
        for table in self.tables:
            trust = f"trust {table['base']:.3f} {table['per_log_click']:+.3f} ln(clicks)"
            lines.append(
                f"{table['count']} neighbours: {table['bytes']:,} bytes, longest row {table['longest']}; {trust}"
            )
            for runtime, times in table["click"].items():
                lines.append(f"    a click, {runtime}: {', '.join(f'{n} {t:.1f}' for n, t in times.items())} us")
        return "\n".join(lines)
