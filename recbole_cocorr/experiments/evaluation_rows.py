"""The test rows of a checkpoint, and what several measurements do with them."""

from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.models.catalogue import our_names, takes_corrections
from recbole_cocorr.training.checkpoint import load_checkpoint
from recbole_cocorr.training.data_of import data_of
from recbole_cocorr.training.recommend import Recommender, recommender_from

# Newest clicks that the cloud has not seen yet, where a correction is stale.
STALE_CLICKS = (1, 2, 5)


def other_user_rows(rows: int, seed: int = 0) -> np.ndarray:
    """Another row for each, every row once: neighbours in a file are alike, so the circle is drawn by chance.

    Returns
    -------
    numpy.ndarray of int64, shape [rows]
        The row itself only where there is no other.
    """
    circle = np.random.default_rng(seed).permutation(rows)
    others = np.empty(rows, dtype=np.int64)
    others[circle] = np.roll(circle, -1)
    return others


def model_and_rows(
    checkpoint: str | Path, data_path: str | None, needs_correction: bool = True
) -> tuple[Recommender, Any]:
    """A model, and its test rows.

    Parameters
    ----------
    checkpoint : str or Path
    data_path : str or None
        The folder of its data; that of the training, if None.
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
