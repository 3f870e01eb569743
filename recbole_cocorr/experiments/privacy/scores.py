"""What requests for scores reveal of the clicks, and what sending fewer costs in NDCG@10."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from recbole_cocorr.correctors.folder import load_corrector, trust_of
from recbole_cocorr.correctors.trust import Trust
from recbole_cocorr.data.clicks import histories
from recbole_cocorr.evaluation.ranking import rank_positive
from recbole_cocorr.experiments.evaluation_rows import model_and_rows, ndcg_of
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.privacy import ScorePrivacy
from recbole_cocorr.service.wire import MOST_CLICKS
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.corrected_lists import DeviceScores

COUNTS = (1, 2, 5, 10, MOST_CLICKS)


def measure_scores(
    checkpoint: str | Path, corrector: str | Path, data_path: str | None = None, counts: Sequence[int] = COUNTS
) -> ScorePrivacy:
    """One ranking of each test user, whose device sends its last n clicks.

    Items go up as they are, so the service reads every click that is sent: nothing is attacked.

    Parameters
    ----------
    checkpoint : str or Path
    corrector : str or Path
        A folder that ``fit-corrector`` wrote for the checkpoint; its trust is used as it is for every n.
    data_path : str, optional
    counts : sequence of int
        The n.

    Raises
    ------
    UserError
        If the checkpoint, its data or the corrector is not usable, or they do not fit.
    """
    recommender, loader = model_and_rows(checkpoint, data_path, needs_correction=False)
    trust = Trust.of(trust_of(corrector, checkpoint_fingerprint(load_checkpoint(checkpoint))))
    item_item, _, _ = load_corrector(corrector)
    known, candidates = histories(loader), loader.candidates.numpy()
    alone = DeviceScores(recommender.model).of(loader, torch.arange(len(candidates)), candidates)
    is_item = loader.candidates[:, 1:] > 0
    real = (candidates > 0).sum(axis=1)
    total = sum(map(len, known))

    def ndcg(scores: np.ndarray) -> float:
        return float(ndcg_of(rank_positive(torch.from_numpy(scores), is_item).numpy()).mean())

    rows: list[Row] = [{"score_clicks": 0, "told": 0.0, "read": None, "up": 0.0, "down": 0.0, "ndcg@10": ndcg(alone)}]
    for count in counts:
        sent = [history[-count:] for history in known]
        lengths = np.array(list(map(len, sent)))
        # As the scores come over the wire.
        scores = item_item.scores(sent, candidates).astype(np.float16).astype(np.float32)
        rows.append(
            {
                "score_clicks": count,
                "told": float(lengths.sum() / total),
                "read": 1.0,
                "up": float(4 * (lengths + real).mean()),
                "down": float(2 * real.mean()),
                "ndcg@10": ndcg(trust.fuse(alone, scores, lengths)),
            }
        )
    return ScorePrivacy(len(known), total, rows)
