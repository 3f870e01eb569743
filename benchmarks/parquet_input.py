"""Seconds and memory of everything before the first batch, from Parquet files.

    python benchmarks/parquet_input.py --sizes 1000000 10000000 100000000

The data are synthetic and said so: users of 100 interactions each, items by a power law, rows in the order of time.
Each size is read in a process of its own. "At the most" is the highest that its memory rose by until then; the
last line of a size is what the data take once the first batch is there.
"""

import argparse
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from data_side import in_a_process, measured, memory
from side_by_side import machine

warnings.filterwarnings("ignore")

_ROWS = 1 << 22
_PER_USER = 100


def write_parquet(folder: Path, name: str, interactions: int, items: int) -> None:
    """Random interactions in the order of time; users and items are whole numbers."""
    import pyarrow
    from pyarrow import parquet

    generator = np.random.default_rng(0)
    (folder / name).mkdir(parents=True)
    names = ["user_id", "item_id", "timestamp"]
    schema = pyarrow.schema([(column, pyarrow.int64()) for column in names])
    with parquet.ParquetWriter(folder / name / f"{name}.parquet", schema) as writer:
        for begin in range(0, interactions, _ROWS):
            count = min(_ROWS, interactions - begin)
            users = generator.integers(1, interactions // _PER_USER + 1, count)
            drawn = (items ** generator.random(count)).astype(np.int64)  # in proportion to 1 / rank, nearly
            columns = [users, drawn, np.arange(begin, begin + count) + 1_600_000_000]
            writer.write_table(pyarrow.table(columns, schema=schema))


def before_the_first_batch(folder: Path, name: str, rows: str) -> tuple[list[tuple[str, float, int]], int]:
    """Each step's seconds and highest rise of memory in bytes, and what is in memory in the end."""
    import torch

    torch.set_num_threads(1)
    from recbole.utils import init_seed

    from recbole_cocorr.data.dataset import create_dataset
    from recbole_cocorr.data.loaders import data_preparation
    from recbole_cocorr.training.agreement import rows_digest
    from recbole_cocorr.training.config import Config

    os.chdir(folder)
    told = {
        "data_path": str(folder),
        "protocol": "full",
        "loss_type": "CE",
        "training_rows": rows,
        "use_gpu": False,
        "show_progress": False,
        "state": "error",
    }
    config = Config("CoCorrRec", name, None, told, overrides={})
    init_seed(config["seed"], config["reproducibility"])
    import pyarrow.parquet  # noqa: F401

    start, steps = memory(), []
    dataset, seconds, rise = measured(lambda: create_dataset(config))
    steps.append(("read, number, sort", seconds, rise))
    before = memory() - start
    (train, *_), seconds, rise = measured(lambda: data_preparation(config, dataset))
    steps.append(("split, loaders", seconds, before + rise))
    dataset = None
    before = memory() - start
    _, seconds, rise = measured(lambda: rows_digest(train.dataset))
    steps.append(("digest of the rows, for resuming", seconds, before + rise))
    before = memory() - start
    batches = train.batches()
    _, seconds, rise = measured(lambda: next(batches))
    steps.append(("order of the epoch, first batch", seconds, before + rise))
    return steps, memory() - start


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rows", choices=("prefix", "sequence"), nargs="+", default=["prefix", "sequence"])
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]
    print("| interactions | training_rows | step | s | memory at the most, MB | bytes an interaction |")
    print("|---|---|---|---|---|---|", flush=True)
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as name:
            begin = time.perf_counter()
            write_parquet(Path(name), "clicks", size, arguments.items)
            file = Path(name) / "clicks" / "clicks.parquet"
            wrote = time.perf_counter() - begin
            print(
                f"{size:,}: {file.stat().st_size / 1e6:,.0f} MB written in {wrote:.0f} s", file=sys.stderr, flush=True
            )
            for rows in arguments.rows:
                steps, rest = in_a_process(before_the_first_batch, Path(name), "clicks", rows)
                for what, seconds, most in steps:
                    print(f"| {size:,} | {rows} | {what} | {seconds:.1f} | {most / 1e6:,.0f} | {most / size:.0f} |")
                total = sum(seconds for _, seconds, _ in steps)
                print(
                    f"| {size:,} | {rows} | **all of it; then in memory** | {total:.1f} | {rest / 1e6:,.0f} | "
                    f"{rest / size:.0f} |",
                    flush=True,
                )
    print(f"\n{machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
