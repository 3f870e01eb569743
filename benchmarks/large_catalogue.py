"""Training steps and a full ranking over a catalogue of a million items: seconds, and the memory they take.

    python benchmarks/large_catalogue.py

The data are synthetic and said so: items drawn by a power law, and a file of all items beside the interactions, so that
most of the catalogue was never clicked.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from data_side import measured, write
from side_by_side import machine

warnings.filterwarnings("ignore")


def row(what: str, seconds: float, rise: int) -> None:
    """Print one line of the table."""
    print(f"| {what} | {seconds:.2f} | {rise / 1e6:,.0f} |", flush=True)


def steps(trainer, loader, count: int) -> float:
    """Seconds of the last of some training steps; the first one also makes the optimizer's state."""
    objective, took = trainer._objective, 0.0
    batches = loader.batches()
    for _ in range(count):
        begin = time.perf_counter()
        batch = next(batches)
        trainer.optimizer.zero_grad()
        (objective(batch.interaction, *([batch.sample] if batch.sample else [])) * batch.weight).backward()
        trainer.optimizer.step()
        took = time.perf_counter() - begin
    return took


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=10_000, help="with 20 clicks each")
    parser.add_argument("--ranked", type=int, default=2_000, help="users of the full ranking")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]
    torch.set_num_threads(arguments.threads)

    from recbole.utils import init_logger, init_seed

    from recbole_cocorr.data.dataset import create_dataset
    from recbole_cocorr.data.loaders import data_preparation
    from recbole_cocorr.models.factory import build_model
    from recbole_cocorr.training.config import Config
    from recbole_cocorr.training.item_init import start_items
    from recbole_cocorr.training.trainer import Trainer

    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        write(Path(name), "large", 20 * arguments.users, 20, arguments.items)
        with open("large/large.item", "w") as file:
            file.write("item_id:token\n")
            file.writelines(f"i{item}\n" for item in range(1, arguments.items + 1))

        def prepare(**given):
            told = {
                "data_path": name,
                "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
                "use_gpu": False,
                "show_progress": False,
                "state": "error",
                "checkpoint_dir": name,
                **given,
            }
            config = Config("CoCorrRec", "large", None, told, overrides={})
            init_logger(config)
            init_seed(config["seed"], config["reproducibility"])
            data = create_dataset(config)
            return config, data_preparation(config, data)

        (config, (train, _, test)), seconds, rise = measured(prepare)
        clicked = len(set(train.dataset.training_interactions()[1].tolist()))
        print(f"{arguments.items:,} items, {clicked:,} of them clicked in training, {20 * arguments.users:,} clicks\n")
        print("| | s | memory up by, MB |\n|---|---|---|", flush=True)
        row("read, split, draw candidates", seconds, rise)
        model, seconds, rise = measured(lambda: build_model(config, train.dataset))
        row(f"make the model (table: {4e-6 * model.item_embedding.weight.numel():,.0f} MB)", seconds, rise)
        _, seconds, rise = measured(lambda: start_items(model, config, train.dataset))
        row("start the item vectors", seconds, rise)
        trainer = Trainer(config, model)
        _, seconds, rise = measured(lambda: trainer._prepare(train))
        row("find out how the model scores", seconds, rise)
        _, seconds, rise = measured(lambda: next(train.batches()))
        row("an epoch's negatives", seconds, rise)
        second, _, rise = measured(lambda: steps(trainer, train, 2))
        row(f"training step, BCE on 1:4, {train.step} sequences (the second of two)", second, rise)
        test.users = test.users[: arguments.ranked]

        def rank_fully():
            test.full, test.candidates = True, None
            trainer.evaluate(test, load_best_model=False)

        _, seconds, rise = measured(lambda: trainer.evaluate(test, load_best_model=False))
        row(f"rank {len(test.users):,} users, 100 candidates", seconds, rise)
        _, seconds, rise = measured(rank_fully)
        row(f"rank {len(test.users):,} users among all items", seconds, rise)
        del trainer, model, train
        config, (train, _, _) = prepare(loss_type="CE", softmax_sample_num=1000)
        model = build_model(config, train.dataset)
        trainer = Trainer(config, model)
        trainer._prepare(train)
        second, _, rise = measured(lambda: steps(trainer, train, 2))
        row(
            f"training step, softmax over 1,000 sampled items, {train.step} sequences (the second of two)", second, rise
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\nThe process at its largest: {peak / 1e3:,.0f} MB\n\n{machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
