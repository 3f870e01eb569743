"""Where the time of one CoCorrRec training step goes, part by part, forward and backward.

    python benchmarks/step_parts.py --dataset=amazon-beauty --data_path=FOLDER

Each part is timed alone, on the same batches, so the parts need not add up to the whole step.

    python benchmarks/step_parts.py --model=GRU4Rec --dataset=amazon-beauty --data_path=FOLDER

profiles the steps of any model instead: torch's operators by the time that each takes itself, under the loss of the
comparison with stock RecBole (BPR on 1:4).
"""

import argparse
import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import Callable

import recbole
import torch
from against_stock_recbole import ours
from side_by_side import machine, seconds

from recbole_cocorr.layers.gru import Steps, recurrence


def milliseconds(batches: list, work: Callable) -> float:
    """Median over five rounds of a batch's time."""
    work(batches[0])
    return statistics.median(seconds(lambda: [work(b) for b in batches]) / len(batches) for _ in range(5)) * 1e3


def operators(arguments: argparse.Namespace) -> str:
    """A table of the operators in which a model's training steps spend their time."""
    trainer, train, _ = ours(arguments, arguments.model, "paper")
    trainer.model.train()
    batches = list(itertools.islice(train.batches(), 40))

    def steps() -> None:
        for batch in batches:
            trainer.optimizer.zero_grad()
            (trainer._objective(batch.interaction) * batch.weight).backward()
            trainer.optimizer.step()

    steps()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        took = seconds(steps)
    rows = sorted(profile.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    lines = [f"| operator ({arguments.model}, one thread) | share of the step | calls a step |", "|---|---|---|"]
    for row in rows[:14]:
        name = row.key.replace("|", " ")
        lines.append(f"| `{name}` | {row.self_cpu_time_total / total:.1%} | {row.count / len(batches):.0f} |")
    plain, profiled = (t / len(batches) * 1e3 for t in (statistics.median(seconds(steps) for _ in range(5)), took))
    return "\n".join([*lines, "", f"A step takes {plain:.1f} ms, {profiled:.1f} ms under the profiler."])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default=os.path.join(os.path.dirname(recbole.__file__), "dataset_example"))
    parser.add_argument("--train_batch_size", type=int, default=1024)
    parser.add_argument("--model", help="profile this model's steps by operators instead")
    arguments = parser.parse_args()
    arguments.data_path = os.path.abspath(arguments.data_path)
    sys.argv = sys.argv[:1]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if arguments.model:
            print(f"{operators(arguments)}\n\n{machine()}")
            return 0
        trainer, train, _ = ours(arguments, "CoCorrRec", "paper", {"loss_type": "BCE"})
    model = trainer.model.train()
    batches = [batch.interaction for batch in itertools.islice(train.batches(), 20)]
    nets = model.gcn.attention_net, model.gcn.bias_net

    def lengths(batch):
        return batch[model.ITEM_SEQ_LEN]

    def hidden(batch) -> torch.Tensor:
        with torch.no_grad():
            states = model.hidden_states(batch[model.ITEM_SEQ])
        return states.requires_grad_()

    def grus(batch) -> torch.Tensor:
        x = hidden(batch)
        steps = Steps.of(lengths(batch), x.shape[1])
        packed = steps.pack(x)
        return sum(recurrence(packed, steps, net.gru).sum() for net in nets)

    def corrected(batch) -> torch.Tensor:
        x = hidden(batch)
        return model.user_vectors(x, lengths(batch), model.correction(x, lengths(batch))).sum()

    parts = {
        "the whole step without the optimizer": model.calculate_loss,
        "SCN and GCN": corrected,
        "SCN alone": lambda b: model.user_vectors(hidden(b), lengths(b)).sum(),
        "the GCN": lambda b: sum(part.sum() for part in model.correction(hidden(b), lengths(b))),
        "... of it its two GRUs": grus,
        "embedding of the clicks, dropout, norm": lambda b: model.hidden_states(b[model.ITEM_SEQ]).sum(),
        "MLP on the targets": lambda b: model.item_vectors(b["neg_items"]).sum(),
    }
    print("| one training step, one thread | ms |\n|---|---|")
    for name, part in parts.items():
        print(f"| {name} | {milliseconds(batches, lambda b, part=part: part(b).backward()):.1f} |")
    print(f"| optimizer | {milliseconds(batches, lambda _: trainer.optimizer.step()):.1f} |")
    mean = statistics.mean(float(lengths(b).float().mean()) for b in batches)
    print(f"\n{len(lengths(batches[0]))} histories of {mean:.1f} clicks on average; {machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
