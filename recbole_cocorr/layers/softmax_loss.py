"""Softmax cross-entropy against a catalogue, without saving a [batch, items] matrix for the backward pass."""

import torch
import torch.nn.functional as F
from torch.autograd.function import FunctionCtx, once_differentiable

# Numbers of a score matrix in memory at once (16 MB of float32: it stays in a processor's cache).
_SCORES_AT_ONCE = 1 << 22


def catalogue_cross_entropy(
    users: torch.Tensor, items: torch.Tensor, target: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean of -log softmax(users . items)[target] over the rows.

    The rows are taken in blocks. A block's scores are turned into the gradients of ``users`` and ``items`` at once and
    dropped, so the memory is that of one block, whatever the catalogue, and nothing is computed twice.

    Parameters
    ----------
    users : torch.Tensor, shape [B, d]
    items : torch.Tensor, shape [n, d]
    target : torch.Tensor of int64, shape [B]
        Rows of ``items``.
    bias : torch.Tensor, shape [n], optional
        Added to the scores.

    Returns
    -------
    torch.Tensor, shape []
    """
    if bias is not None:  # one more column of width 1: the same product
        users = torch.cat([users, users.new_ones(len(users), 1)], dim=1)
        items = torch.cat([items, bias[:, None]], dim=1)
    if torch.is_autocast_enabled(users.device.type):
        kind = torch.get_autocast_dtype(users.device.type)
        users, items = users.to(kind), items.to(kind)
    items = items.to(users.dtype)
    if not torch.is_grad_enabled() or not (users.requires_grad or items.requires_grad):
        return _blocks(users, items, target, None, None)
    return _CatalogueCrossEntropy.apply(users, items, target)


def _blocks(
    users: torch.Tensor,
    items: torch.Tensor,
    target: torch.Tensor,
    of_users: torch.Tensor | None,
    of_items: torch.Tensor | None,
) -> torch.Tensor:
    """The loss; the gradients of ``users`` and ``items`` are written into the last two."""
    rows, total = len(users), users.new_zeros((), dtype=torch.float32)
    if rows == 0:
        return total
    step = max(1, _SCORES_AT_ONCE // len(items))
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        scores = users[part] @ items.T
        scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
        logs = torch.log_softmax(scores, dim=1)
        wanted = target[part, None]
        total = total - logs.gather(1, wanted).sum()
        if of_users is not None:
            share = logs.exp_()
            share.scatter_add_(1, wanted, share.new_full(wanted.shape, -1.0))
            share = share.to(users.dtype) / rows
            of_users[part] = share @ items
            of_items.addmm_(share.T, users[part])
    return total / rows


class _CatalogueCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, users: torch.Tensor, items: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        of_users, of_items = torch.empty_like(users), torch.zeros_like(items)
        with torch.autocast(users.device.type, enabled=False):
            loss = _blocks(users, items, target, of_users, of_items)
        ctx.save_for_backward(of_users, of_items)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_users, of_items = ctx.saved_tensors
        return of_users * grad, of_items * grad, None


def sampled_cross_entropy(
    users: torch.Tensor,
    positive: torch.Tensor,
    sampled: torch.Tensor,
    target: torch.Tensor,
    sampled_items: torch.Tensor,
    log_expected: torch.Tensor,
) -> torch.Tensor:
    """Softmax over the positive and a sample shared by all rows, with logQ correction.

    A sampled item's score is lowered by the logarithm of how often it is expected in the sample, which makes
    the loss an estimate of the full softmax's (Bengio and Senecal, 2008; Yi et al., RecSys 2019, eq. 3). A
    sampled item that is the row's own positive does not count.

    Parameters
    ----------
    users, positive : torch.Tensor, shape [B, d]
        User vectors, and the vectors of the rows' positives.
    sampled : torch.Tensor, shape [N, d]
    target : torch.Tensor of int64, shape [B]
        Item ids of the positives.
    sampled_items : torch.Tensor of int64, shape [N]
        Item ids of the sample.
    log_expected : torch.Tensor, shape [N]
        log(N q_i) of the sampled items, q the distribution they are drawn from.

    Returns
    -------
    torch.Tensor, shape []
    """
    own = (users * positive).sum(dim=1, keepdim=True)
    scores = users @ sampled.T - log_expected
    scores = scores.masked_fill(sampled_items == target[:, None], -torch.inf)
    logits = torch.cat([own, scores], dim=1)
    return F.cross_entropy(logits.float(), torch.zeros_like(target))
