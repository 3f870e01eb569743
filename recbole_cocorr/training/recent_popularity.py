"""How much a short-term popularity is worth beside the model: one number, learned on the validation items."""

import numpy as np

from recbole_cocorr.correctors.base import Corrector
from recbole_cocorr.correctors.recent import RecentClicks
from recbole_cocorr.correctors.trust import Trust
from recbole_cocorr.data.clicks import histories
from recbole_cocorr.data.dataset import HISTORY_END
from recbole_cocorr.data.loaders import EvalLoader
from recbole_cocorr.training.corrected_lists import DeviceScores, trust_lists


def popularity_weight(
    device: DeviceScores, loader: EvalLoader, recent: RecentClicks, corrector: Corrector | None, trust: Trust | None
) -> float:
    """w of w asinh(clicks in the window): the likeliest, beside the model's scores and those of its neighbour table.

    Parameters
    ----------
    device : DeviceScores
    loader : EvalLoader
        The validation items.
    recent : RecentClicks
        Of the loader's items; what comes after a validation item's moment does not count for it.
    corrector, trust : Corrector and Trust, or None
        Of the neighbour table.

    Returns
    -------
    float
        0 where popularity does not help.

    Raises
    ------
    UserError
        If there is no validation item, or a score is not finite.
    """
    rows, candidates = trust_lists(loader)
    scores = device.of(loader, rows, candidates)
    if corrector is not None:
        every = histories(loader)
        known = [every[row] for row in rows.tolist()]
        lengths = np.array([len(h) for h in known], dtype=np.int64)
        scores = trust.fuse(scores, corrector.scores(known, candidates), lengths)
    dataset = loader.dataset
    moments = dataset.interactions()[2][dataset.inter_feat[HISTORY_END].numpy()[rows.numpy()]]
    counts = recent.before(candidates, np.broadcast_to(moments[:, None], candidates.shape))
    ones = np.ones(len(rows), dtype=np.int64)
    return max(0.0, Trust.fit(scores, counts.astype(np.float64), ones, candidates > 0, 1.0).base)
