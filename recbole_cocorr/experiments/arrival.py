"""Quality as a function of the share of corrections that arrive."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.experiments.ablation import GivenCorrection, ranks_given
from recbole_cocorr.models.catalogue import our_names, takes_corrections
from recbole_cocorr.training.checkpoint import load_checkpoint
from recbole_cocorr.training.data_of import data_of
from recbole_cocorr.training.recommend import Recommender, recommender_from


def model_and_rows(
    checkpoint: str | Path, data_path: str | None, needs_correction: bool = True
) -> tuple[Recommender, Any]:
    """A model, and its test rows.

    Parameters
    ----------
    checkpoint : str or Path
    data_path : str or None
        The folder of its data; where training found them, if None.
    needs_correction : bool
        Whether it must be a CoCorrRec with its correction network.

    Raises
    ------
    UserError
        If the checkpoint is of another model, ranks among all items, or its data are not here.
    """
    read = load_checkpoint(checkpoint)
    recommender = recommender_from(read, str(checkpoint), "cpu")
    if needs_correction and not takes_corrections(recommender.model):
        raise UserError(f"{checkpoint} is no {our_names()} with a correction network")
    rows = data_of(read.config, read.items, str(checkpoint), data_path).test
    if recommender.config["eval_args"]["mode"]["test"] == "full":
        raise UserError(f"{checkpoint} was trained to rank among all items; this measures ranking among candidates")
    return recommender, rows


def ndcg_of(ranks: np.ndarray) -> np.ndarray:
    """NDCG@10 of each row of ranks."""
    return per_row(ranks, ["ndcg"], [10])["ndcg@10"]


def quality_by_share(
    checkpoint: str | Path, data_path: str | None, shares: Sequence[float], draws: int = 20, seed: int = 0
) -> list[dict[str, float]]:
    """NDCG@10 if a share of the users, drawn at random, get their correction and the others none.

    Returns
    -------
    list of dict
        ``share``, ``ndcg@10`` (the mean of ``draws`` draws) and ``deviation`` (between the draws).
    """
    recommender, rows = model_and_rows(checkpoint, data_path)
    with_it, without = (
        ndcg_of(ranks_given(recommender.model, rows, GivenCorrection(name))[0]) for name in ("own", "none")
    )
    generator = np.random.default_rng(seed)
    result = []
    for share in shares:
        found = [np.where(generator.random(len(without)) < share, with_it, without).mean() for _ in range(draws)]
        result.append({"share": share, "ndcg@10": float(np.mean(found)), "deviation": float(np.std(found, ddof=1))})
    return result
