"""One training epoch and one evaluation, this package against stock RecBole, side by side in one process.

    python benchmarks/against_stock_recbole.py --dataset=amazon-beauty --data_path=FOLDER --models GRU4Rec SASRec

Both sides have the same model class, the same initial weights, width, length, batch size and number of
negatives, and the same evaluation mode. Stock is RecBole's own dataset, data loaders and trainer. Only the
negatives differ: stock excludes the row's own positive alone, this package all items of the user. ``--batches N``
times the first N batches of an epoch instead of all. Evaluation is of all users, and timed once in three repeats.

    python benchmarks/against_stock_recbole.py --dataset=amazon-beauty --data_path=FOLDER --cocorrrec

compares an epoch of CoCorrRec, without and with its GCN, with one of GRU4Rec, all in this package.

    python benchmarks/against_stock_recbole.py --dataset=ml-1m --data_path=FOLDER --models SASRec --every_position

compares an epoch over the same training targets at L = 200: every target's history as a row of its own in stock
RecBole, and a loss at every click of a user's sequence here (training_rows: sequence), --windows of them in a batch.
Stock's epoch takes hours: --batches of them (2) are timed, and eight times as many here, and multiplied to an epoch.
"""

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import warnings

import torch
from side_by_side import Comparison, in_turn, machine, seconds, table

warnings.filterwarnings("ignore")

# The package's name for a protocol, and the same settings in RecBole's words.
LENGTH = {"paper": 10, "full": 50}
MODE = {"paper": "uni100", "full": "full"}
EVERY_POSITION_LENGTH = 200


def settings(arguments: argparse.Namespace, model: str, protocol: str) -> dict:
    """What both sides are told. BPR on 1:4 negatives under ``paper``, full softmax under ``full``."""
    pairs = protocol == "paper" and model != "BERT4Rec"
    negatives = {"distribution": "uniform", "sample_num": 4} if pairs else None
    return {
        "data_path": arguments.data_path,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "user_inter_num_interval": "[5,inf)",
        "item_inter_num_interval": "[5,inf)",
        "loss_type": "BPR" if pairs else "CE",
        "train_neg_sample_args": negatives,
        "MAX_ITEM_LIST_LENGTH": LENGTH[protocol],
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "group_by": "user",
            "mode": MODE[protocol],
        },
        "metrics": ["NDCG", "Hit"],
        "topk": [5, 10, 20],
        "valid_metric": "NDCG@10",
        "train_batch_size": arguments.train_batch_size,
        "eval_batch_size": 4096,
        "hidden_size": 64,
        "embedding_size": 64,
        "use_gpu": False,
        "show_progress": False,
        "state": "error",
        "save_training_state": False,
    }


def ours(arguments: argparse.Namespace, model: str, protocol: str, more: dict | None = None):
    """Trainer, training loader and validation loader of this package."""
    from recbole_cocorr.data.dataset import create_dataset
    from recbole_cocorr.data.loaders import data_preparation
    from recbole_cocorr.models.factory import build_model
    from recbole_cocorr.training.config import Config
    from recbole_cocorr.training.trainer import Trainer

    told = {
        k: v for k, v in settings(arguments, model, protocol).items() if k != "embedding_size" or model == "GRU4Rec"
    }
    if told["train_neg_sample_args"] is None:
        del told["train_neg_sample_args"]
    told = {**told, "protocol": protocol, **(more or {})}
    config = Config(model, arguments.dataset, None, told, overrides={})
    train, valid, _ = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    trainer = Trainer(config, build_model(config, train.dataset))
    trainer._prepare(train)
    return trainer, train, valid


