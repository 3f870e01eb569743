"""What requests for scores tell of the clicks, and what telling fewer costs in NDCG@10."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_cocorr.artifact.evidence import fuse
from recbole_cocorr.correctors.folder import load_corrector, trust_of
from recbole_cocorr.data.clicks import histories
from recbole_cocorr.evaluation.ranking import rank_positive
from recbole_cocorr.experiments.arrival import model_and_rows, ndcg_of
from recbole_cocorr.service.wire import MOST_CLICKS
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.corrected_lists import DeviceScores

COUNTS = (1, 2, 5, 10, MOST_CLICKS)


def measure_score_privacy(
    checkpoint: str | Path, corrector: str | Path, data_path: str | None = None, counts: Sequence[int] = COUNTS
) -> dict[str, Any]:
    """One ranking of each test user, whose device tells its last n clicks.

    Items go up as they are, so what is told is known: nothing is attacked.

    Parameters
    ----------
    checkpoint : str or Path
    corrector : str or Path
        A folder that ``fit-corrector`` wrote for the checkpoint; its trust is used as it is for every n.
    data_path : str, optional
    counts : sequence of int
        The n.

    Returns
    -------
    dict
        ``users``, ``clicks`` (of all their histories) and ``rows``: ``score_clicks`` (n; 0: nothing is asked), ``told``
        (share of the clicks, in one ranking), ``read`` (share of the told clicks that the service knows), ``up`` and
        ``down`` (mean bytes of payload), ``ndcg@10``.

    Raises
    ------
    UserError
        If the checkpoint, its data or the corrector is not usable, or they do not fit.
    """
    recommender, loader = model_and_rows(checkpoint, data_path, needs_correction=False)
    trust = trust_of(corrector, checkpoint_fingerprint(load_checkpoint(checkpoint)))
    weights = {name: trust[name] for name in ("base", "per_log_click", "scale")}
    item_item, _, _ = load_corrector(corrector)
    known, candidates = histories(loader), loader.candidates.numpy()
    alone = DeviceScores(recommender.model).of(loader, torch.arange(len(candidates)), candidates)
    is_item = loader.candidates[:, 1:] > 0
    real = (candidates > 0).sum(axis=1)
    total = sum(map(len, known))
    rows = [{"score_clicks": 0, "told": 0.0, "read": None, "up": 0.0, "down": 0.0}]
    rows[0]["ndcg@10"] = float(ndcg_of(rank_positive(torch.from_numpy(alone), is_item).numpy()).mean())
    for count in counts:
        told = [history[-count:] for history in known]
        lengths = np.array(list(map(len, told)))
        sent = item_item.scores(told, candidates).astype(np.float16).astype(np.float32)
        fused = fuse(alone, sent, lengths, **weights)
        found = rank_positive(torch.from_numpy(fused), is_item).numpy()
        rows.append(
            {
                "score_clicks": count,
                "told": float(lengths.sum() / total),
                "read": 1.0,
                "up": float(4 * (lengths + real).mean()),
                "down": float(2 * real.mean()),
                "ndcg@10": float(ndcg_of(found).mean()),
            }
        )
    return {"users": len(known), "clicks": total, "rows": rows}


def table_text(found: dict[str, Any]) -> str:
    """The rows as a table for people."""
    lines = [
        f"scores: {found['users']} users, {found['clicks']} clicks; one ranking each",
        f"{'score_clicks':>12}{'clicks told':>13}{'of them read':>14}{'bytes up':>10}{'bytes down':>12}{'NDCG@10':>9}",
    ]
    for r in found["rows"]:
        read = "-" if r["read"] is None else f"{r['read']:.2%}"
        count = r["score_clicks"] or "no scores"
        lines.append(f"{count:>12}{r['told']:>13.2%}{read:>14}{r['up']:10.1f}{r['down']:12.1f}{r['ndcg@10']:9.5f}")
    return "\n".join(lines)
