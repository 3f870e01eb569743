"""The greatest scores of many rows at once."""

import torch


def best_items(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k greatest scores of each row, and their columns; of equal scores the first column comes first.

    Parameters
    ----------
    scores : torch.Tensor, shape [B, n]
    k : int
        At least 1; all columns where there are fewer.

    Returns
    -------
    tuple of torch.Tensor, shapes [B, min(k, n)]
    """
    k = min(k, scores.shape[1])
    values, columns = scores.topk(k)
    # topk orders equal scores as it likes, and of those at its edge it takes any.
    columns = columns.sort(1).values
    values, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    columns = columns.gather(1, order)
    cut = ((scores >= values[:, -1:]).sum(1) > k).nonzero().flatten()
    if len(cut):
        whole, order = scores[cut].sort(dim=1, descending=True, stable=True)
        values[cut], columns[cut] = whole[:, :k], order[:, :k]
    return values, columns
