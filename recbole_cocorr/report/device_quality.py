"""How well a device ranks, alone and with neighbour tables, as a table."""

from recbole_cocorr.experiments.results.device_quality import PHASES, DeviceQuality
from recbole_cocorr.experiments.results.formats import MISSING, decimal
from recbole_cocorr.report.table_formats import Table, row

_METRICS = {"ndcg@10": "NDCG@10", "hit@10": "HR@10"}


def device_quality_table(result: DeviceQuality) -> Table:
    """NDCG@10 and HR@10 of every list, and the size of its neighbour table."""
    phases = [phase for phase in PHASES if any(r["phase"] == phase for r in result.rows)]
    lists = {(r["added"], r["policy"], r["clicks"], r["phase"]): r for r in result.rows}
    sizes = {f"{table['count']} neighbours": (table["bytes"], table["longest"]) for table in result.tables}
    rows = []
    for added, policy, clicks in dict.fromkeys(key[:3] for key in lists):
        same = [lists.get((added, policy, clicks, phase)) for phase in phases]
        rows.append(
            row(
                added,
                policy,
                f"{clicks} and more" if clicks else "any number",
                *(MISSING if one is None else f"{one['targets']:,}" for one in same),
                *(decimal(None if one is None else one["metrics"][name]) for one in same for name in _METRICS),
                *((f"{size:,}" for size in sizes[added]) if added in sizes else (MISSING, MISSING)),
            )
        )
    quality = (f"{metric}, {phase}" for phase in phases for metric in _METRICS.values())
    targets = (f"Targets, {phase}" for phase in phases)
    header = ("Adds", "Reads", "Clicks", *targets, *quality, "Bytes of the table", "Longest row")
    notes = (
        f"{result.model}, seed {result.seed}, item table {result.table}. Adds: to the model's scores. Reads: window, "
        f"the last {result.window} clicks anew; carry, all clicks of a history, one by one. Clicks: of the history.",
    )
    of = f"{result.dataset}, protocol {result.protocol}" if result.protocol else result.dataset
    return Table("device-quality", f"Quality on the device, {of}", header, tuple(rows), notes, text_columns=3)
