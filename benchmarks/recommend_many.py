"""How long recommendations for 10,000 users take: in one call, and one by one.

    OMP_NUM_THREADS=1 python benchmarks/recommend_many.py CHECKPOINT

The histories are drawn at random, 1 to 50 clicks long. The lists of both ways are compared. Time of the processor is
counted, which other programs on the machine change less than the time that passes.
"""

import argparse
import time

import numpy as np

from recbole_cocorr import load_model

USERS, ALONE, K = 10_000, 500, 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="a .safetensors file that training wrote, or latest")
    recommender = load_model(parser.parse_args().checkpoint)
    generator = np.random.default_rng(1)
    tokens = np.array(recommender.vocabulary.items[1:])
    histories = [generator.choice(tokens, generator.integers(1, 51)).tolist() for _ in range(USERS)]
    recommender.recommend_many(histories[:600], K)  # the first call prepares
    start, busy = time.perf_counter(), time.process_time()
    many = recommender.recommend_many(histories, K)
    together, busy = time.perf_counter() - start, time.process_time() - busy
    start = time.process_time()
    alone = [recommender.recommend(history, K) for history in histories[:ALONE]]
    each = (time.process_time() - start) / ALONE
    other = sum(a.items != b.items for a, b in zip(alone, many, strict=False))
    print(f"{recommender.config['model']}, {len(tokens)} items, {USERS} users, k = {K}")
    print(f"together: {busy:.2f} s of the processor ({together:.2f} s passed), {busy / USERS * 1e3:.3f} ms each")
    print(f"one by one: {each * 1e3:.2f} ms of the processor each, {each * USERS / busy:.0f} times as much")
    print(f"of {ALONE} lists {other} differ")


if __name__ == "__main__":
    main()
