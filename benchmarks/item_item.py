"""The item-item corrector on catalogues of growing size: time and memory to learn, and to answer one request.

    python benchmarks/item_item.py --items 10000 100000 1000000

Synthetic: as many users as items, ten clicks each; items lie in groups of fifty, a user clicks in two groups, nine
times of ten, and otherwise anywhere; within a group the k-th item is clicked in proportion to 1 / k.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

GROUP, CLICKS = 50, 10


def interactions(n_items: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Users and items (from 1) of the synthetic log."""
    generator = np.random.default_rng(seed)
    users = np.repeat(np.arange(1, n_items + 1), CLICKS)
    home = generator.integers(0, max(1, n_items // GROUP), (n_items, 2))
    group = home[users - 1, generator.integers(0, 2, len(users))]
    chance = 1.0 / np.arange(1, GROUP + 1)
    place = generator.choice(GROUP, size=len(users), p=chance / chance.sum())
    items = group * GROUP + place + 1
    anywhere = generator.random(len(users)) < 0.1
    items[anywhere] = generator.integers(1, n_items + 1, anywhere.sum())
    return users, np.minimum(items, n_items)


def measure(n_items: int) -> str:
    """One row of the table."""
    from recbole_cocorr.correctors import ItemItem

    users, items = interactions(n_items)
    start = time.perf_counter()
    model = ItemItem.fit(users, items, n_items + 1)
    took = time.perf_counter() - start
    generator = np.random.default_rng(1)
    answers = []
    for _ in range(1000):
        history = items[(row := int(generator.integers(0, n_items)) * CLICKS) : row + CLICKS]
        candidates = generator.integers(1, n_items + 1, (1, 100))
        start = time.perf_counter()
        model.scores([history], candidates)
        answers.append(time.perf_counter() - start)
    p50, p99 = np.percentile(answers, [50, 99]) * 1e6
    size = sum(part.nbytes for part in (model.weights.data, model.weights.indices, model.weights.indptr))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return (
        f"| {n_items:,} | {len(users):,} | {took:.0f} | {peak:.2f} | {size / 1e6:.0f} | "
        f"{model.weights.nnz / n_items:.0f} | {p50:.0f} | {p99:.0f} |"
    )


def main() -> int:
    """Print the table; each size in a process of its own, so that its peak memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(measure(arguments.one))
        return 0
    print("| items | interactions | learn, s | peak memory, GB | weights, MB | neighbours | answer p50, us | p99, us |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for n_items in arguments.items:
        subprocess.run([sys.executable, __file__, "--one", str(n_items)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
