"""Building the training set, drawing negatives, and how time grows with interactions and items.

    python benchmarks/data_side.py

The data are synthetic and said so: users, items and times drawn at random, items by a power law.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from side_by_side import machine

warnings.filterwarnings("ignore")


def write(folder: Path, name: str, interactions: int, per_user: int, items: int) -> None:
    """An atomic file of random interactions, ``per_user`` each, items in proportion to 1 / rank."""
    generator = np.random.default_rng(0)
    chance = 1.0 / np.arange(1, items + 1)
    drawn = generator.choice(items, size=interactions, p=chance / chance.sum()) + 1
    (folder / name).mkdir(parents=True)
    with open(folder / name / f"{name}.inter", "w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for start in range(0, interactions, 1 << 18):
            rows = range(start, min(start + (1 << 18), interactions))
            file.writelines(f"u{i // per_user}\ti{drawn[i]}\t{i % per_user}\n" for i in rows)


def memory() -> int:
    """Bytes of this process that lie in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measured(work: Callable[[], object]) -> tuple[object, float, int]:
    """What it gives, its seconds, and by how many bytes memory rose at the most meanwhile."""
    before, peak, done = memory(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], memory())

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    done.set()
    thread.join()
    return result, seconds, max(peak[0], memory()) - before


def settings(folder: Path, length: int) -> dict:
    """Leave-one-out, no negatives: nothing but the training set is built."""
    return {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": length,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "metrics": ["NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "use_gpu": False,
        "state": "error",
    }


def build(folder: Path, name: str, length: int, stock: bool) -> tuple[float, int]:
    """Seconds and bytes of turning loaded interactions into training, validation and test rows."""
    if stock:
        from recbole.config import Config
        from recbole.data.dataset import SequentialDataset

        dataset = SequentialDataset(Config("GRU4Rec", name, config_dict=settings(folder, length)))
    else:
        from recbole_cocorr.data.dataset import create_dataset
        from recbole_cocorr.training.config import Config

        told = {k: v for k, v in settings(folder, length).items() if k != "train_neg_sample_args"}
        dataset = create_dataset(Config("GRU4Rec", name, None, told, overrides={}))
    parts, seconds, rise = measured(dataset.build)
    del parts
    return seconds, rise


def in_a_process(work: Callable, *arguments) -> object:
    """Call it in a process of its own, so that neither side inherits the other's memory."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def draw(users: int, per_user: int, items: int, num: int) -> float:
    """Seconds to draw ``num`` negatives for each of ``users`` rows."""
    from recbole_cocorr.data.negatives import NegativeSampler

    generator = np.random.default_rng(0)
    owner = np.repeat(np.arange(1, users + 1), per_user)
    sampler = NegativeSampler(owner, generator.integers(1, items + 1, len(owner)), users + 1, items + 1)
    start = time.perf_counter()
    sampler.sample(np.arange(1, users + 1), num, generator)
    return time.perf_counter() - start


def rank(items: int, rows: int = 256) -> float:
    """Seconds to rank one item of each row among all ``items``."""
    from recbole_cocorr.evaluation.ranking import rank_among_all

    users, table = torch.randn(rows, 64), torch.randn(items + 1, 64)
    step = max(1, (1 << 24) // items)
    start = time.perf_counter()
    for part in users.split(step):
        rank_among_all(part @ table.T, torch.ones(len(part), dtype=torch.int64))
    return time.perf_counter() - start


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Slope of log seconds over log size between the two largest sizes."""
    return float(np.log(seconds[-1] / seconds[-2]) / np.log(sizes[-1] / sizes[-2]))


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--interactions", type=int, default=1_000_000, help="of the comparison with stock RecBole")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--skip_stock", action="store_true")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        seconds = []
        for size in arguments.sizes:
            write(folder, f"synthetic{size}", size, 100, 50_000)
            found = in_a_process(build, folder, f"synthetic{size}", arguments.length, False)
            seconds.append(found[0])
            print(f"build {size:,} interactions: {found[0]:.2f} s, memory up by {found[1] / 1e6:.0f} MB", flush=True)
        print(f"growth with interactions: exponent {exponent(arguments.sizes, seconds):.2f}")
        if not arguments.skip_stock:
            size = arguments.interactions
            if size not in arguments.sizes:
                write(folder, f"synthetic{size}", size, 100, 50_000)
            ours, stock = (
                in_a_process(build, folder, f"synthetic{size}", arguments.length, side) for side in (False, True)
            )
            print(f"\n{size:,} interactions, L = {arguments.length}\n\n| | recbole_cocorr | stock RecBole | ratio |")
            print("|---|---|---|---|")
            print(f"| build the training set, s | {ours[0]:.2f} | {stock[0]:.1f} | {stock[0] / ours[0]:.0f}x |")
            ratio = stock[1] / max(ours[1], 1)
            print(f"| memory it takes, MB | {ours[1] / 1e6:.0f} | {stock[1] / 1e6:.0f} | {ratio:.0f}x |")
    took = sorted(draw(10_000, 50, 50_000, 100) for _ in range(5))[2]
    print(f"\n1M negatives of 10,000 users with 50 of 50,000 items: {took:.2f} s, one thread")
    items = [1_000, 10_000, 100_000, 1_000_000]
    seconds = [sorted(rank(n) for _ in range(3))[1] for n in items]
    print(
        "rank 256 users among all items: " + ", ".join(f"{n:,}: {s:.3g} s" for n, s in zip(items, seconds, strict=True))
    )
    print(f"growth with items: exponent {exponent(items, seconds):.2f}")
    print(f"\n{machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
