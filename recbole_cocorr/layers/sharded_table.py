"""A table of item vectors whose rows lie on several processes, and the softmax over it.

Process r of W holds the rows r, r + W, r + 2 W, ...: its share of the weights, of their gradients and of what the
optimizer keeps for each. Rows are asked for where they lie, and their gradients sent back there. What every process
computes is what one would compute alone with the whole table, but for the order of float sums.

All processes call these functions together and equally often; the batches may differ.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd.function import FunctionCtx, once_differentiable

# Numbers of a score matrix in memory at once.
_SCORES_AT_ONCE = 1 << 22


class ShardedTable(nn.Module):
    """Stands where an ``nn.Embedding`` with ``padding_idx=0`` stood.

    Parameters
    ----------
    whole : torch.Tensor, shape [n, d]
        The table at its start, the same in all processes; it is not kept.

    Attributes
    ----------
    weight : nn.Parameter, shape [rows of this process, d]
        Its gradient is that of the whole batch, over all processes.
    rank, world_size : int
        Which process this is, of how many.
    num_embeddings, embedding_dim : int
        n and d.
    """

    def __init__(self, whole: torch.Tensor):
        super().__init__()
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.num_embeddings, self.embedding_dim = whole.shape
        self.weight = nn.Parameter(whole[self.rank :: self.world_size].detach().clone())
        self._whole: torch.Tensor | None = None

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Vectors [..., d] of ids of any shape."""
        if self._whole is not None:
            return nn.functional.embedding(ids, self._whole)
        return _Rows.apply(self.weight, ids, self.rank, self.world_size)

    @torch.no_grad()
    def whole(self) -> torch.Tensor:
        """The whole table [n, d], in every process."""
        if self._whole is not None:
            return self._whole
        longest = -(-self.num_embeddings // self.world_size)
        padded = self.weight.new_zeros(longest, self.embedding_dim)
        padded[: len(self.weight)] = self.weight
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        return torch.stack(parts, dim=1).view(-1, self.embedding_dim)[: self.num_embeddings]

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside, this process has the whole table and asks nobody: for evaluation, where nobody keeps step."""
        before, self._whole = self._whole, self.whole()
        try:
            yield
        finally:
            self._whole = before

    def extra_repr(self) -> str:
        """The size, and this process's part of it."""
        return f"{self.num_embeddings}, {self.embedding_dim}, {len(self.weight)} rows on process {self.rank}"


def sharded_tables(model: nn.Module) -> dict[str, ShardedTable]:
    """The sharded tables of a model, by their names."""
    return {name: module for name, module in model.named_modules() if isinstance(module, ShardedTable)}


class _Rows(torch.autograd.Function):
    """Rows of the table, each asked for once by each process."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: torch.Tensor, ids: torch.Tensor, rank: int, world: int) -> torch.Tensor:
        wanted, inverse = torch.unique(ids, return_inverse=True)
        by_owner = torch.argsort(wanted % world, stable=True)
        sent = torch.bincount(wanted % world, minlength=world)
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent)
        sent, received = sent.tolist(), received.tolist()
        asked = wanted.new_empty(sum(received))
        dist.all_to_all_single(asked, wanted[by_owner], received, sent)
        mine = torch.div(asked, world, rounding_mode="floor")
        vectors = weight.new_empty(len(wanted), weight.shape[1])
        dist.all_to_all_single(vectors, weight[mine], sent, received)
        rows = torch.empty_like(vectors)
        rows[by_owner] = vectors
        ctx.save_for_backward(wanted, inverse, by_owner, mine)
        ctx.counts, ctx.shape = (sent, received), weight.shape
        return rows[inverse]

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        wanted, inverse, by_owner, mine = ctx.saved_tensors
        sent, received = ctx.counts
        width = grad.shape[-1]
        of_rows = grad.new_zeros(len(wanted), width).index_add_(0, inverse.flatten(), grad.reshape(-1, width))
        of_rows[wanted == 0] = 0  # padding's vector stays as it is
        of_mine = grad.new_empty(len(mine), width)
        dist.all_to_all_single(of_mine, of_rows[by_owner], received, sent)
        return grad.new_zeros(ctx.shape).index_add_(0, mine, of_mine), None, None, None


def sharded_cross_entropy(
    users: torch.Tensor, items: torch.Tensor, target: torch.Tensor, table: ShardedTable
) -> torch.Tensor:
    """Mean of -log softmax over all items but padding, over this process's rows.

    Each process scores the user vectors of all processes against its own items. Of a row three numbers are exchanged
    (the largest score, the sum of exponentials, the target's score), and its user vector with that vector's gradient.

    Parameters
    ----------
    users : torch.Tensor, shape [B, d]
        Of this process; B may differ between processes.
    items : torch.Tensor, shape [rows of this process, d]
        The vectors of its rows of the table.
    target : torch.Tensor of int64, shape [B]
        Item ids.
    table : ShardedTable
        Says which items this process has.

    Returns
    -------
    torch.Tensor, shape []
        The gradient of ``items`` is that of the sum of all processes' losses, each times what it is multiplied by.
    """
    users = users.float() if users.dtype.itemsize < 4 else users  # of mixed precision
    with torch.autocast(users.device.type, enabled=False):
        return _CrossEntropy.apply(users, items.to(users.dtype), target, table)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, users: torch.Tensor, items: torch.Tensor, target: torch.Tensor, table: ShardedTable
    ) -> torch.Tensor:
        sizes = _gather(torch.tensor([len(users)], device=users.device)).flatten().tolist()
        everyone, targets = _gather_rows(users, sizes), _gather_rows(target, sizes)
        # Their targets' rows here, -1 where another process has the target.
        here = torch.where(
            targets % table.world_size == table.rank, torch.div(targets, table.world_size, rounding_mode="floor"), -1
        )
        largest, total = (everyone.new_empty(len(everyone)) for _ in range(2))
        wanted = everyone.new_zeros(len(everyone))
        for part in _blocks(len(everyone), len(items)):
            scores = _scores(everyone[part], items, table)
            largest[part] = scores.amax(dim=1)
            total[part] = (scores - largest[part, None]).exp_().sum(dim=1)
            own = (here[part] >= 0).nonzero()[:, 0]
            wanted[part][own] = scores[own, here[part][own]]
        most = largest.clone()
        dist.all_reduce(most, dist.ReduceOp.MAX)
        sums = torch.stack([total * (largest - most).exp(), wanted])
        dist.all_reduce(sums)
        log_total = most + sums[0].log()
        begin = sum(sizes[: table.rank])
        own = slice(begin, begin + len(users))
        ctx.save_for_backward(everyone, items, here, log_total)
        ctx.table, ctx.own, ctx.sizes = table, own, sizes
        return (log_total - sums[1])[own].mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        everyone, items, here, log_total = ctx.saved_tensors
        sizes = torch.tensor(ctx.sizes, device=grad.device)
        share = torch.repeat_interleave(_gather(grad.view(1)).flatten() / sizes, sizes)
        of_everyone, of_items = torch.empty_like(everyone), torch.zeros_like(items)
        for part in _blocks(len(everyone), len(items)):
            chance = (_scores(everyone[part], items, ctx.table) - log_total[part, None]).exp_()
            own = (here[part] >= 0).nonzero()[:, 0]
            chance[own, here[part][own]] -= 1
            chance *= share[part, None]
            of_everyone[part] = chance @ items
            of_items.addmm_(chance.T, everyone[part])
        dist.all_reduce(of_everyone)
        return of_everyone[ctx.own], of_items, None, None


def _blocks(rows: int, items: int) -> Iterator[slice]:
    step = max(1, _SCORES_AT_ONCE // max(1, items))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _scores(users: torch.Tensor, items: torch.Tensor, table: ShardedTable) -> torch.Tensor:
    scores = users @ items.T
    if table.rank == 0:
        scores[:, 0] = -torch.inf  # padding
    return scores


def _gather(values: torch.Tensor) -> torch.Tensor:
    """The same number of values of every process, [processes, ...]."""
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values.contiguous())
    return torch.stack(parts)


def _gather_rows(rows: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """The rows of all processes, one after another."""
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    return torch.cat([part[:size] for part, size in zip(_gather(padded), sizes, strict=True)])
