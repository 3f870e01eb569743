"""Training steps of CoCorrRec with its item vectors on one process and on two: seconds, memory, and bytes exchanged.

    python benchmarks/sharded_items.py

Items are a million, most of which nobody clicked. The processes are on this machine and speak by gloo. Memory is by how
much a process grew from before the model was made until after the steps; an evaluation gathers the table besides. Bytes
are those that process 0 hands to the others in a step, by the kind of exchange.
"""

import argparse
import os
import socket
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from data_side import memory, write
from side_by_side import machine

warnings.filterwarnings("ignore")


def counted(counts: dict[str, int]) -> None:
    """From now on count the bytes that leave this process in torch's exchanges, as a ring or direct sends move them."""
    world = dist.get_world_size()

    def wrap(name: str, sent) -> None:
        plain = getattr(dist, name)

        def exchange(*arguments, **more):
            counts[name] = counts.get(name, 0) + sent(*arguments)
            return plain(*arguments, **more)

        setattr(dist, name, exchange)

    def bytes_of(tensor: torch.Tensor) -> int:
        return tensor.numel() * tensor.element_size()

    wrap("all_reduce", lambda tensor, *_: 2 * bytes_of(tensor) * (world - 1) // world)
    wrap("all_gather", lambda parts, tensor: bytes_of(tensor) * (world - 1))
    wrap("all_to_all_single", lambda out, tensor, *_: bytes_of(tensor) * (world - 1) // world)


def steps(rank: int, world: int, port: int, folder: str, told: dict, count: int, sharded: bool) -> None:
    """Some training steps; process 0 prints a line."""
    torch.set_num_threads(1)
    os.chdir(folder)
    sys.argv = sys.argv[:1]
    from recbole.utils import init_seed

    from recbole_cocorr.data import distributed
    from recbole_cocorr.data.dataset import create_dataset
    from recbole_cocorr.data.loaders import data_preparation
    from recbole_cocorr.models.factory import build_model
    from recbole_cocorr.models.sharding import shard_items
    from recbole_cocorr.training.config import Config
    from recbole_cocorr.training.trainer import Trainer

    config = Config("CoCorrRec", "large", None, {**told, "local_rank": rank, "world_size": world, "port": port})
    init_seed(config["seed"], config["reproducibility"])
    train, *_ = data_preparation(config, create_dataset(config))
    before = memory()
    model = build_model(config, train.dataset)
    if sharded:
        shard_items(model)
    trainer = Trainer(config, model)
    trainer._prepare_training(train)
    counts: dict[str, int] = {}
    if world > 1:
        counted(counts)
    took = []
    for number, batch in enumerate(train.batches()):
        if number == count:
            break
        counts.clear()
        begin = time.perf_counter()
        trainer.optimizer.zero_grad()
        loss = trainer._objective(batch.interaction, *([batch.sample] if batch.sample else [])) * batch.weight
        loss.backward()
        distributed.sum_gradients(trainer._parameters)
        trainer.optimizer.step()
        total = distributed.sum_scalar(loss.item(), torch.device("cpu"))
        took.append(time.perf_counter() - begin)
    rise = memory() - before
    if rank == 0:
        softmax = f"{told['softmax_sample_num']:,} sampled" if told["softmax_sample_num"] else "all items"
        table = "sharded" if sharded else "whole"
        exchanged = ", ".join(f"{name} {sent / 1e6:.2f}" for name, sent in sorted(counts.items())) or "none"
        print(
            f"| {softmax} | {world} | {table} | {sorted(took)[len(took) // 2]:.2f} | {rise / 1e6:,.0f} | {exchanged} | "
            f"{total:.6f} |",
            flush=True,
        )
    distributed.leave()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=2_000, help="with 20 clicks each")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--windows", type=int, default=16, help="users of a batch, over all processes")
    parser.add_argument("--sample", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), "large", 20 * arguments.users, 20, arguments.items)
        with open(Path(name) / "large" / "large.item", "w") as file:
            file.write("item_id:token\n")
            file.writelines(f"i{item}\n" for item in range(1, arguments.items + 1))
        print(f"{arguments.items:,} items, d = 64, {arguments.windows} users of 17 targets in a batch\n")
        print("| softmax over | processes | table | s a step | memory up by, MB | MB sent a step | last step's loss |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for sample in (arguments.sample, None):
            told = {
                "data_path": name,
                "checkpoint_dir": name,
                "protocol": "full",
                "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
                "item_init": "random",
                "use_gcn": False,
                "dropout_prob": 0.0,
                "training_rows": "sequence",
                "train_batch_size": arguments.windows,
                "softmax_sample_num": sample,
                "use_gpu": False,
                "show_progress": False,
                "save_training_state": False,
                "state": "error",
            }
            for world, sharded in ((1, False), (2, False), (2, True)):
                torch.multiprocessing.spawn(
                    steps, (world, free_port(), name, told, arguments.steps, sharded), nprocs=world
                )
    print(f"\n{machine()}; each process one thread")
    return 0


if __name__ == "__main__":
    sys.exit(main())
