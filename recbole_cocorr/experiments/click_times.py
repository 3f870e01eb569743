"""How long a session's click takes with a neighbour table, in the order in which real users click."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from recbole_cocorr.artifact.manifest import NAME, POLICIES, Manifest
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.native_engine import runs_natively
from recbole_cocorr.device.session import Session
from recbole_cocorr.training.neighbour_table import FittedTable

# Clicks that are timed, after so many that are not.
_CLICKS, _WARM = 2000, 200


def click_times(
    folder: Path, manifest: Manifest, tables: Sequence[FittedTable], clicks: Sequence[int]
) -> list[dict[str, dict[str, float]]]:
    """Microseconds per click, with each of some tables.

    Parameters
    ----------
    folder, manifest
        The artifact, without a table; it has the last one afterwards.
    tables : sequence of FittedTable
    clicks : sequence of int
        Rows, as users clicked them one after another.

    Returns
    -------
    list of dict
        By runtime and policy ("native, carry") the quartile ``p25``, the median ``p50`` and ``p99``.
    """
    result = []
    for fitted in tables:
        arrays = {**manifest.arrays, **fitted.table.write(folder)}
        (folder / NAME).write_text(replace(manifest, arrays=arrays, neighbours=fitted.described()).to_json())
        artifact = Artifact(folder)
        runtimes = ("native", "onnx") if runs_natively(artifact) else ("onnx",)
        policies = POLICIES if artifact.initial_state is not None else ("window",)
        pairs = product(runtimes, policies)
        result.append({f"{r}, {p}": _times(Session.open(folder, policy=p, runtime=r), clicks) for r, p in pairs})
    return result


def _times(session: Session, clicks: Sequence[int]) -> dict[str, float]:
    tokens = [session.artifact.vocabulary.token(row) for row in clicks[: _WARM + _CLICKS]]
    times = np.empty(len(tokens))
    for place, token in enumerate(tokens):
        start = time.perf_counter()
        session.click(token)
        times[place] = time.perf_counter() - start
    times = times[min(_WARM, len(times) // 2) :]
    return {f"p{q}": round(float(np.percentile(times, q)) * 1e6, 1) for q in (25, 50, 99)}
