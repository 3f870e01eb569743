"""Rankings of devices under faults, as a table."""

from recbole_cocorr.experiments.results.formats import MISSING
from recbole_cocorr.experiments.results.simulation import Simulation
from recbole_cocorr.report.table_formats import Table, row

_COUNTS = {
    "lists": "Lists",
    "corrected": "Corrected",
    "late": "Late",
    "offline": "Offline",
    "refused": "Refused",
    "with_scores": "With scores",
    "wrong": "Wrong",
    "lost": "Lost",
}


def simulation_table(simulation: Simulation) -> Table:
    """Counts and times for each fault, and for all."""
    rows = tuple(
        row(
            r["fault"],
            *(f"{r[name]:,}" for name in _COUNTS),
            MISSING if r.get("kept") is None else f"{r['kept']:.2%}",
            *(MISSING if r.get(time) is None else f"{r[time]:.2f}" for time in ("p50_ms", "p99_ms")),
        )
        for r in (*simulation.rows, simulation.total)
    )
    header = ("Fault", *_COUNTS.values(), "Deadline kept", "p50, ms", "p99, ms")
    notes = (
        "Wrong: a list that differs from the single process's. Lost: a list that never came. p50, p99: of the round "
        "trips. All: with the time before the first fault.",
        simulation.deadline_ms
        and f"Deadline kept: back after {simulation.deadline_ms:g} ms, or {simulation.slack_ms:g} ms later at most.",
        simulation.setting,
    )
    return Table("simulation", "Rankings of devices under faults", header, rows, tuple(filter(None, notes)))
