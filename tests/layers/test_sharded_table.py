"""A table on several processes gives the vectors, the loss and the gradients of the table on one."""

import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F

from recbole_cocorr.layers import sharded_table
from recbole_cocorr.layers.sharded_table import ShardedTable, sharded_cross_entropy, sharded_tables
from recbole_cocorr.layers.softmax_loss import catalogue_cross_entropy, sampled_cross_entropy

ITEMS, WIDTH, ROWS, LENGTH = 23, 4, 7, 5


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


class Model(torch.nn.Module):
    """A mean of clicks, and an MLP on the targets."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.table = torch.nn.Embedding(ITEMS, WIDTH, padding_idx=0).double()
        self.query, self.phi = (torch.nn.Linear(WIDTH, WIDTH).double() for _ in range(2))

    def users(self, clicks):
        return self.query(torch.tanh(self.table(clicks)).mean(dim=1))


def whole_batch():
    generator = torch.Generator().manual_seed(5)
    clicks = torch.randint(0, ITEMS, (ROWS, LENGTH), generator=generator)
    clicks[:, -1] = 0  # padding
    return clicks, torch.randint(1, ITEMS, (ROWS,), generator=generator)


SAMPLE, LOG_EXPECTED = torch.tensor([1, 4, 4, 22]), torch.tensor([0.1, -0.3, -0.3, 0.2], dtype=torch.float64)


def loss_of(model: Model, clicks, target, kind: str) -> torch.Tensor:
    users, sharded = model.users(clicks), isinstance(model.table, ShardedTable)
    if kind == "sampled":
        vectors = model.phi(model.table(torch.cat([target, SAMPLE])))
        positive, sampled = vectors.split([len(target), len(SAMPLE)])
        return sampled_cross_entropy(users, positive, sampled, target, SAMPLE, LOG_EXPECTED)
    if sharded:
        return sharded_cross_entropy(users, model.phi(model.table.weight), target, model.table)
    return catalogue_cross_entropy(users, model.phi(model.table.weight)[1:], target - 1)


def compare(rank: int, world: int, port: int, at_once: int) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    sharded_table._SCORES_AT_ONCE = at_once
    clicks, target = whole_batch()
    # The last process has no rows of its own: it takes part with one, which does not count.
    cuts = [0, *(ROWS * (r + 1) // (world - 1) for r in range(world - 1)), ROWS] if world > 2 else [0, 3, ROWS]
    mine = slice(cuts[rank], cuts[rank + 1])
    weight = (cuts[rank + 1] - cuts[rank]) / ROWS
    own = (clicks[mine], target[mine]) if weight else (clicks[:1], target[:1])
    for kind in ("sampled", "softmax"):
        alone, model = Model(), Model()
        model.table = ShardedTable(model.table.weight)
        assert list(sharded_tables(model)) == ["table"]
        assert len(model.table.weight) == len(range(rank, ITEMS, world))
        torch.testing.assert_close(model.table.whole(), alone.table.weight, rtol=0, atol=0)
        with torch.no_grad():
            torch.testing.assert_close(model.table(clicks[:, rank:]), alone.table(clicks[:, rank:]), rtol=0, atol=0)
        expected = loss_of(alone, clicks, target, kind)
        expected.backward()
        loss = loss_of(model, *own, kind) * weight
        loss.backward()
        total = loss.detach().clone()
        dist.all_reduce(total)
        torch.testing.assert_close(total, expected.detach())
        torch.testing.assert_close(model.table.weight.grad, alone.table.weight.grad[rank::world])
        for ours, theirs in zip(
            [*model.query.parameters(), *model.phi.parameters()],
            [*alone.query.parameters(), *alone.phi.parameters()],
            strict=True,
        ):
            dist.all_reduce(ours.grad)
            torch.testing.assert_close(ours.grad, theirs.grad)
        with model.table.gathered():  # nobody is asked: one process may do it alone
            if rank == 0:
                torch.testing.assert_close(model.table(clicks), F.embedding(clicks, alone.table.weight))
    dist.destroy_process_group()


@pytest.mark.parametrize(("world", "at_once"), [(2, 1 << 22), (3, 20)])
def test_several_processes_compute_what_one_does(world, at_once):
    multiprocessing.spawn(compare, args=(world, free_port(), at_once), nprocs=world)