def stock(arguments: argparse.Namespace, model: str, protocol: str, more: dict | None = None):
    """The same of RecBole."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import get_model

    config = Config(model, arguments.dataset, config_dict={**settings(arguments, model, protocol), **(more or {})})
    train, valid, _ = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    return Trainer(config, get_model(model)(config, train.dataset)), train, valid


def first(loader, method: str, batches: int | None):
    """The loader, which stops after some batches."""
    if batches is not None:
        kind = type(loader)

        def some(self):
            return itertools.islice(getattr(kind, method)(self), batches)

        loader.__class__ = type(kind.__name__, (kind,), {method: some})
    return loader


def compare(arguments: argparse.Namespace, model: str, protocol: str) -> list[Comparison]:
    """An epoch and an evaluation of one model under one protocol."""
    (trainer, train, valid), (other, other_train, other_valid) = (
        side(arguments, model, protocol) for side in (ours, stock)
    )
    first(train, "batches", arguments.batches)
    first(other_train, "__iter__", arguments.batches)
    part = f", first {arguments.batches} batches" if arguments.batches else ""
    torch.autograd.set_detect_anomaly(False)  # RecBole's SINE switches it on for the whole process
    epoch = iter(range(10**6))
    what = f"{model}, {protocol}"
    return [
        in_turn(
            f"{what}: training epoch{part}",
            lambda: trainer._train_epoch(train, next(epoch)),
            lambda: other._train_epoch(other_train, 0),
            arguments.repeats,
        ),
        in_turn(
            f"{what}: {MODE[protocol]} evaluation",
            lambda: trainer.evaluate(valid, load_best_model=False),
            lambda: other.evaluate(other_valid, load_best_model=False),
            -(-arguments.repeats // 3),
        ),
    ]


def compare_cocorrrec(arguments: argparse.Namespace) -> str:
    """Seconds of an epoch under the paper's protocol, and how many times GRU4Rec's it is."""
    sides = {
        "GRU4Rec, hidden 64": ("GRU4Rec", {}),
        "CoCorrRec (w/o GCN)": ("CoCorrRec", {"use_gcn": False}),
        "CoCorrRec": ("CoCorrRec", {}),
        "GRU4Rec, hidden 128 (RecBole's default)": ("GRU4Rec", {"hidden_size": 128}),
    }
    made = {name: ours(arguments, model, "paper", more) for name, (model, more) in sides.items()}
    for _, train, _ in made.values():
        first(train, "batches", arguments.batches)
    took: dict[str, list[float]] = {name: [] for name in made}
    for epoch in range(arguments.repeats):
        for name, (trainer, train, _) in made.items():
            took[name].append(seconds(lambda t=trainer, d=train, e=epoch: t._train_epoch(d, e)))
    base = took["GRU4Rec, hidden 64"]
    lines = ["| training epoch, paper protocol | s | times GRU4Rec's |", "|---|---|---|"]
    for name, column in took.items():
        ratio = statistics.median(a / b for a, b in zip(column, base, strict=True))
        lines.append(f"| {name} | {statistics.median(column):.2f} | {ratio:.2f} |")
    return "\n".join(lines)


def compare_every_position(arguments: argparse.Namespace, model: str) -> str:
    """A line of a table: seconds of an epoch on both sides, worked out from some batches of each, and their ratio."""
    more = {"MAX_ITEM_LIST_LENGTH": EVERY_POSITION_LENGTH}
    windows = {"training_rows": "sequence", "train_batch_size": arguments.windows}
    trainer, train, _ = ours(arguments, model, "full", {**more, **windows})
    trainer._prepare_training(train)
    other, other_train, _ = stock(arguments, model, "full", more)
    torch.autograd.set_detect_anomaly(False)
    count = arguments.batches or 2
    # Rows of stock's are of any length: its padding is read like the rest. Ours are windows of different lengths, so
    # more batches of them are timed.
    parts = {"ours": min(8 * count, len(train)), "stock": count}
    first(train, "batches", parts["ours"])
    first(other_train, "__iter__", parts["stock"])
    epoch = iter(range(10**6))
    both = in_turn(
        model,
        lambda: trainer._train_epoch(train, next(epoch)),
        lambda: other._train_epoch(other_train, 0),
        arguments.repeats,
    )
    scale, other_scale = len(train) / parts["ours"], len(other_train) / parts["stock"]
    low, high = (ratio * other_scale / scale for ratio in both.ratios)
    mine, theirs = statistics.median(both.ours) * scale, statistics.median(both.other) * other_scale
    return (
        f"| {model} | {mine:,.0f} ({parts['ours']} of {len(train)}) | {theirs:,.0f} ({count} of {len(other_train)}) | "
        f"{both.ratio * other_scale / scale:.0f}x ({low:.0f}, {high:.0f}) |"
    )


def main() -> int:
    """Run what the command line asks for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k", help="ml-100k ships inside the recbole package")
    parser.add_argument("--data_path", help="folder of the dataset's folder")
    parser.add_argument("--models", nargs="+", default=["GRU4Rec"])
    parser.add_argument("--protocols", nargs="+", choices=("paper", "full"), default=["paper"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--train_batch_size", type=int, default=1024, help="scored pairs, as RecBole counts")
    parser.add_argument("--batches", type=int, help="of an epoch; all, if left out")
    parser.add_argument("--cocorrrec", action="store_true", help="compare CoCorrRec's epoch with GRU4Rec's instead")
    parser.add_argument("--every_position", action="store_true", help="compare training on whole sequences, L = 200")
    parser.add_argument("--windows", type=int, default=64, help="sequences of a batch with --every_position")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole's Config reads it
    torch.set_num_threads(arguments.threads)
    if arguments.data_path is None:
        import recbole

        arguments.data_path = os.path.join(os.path.dirname(recbole.__file__), "dataset_example")
    else:
        arguments.data_path = os.path.abspath(arguments.data_path)
    with tempfile.TemporaryDirectory() as folder:  # logs and checkpoints of both
        os.chdir(folder)
        if arguments.cocorrrec:
            print(f"{compare_cocorrrec(arguments)}\n\n{machine()}")
            return 0
        if arguments.every_position:
            print("| model | epoch, s (batches timed) | stock's epoch, s (timed) | ratio (least, greatest) |")
            print("|---|---|---|---|", flush=True)
            for model in arguments.models:
                print(compare_every_position(arguments, model), flush=True)
            print(f"\n{arguments.dataset}, L = {EVERY_POSITION_LENGTH}\n\n{machine()}")
            return 0
        rows = []
        for protocol in arguments.protocols:
            for model in arguments.models:
                rows += compare(arguments, model, protocol)
                for row in rows[-2:]:
                    print(f"{row.what}: {row.ratio:.1f}x", file=sys.stderr, flush=True)
    print(f"{arguments.dataset}, {arguments.repeats} repeats, batch {arguments.train_batch_size}\n")
    print(table(rows, "recbole_cocorr", "stock RecBole"))
    print(f"\n{machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
