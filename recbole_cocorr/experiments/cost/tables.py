"""The rows as tables for people."""

from collections.abc import Callable, Sequence
from typing import Any

from tabulate import tabulate

from recbole_cocorr.experiments.cost.cost_file import Cost
from recbole_cocorr.experiments.cost.targets import check_targets

Column = tuple[str, Callable[[dict[str, Any]], str]]


def _count(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: f"{row[key]:,}"


def _thousands(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: f"{row[key] / 1e3:,.1f}"


PARAMETERS: tuple[Column, ...] = (
    ("with items", _count("parameters")),
    ("without items", _count("parameters_without_items")),
    ("on the device", _count("device_parameters")),
    ("in the cloud", _count("cloud_parameters")),
)
INFERENCE: tuple[Column, ...] = (
    ("kFLOPs", _thousands("flops")),
    ("products", _thousands("flops_products")),
    ("elementwise", _thousands("flops_elementwise")),
    ("of it scores", _thousands("flops_score")),
    ("on the device", _thousands("device_flops")),
    ("in the cloud", _thousands("cloud_flops")),
    ("peak kB", _thousands("peak_bytes")),
    ("on the device", _thousands("device_peak_bytes")),
    ("latency us", lambda row: f"{row['latency_us']:,.0f}"),
    ("on the device", lambda row: f"{row['device_latency_us']:,.0f}"),
)
CLICK: tuple[Column, ...] = (
    ("state bytes", _count("state_bytes")),
    ("in the cloud", _count("cloud_state_bytes")),
    ("kFLOPs a click", _thousands("flops_per_click")),
    ("on the device", _thousands("device_flops_per_click")),
    ("in the cloud", _thousands("cloud_flops_per_click")),
    ("latency us", lambda row: f"{row['click_latency_us']:,.0f}"),
    ("re-reads", lambda row: "yes" if row["reads_history_again"] else "no"),
)
TABLES: tuple[tuple[str, tuple[Column, ...]], ...] = (
    ("Parameters", PARAMETERS),
    ("One inference: L clicks to the scores of the candidates", INFERENCE),
    ("One new click, to the scores of the candidates", CLICK),
)


def cost_tables(cost: Cost, markdown: bool = False) -> str:
    """Parameters, one inference, one new click, and how the targets stand.

    Parameters
    ----------
    cost : Cost
    markdown : bool
    """
    s = cost.settings
    parts = [
        f"{s['items']:,} items, {s['candidates']} candidates, CoCorrRec's K at most {s['mini_batch_size']}; latency on "
        f"{s['threads']} thread{'s' if s['threads'] > 1 else ''} of {cost.machine.get('processor', 'this machine')}, "
        f"median of {s['repeats']} runs"
    ]
    for title, columns in TABLES:
        parts.append(("### " if markdown else "") + title)
        parts.append(_table(cost.rows, columns, markdown))
    targets = check_targets(cost.rows)
    if targets:
        parts.append(("### " if markdown else "") + "Targets")
        parts.append("\n".join(f"- {target}" for target in targets))
    return "\n\n".join(parts)


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[Column], markdown: bool) -> str:
    header = ["L", "model", *(title for title, _ in columns)]
    body = [[str(row["L"]), row["model"], *(value(row) for _, value in columns)] for row in rows]
    return tabulate(
        body,
        headers=header,
        tablefmt="github" if markdown else "simple",
        colalign=["right", "left", *["right"] * len(columns)],
        disable_numparse=True,
    )
