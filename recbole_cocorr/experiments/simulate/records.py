"""What devices write of each ranking, and what the records of a fault add up to. No torch."""

import struct
from pathlib import Path

import numpy as np

from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.simulation import STATUSES

# Time, status, what of the cloud is in the list, whether it is wrong, whether it is lost; ms waited, ms of the
# round trip.
RECORD = struct.Struct("<dBBBBff")
RECORD_FIELDS = np.dtype(
    [
        ("time", "<f8"),
        ("status", "u1"),
        ("used", "u1"),
        ("wrong", "u1"),
        ("lost", "u1"),
        ("waited", "<f4"),
        ("round_trip", "<f4"),
    ]
)
# Of ``used``: a bit each. The single process's scores with neither, one and both are ``expected.npz``'s arrays of these
# numbers.
USED = {"correction": 1, "scores": 2}
# A ranking has met its deadline if it waited no longer than that and this, ms: a thread's way back to the processor.
SLACK = 1.0


def records_of(folder: Path) -> np.ndarray:
    """All records that the devices have written by now."""
    records = [np.empty(0, RECORD_FIELDS)]
    for file in sorted(folder.glob("device-*.records")):
        raw = file.read_bytes()
        records.append(np.frombuffer(raw[: len(raw) - len(raw) % RECORD.size], RECORD_FIELDS))
    return np.concatenate(records)


def summary(name: str, records: np.ndarray, deadline_ms: float) -> Row:
    """The row of one fault, with the keys that ``Simulation`` describes."""
    trips = records["round_trip"][records["status"] == 0]
    return {
        "fault": name,
        "lists": len(records),
        **{status: int(((records["status"] == i) & (records["lost"] == 0)).sum()) for i, status in enumerate(STATUSES)},
        **{f"with_{name}": int(((records["used"] & bit) > 0).sum()) for name, bit in USED.items()},
        "wrong": int(records["wrong"].sum()),
        "lost": int(records["lost"].sum()),
        "kept": float((records["waited"] <= deadline_ms + SLACK).mean()) if len(records) else None,
        "longest_ms": float(records["waited"].max()) if len(records) else None,
        "p50_ms": float(np.quantile(trips, 0.5)) if len(trips) else None,
        "p99_ms": float(np.quantile(trips, 0.99)) if len(trips) else None,
    }
