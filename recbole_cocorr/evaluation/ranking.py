"""Where a positive stands among its candidates, and the metrics that follow from it.

A rank is kept as three numbers per row: how many candidates score higher, how many score the same,
and how many candidates there are besides the positive. Ties count as a random order would: every
metric is its expectation over the orders of the tied items, so a model that scores all candidates
alike gets what guessing gets.
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch

# Columns of a ranks array.
HIGHER, TIED, OTHERS = 0, 1, 2

# Metrics computed here, from ranks; RecBole's classes compute the others.
RANK_METRICS = frozenset({"hit", "recall", "precision", "ndcg", "mrr", "map", "gauc"})


def rank_positive(scores: torch.Tensor, others: torch.Tensor | None = None) -> torch.Tensor:
    """Rank the first column among its row.

    Parameters
    ----------
    scores : torch.Tensor, shape [B, 1 + N]
        The positive's score first.
    others : torch.Tensor of bool, shape [B, N], optional
        Which of the other columns are candidates; all, if left out.

    Returns
    -------
    torch.Tensor of int64, shape [B, 3]
        Number of candidates that score higher, that score the same, and of all candidates but the
        positive.

    Raises
    ------
    ValueError
        If a score is not a number: no order is defined then.
    """
    positive, rest = scores[:, :1], scores[:, 1:]
    if others is None:
        others = torch.ones_like(rest, dtype=torch.bool)
    if torch.isnan(positive).any() or (torch.isnan(rest) & others).any():
        raise ValueError("a score is NaN, so the candidates have no order; the model has diverged")
    higher = ((rest > positive) & others).sum(dim=1)
    tied = ((rest == positive) & others).sum(dim=1)
    return torch.stack([higher, tied, others.sum(dim=1)], dim=1)


def rank_among_all(
    scores: torch.Tensor, positive: torch.Tensor, hidden: tuple[torch.Tensor, torch.Tensor] | None = None
) -> torch.Tensor:
    """Rank one item of each row among the whole catalogue, without a mask of the catalogue's size.

    Parameters
    ----------
    scores : torch.Tensor, shape [B, n_items]
        Column 0 is padding and no candidate.
    positive : torch.Tensor of int64, shape [B]
        The item to rank; 0 for one without a score, which comes after all candidates.
    hidden : tuple of torch.Tensor of int64, optional
        Rows and items, pair by pair, that are no candidates; repeats count once, the positive stays.

    Returns
    -------
    torch.Tensor of int64, shape [B, 3]
        As of :func:`rank_positive`.

    Raises
    ------
    ValueError
        If a score is not a number.
    """
    rows, total = scores.shape
    own_scores = scores.gather(1, positive[:, None])
    # Ones are counted as floats, whose sum is several times as fast as that of booleans, and exact up to 2^24.
    ones = torch.empty_like(scores, dtype=torch.float32 if total < 1 << 24 else torch.float64)
    higher = torch.gt(scores, own_scores, out=ones).sum(dim=1).long()
    tied = torch.eq(scores, own_scores, out=ones).sum(dim=1).long()
    # A NaN compares false with everything, so it is looked for in the sums, which it turns into NaN.
    if torch.isnan(scores.sum(dim=1)).any() and torch.isnan(scores[:, 1:]).any():
        raise ValueError("a score is NaN, so the items have no order; the model has diverged")
    # What was counted though it is no other candidate: the positive itself, padding, and the hidden ones.
    owner = torch.arange(rows, device=scores.device)
    out_rows, out_items = [owner, owner], [positive, torch.zeros_like(positive)]
    if hidden is not None:
        key = torch.unique(hidden[0].to(scores.device) * total + hidden[1].to(scores.device))
        row, item = key // total, key % total
        keep = (item != positive[row]) & (item != 0)
        out_rows.append(row[keep])
        out_items.append(item[keep])
    row, item = torch.cat(out_rows), torch.cat(out_items)
    values, reference = scores[row, item], own_scores[row, 0]
    higher.index_add_(0, row, -(values > reference).long())
    tied.index_add_(0, row, -(values == reference).long())
    others = torch.full_like(higher, total).index_add_(0, row, -torch.ones_like(row))
    unscored = positive == 0  # taken off twice above: as the positive and as padding
    others += unscored
    higher, tied = torch.where(unscored, others, higher), tied.masked_fill(unscored, 0)
    return torch.stack([higher, tied, others], dim=1)


def expected_up_to(gains: np.ndarray, ranks: np.ndarray, k: int) -> np.ndarray:
    """Expected gain of a positive whose place is uniform among its tied items, cut off at k.

    Parameters
    ----------
    gains : numpy.ndarray, shape [k]
        Gain of each place from the first on.
    ranks : numpy.ndarray, shape [rows, 3]
    k : int

    Returns
    -------
    numpy.ndarray of float64, shape [rows]
    """
    total = np.concatenate([[0.0], np.cumsum(gains[:k])])
    first = np.minimum(ranks[:, HIGHER], k)
    last = np.minimum(ranks[:, HIGHER] + ranks[:, TIED] + 1, k)
    return (total[last] - total[first]) / (ranks[:, TIED] + 1)


def per_row(ranks: np.ndarray, metrics: Sequence[str], topk: Sequence[int]) -> "OrderedDict[str, np.ndarray]":
    """Every rank metric of every row.

    Parameters
    ----------
    ranks : numpy.ndarray of int, shape [rows, 3]
    metrics : sequence of str
        Names in lower case, out of ``RANK_METRICS``. RecBole's GAUC is the paper's UAUC.
    topk : sequence of int

    Returns
    -------
    OrderedDict
        ``{"ndcg@10": array [rows], ...}``. ``gauc`` is NaN for a row without other candidates.
    """
    result: OrderedDict[str, np.ndarray] = OrderedDict()
    position = np.arange(1, max(topk, default=1) + 1)
    gains = {
        "hit": np.ones(len(position)),
        "ndcg": 1.0 / np.log2(position + 1),
        "mrr": 1.0 / position,
    }
    gains["recall"] = gains["precision"] = gains["hit"]
    gains["map"] = gains["mrr"]  # one positive per row
    for metric in metrics:
        if metric == "gauc":
            others = ranks[:, OTHERS].astype(np.float64)
            beaten = others - ranks[:, HIGHER] - 0.5 * ranks[:, TIED]
            result["gauc"] = np.divide(beaten, others, out=np.full(len(ranks), np.nan), where=others > 0)
            continue
        for k in topk:
            value = expected_up_to(gains[metric], ranks, k)
            result[f"{metric}@{k}"] = value / k if metric == "precision" else value
    return result


def rank_metrics(metrics: Sequence[str]) -> list[str]:
    """Those of a configuration's ``metrics`` that ranks decide, in lower case."""
    return [metric.lower() for metric in metrics if metric.lower() in RANK_METRICS]


def summarise(
    ranks: np.ndarray, metrics: Sequence[str], topk: Sequence[int], decimal_place: int = 4
) -> "OrderedDict[str, float]":
    """Mean of every rank metric over the rows, rounded as RecBole rounds."""
    rows = per_row(ranks, metrics, topk)
    return OrderedDict(
        (name, round(float(np.nanmean(v)), decimal_place) if np.isfinite(v).any() else float("nan"))
        for name, v in rows.items()
    )
