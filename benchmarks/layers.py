"""The TTT layer and the GCN beside torch's own layers of the same width, side by side in one process.

    python benchmarks/layers.py --threads 1

Compared are one SCN layer (RMSNorm and TTT-Linear, d = 64, H = 4, K = min(L, 10)), as it comes and compiled by
torch, and with the GCN's correction; torch's TransformerEncoderLayer (d = 64, 4 heads, feed-forward 256, causal);
torch's GRU (64 -> 64); and the same TTT-Linear click by click. All read full-length sequences and answer with the
last position, which is what a recommender asks for. Ratios are the other's time over ours.
"""

import argparse
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from side_by_side import Comparison, in_turn, machine, seconds
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from recbole_cocorr.layers import CorrectionFusion, GlobalCorrectionNetwork, TTTLinear

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.reference.ttt_naive import naive_ttt

WIDTH, HEADS = 64, 4
# Clicks of a batch above which a table leaves the case out: minutes, for no other answer.
MOST_CLICKS = 256_000
# Torch compiles each mini-batch anew, so compiling takes minutes where there are many.
MOST_COMPILED = 50


class SCN(nn.Module):
    """RMSNorm and TTT-Linear, and the correction of a GCN where there is one; gives the last position."""

    def __init__(self, mini_batch_size: int, corrected: bool):
        super().__init__()
        self.norm = nn.RMSNorm(WIDTH, eps=1e-6)
        self.ttt = TTTLinear(WIDTH, HEADS, mini_batch_size)
        self.gcn = GlobalCorrectionNetwork(WIDTH, HEADS, mini_batch_size) if corrected else None
        self.fusion = CorrectionFusion() if corrected else None

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        sent = self.gcn(x, lengths) if self.gcn is not None else None
        return self.ttt.forward_last(x, lengths, sent, self.fusion)


class Every(SCN):
    """The same at every position, in the dual form, or in the primal form: click by click."""

    def __init__(self, mini_batch_size: int, primal: bool = False):
        super().__init__(mini_batch_size, corrected=False)
        self.primal = primal

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        return self.ttt.primal(x)[0] if self.primal else self.ttt(x)


class Transformer(nn.Module):
    """torch's encoder layer, causal; gives the last position."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 256, dropout=0.0, batch_first=True)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        return self.layer(x, src_mask=mask, is_causal=True)[:, -1]


class GRU(nn.Module):
    """torch's GRU; gives the last position."""

    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0][:, -1]


def call(model: nn.Module, rows: int, length: int, backward: bool) -> Callable[[], None]:
    """One forward pass in inference mode, or one forward and backward pass."""
    x = torch.randn(rows, length, WIDTH, requires_grad=backward)
    lengths = torch.full((rows,), length)
    model.train(backward)

    def forward() -> None:
        with torch.inference_mode():
            model(x, lengths)

    def both() -> None:
        model(x, lengths).sum().backward()

    return both if backward else forward


def repeated(work: Callable[[], None], least_seconds: float = 0.05) -> Callable[[], None]:
    """Call it as often as it takes to be measured well; the first calls may compile."""
    for _ in range(3):
        work()
    start = time.perf_counter()
    work()
    times = max(1, min(200, round(least_seconds / max(1e-6, time.perf_counter() - start))))

    def loop() -> None:
        for _ in range(times):
            work()

    loop.times = times
    return loop


def versus(what: str, ours: Callable[[], None], other: Callable[[], None], repeats: int) -> Comparison:
    """Both sides in turn, seconds a call."""
    a, b = repeated(ours), repeated(other)
    result = in_turn(what, a, b, repeats)
    result.ours = [s / a.times for s in result.ours]
    result.other = [s / b.times for s in result.other]
    return result


def kept_for_backward(model: nn.Module, rows: int, length: int) -> float:
    """Megabytes that a forward pass keeps for the backward pass, each piece of memory counted once."""
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = torch.randn(rows, length, WIDTH, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        # The result is held: memory that is given back would be counted for the next tensor that gets it.
        result = model.train()(x, torch.full((rows,), length))
    del result
    return sum(kept.values()) / 1e6


def speed_table(arguments: argparse.Namespace, backward: bool) -> str:
    """Torch's layers over ours, for each batch and length."""
    ours = {"SCN": False, "SCN + GCN": True}
    others = {"Transformer layer": Transformer, "GRU": GRU}
    columns = [f"{a} : {b}" for a in ours for b in others]
    compiled = "SCN compiled : Transformer layer"
    if arguments.compile and not backward:
        columns.append(compiled)
    lines = ["| batch | L | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    for batch in arguments.batches:
        for length in arguments.lengths:
            if batch * length > MOST_CLICKS:
                continue
            size = min(length, 10)
            calls = {name: call(SCN(size, gcn), batch, length, backward) for name, gcn in ours.items()}
            calls |= {name: call(kind(), batch, length, backward) for name, kind in others.items()}
            if compiled in columns and length <= MOST_COMPILED:
                calls["SCN compiled"] = call(torch.compile(SCN(size, False)), batch, length, False)
            cells = []
            for column in columns:
                a, b = column.split(" : ")
                if a not in calls:
                    cells.append("")
                    continue
                cells.append(f"{versus(column, calls[a], calls[b], arguments.repeats).ratio:.2f}x")
            lines.append(f"| {batch} | {length} | " + " | ".join(cells) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
            torch.compiler.reset()
    return "\n".join(lines)


def memory_table(arguments: argparse.Namespace) -> str:
    """Megabytes kept between forward and backward."""
    models = {"SCN": False, "SCN + GCN": True, "Transformer layer": Transformer, "GRU": GRU}
    lines = ["| batch | L | " + " | ".join(f"{m}, MB" for m in models) + " |", "|---|---|" + "---|" * len(models)]
    for length in arguments.lengths:
        made = [m() if isinstance(m, type) else SCN(min(length, 10), m) for m in models.values()]
        lines.append(
            f"| 64 | {length} | " + " | ".join(f"{kept_for_backward(model, 64, length):.1f}" for model in made) + " |"
        )
    return "\n".join(lines)


def growth_table(arguments: argparse.Namespace) -> str:
    """Exponent e in time ~ L^e of forward and backward, batch 64, between neighbouring lengths."""
    models = {"SCN": False, "SCN + GCN": True, "Transformer layer": Transformer, "GRU": GRU}
    lengths = arguments.lengths
    lines = ["| from L to L | " + " | ".join(models) + " |", "|---|" + "---|" * len(models)]
    took = []
    for length in lengths:
        made = [m() if isinstance(m, type) else SCN(min(length, 10), m) for m in models.values()]
        loops = [repeated(call(model, 64, length, True)) for model in made]
        rounds = [[seconds(loop) / loop.times for loop in loops] for _ in range(arguments.repeats)]
        took.append([statistics.median(column) for column in zip(*rounds, strict=True)])
    for (a, first), (b, second) in itertools.pairwise(zip(lengths, took, strict=True)):
        exponents = [math.log(y / x) / math.log(b / a) for x, y in zip(first, second, strict=True)]
        lines.append(f"| {a} to {b} | " + " | ".join(f"{e:.2f}" for e in exponents) + " |")
    return "\n".join(lines)


def floor_table(arguments: argparse.Namespace) -> str:
    """How far each layer stands from what its arithmetic and its memory traffic alone would take."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    product = repeated(lambda: left @ right)
    source = torch.randn(1 << 25)
    target = torch.empty_like(source)
    copy = repeated(lambda: target.copy_(source))
    flops_a_second = 2 * 1024**3 / min(seconds(product) / product.times for _ in range(5))
    bytes_a_second = 2 * 4 * len(source) / min(seconds(copy) / copy.times for _ in range(5))
    lines = [
        f"A product of two 1024 x 1024 matrices reaches {flops_a_second / 1e9:.0f} GFLOP/s, a copy of 128 MB "
        f"{bytes_a_second / 1e9:.0f} GB/s (read and written).",
        "",
        "| layer | batch | L | GFLOP | MB in, out and weights | floor, ms | measured, ms | times the floor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for length in [n for n in arguments.lengths if n <= 200]:
        models = {"SCN": SCN(min(length, 10), False), "SCN + GCN": SCN(min(length, 10), True)}
        for name, model in {**models, "Transformer layer": Transformer(), "GRU": GRU()}.items():
            rows = 256
            work = call(model, rows, length, False)
            # Few rows in training mode: then every layer's products are plain ones, which the counter sees.
            few = 32
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                model.train()(torch.randn(few, length, WIDTH), torch.full((few,), length))
            model.eval()
            loop = repeated(work)
            took = statistics.median(seconds(loop) / loop.times for _ in range(arguments.repeats))
            moved = 4 * (rows * length * WIDTH + rows * WIDTH + sum(p.numel() for p in model.parameters()))
            flops = counter.get_total_flops() * rows // few
            floor = max(flops / flops_a_second, moved / bytes_a_second)
            lines.append(
                f"| {name} | {rows} | {length} | {flops / 1e9:.3f} | {moved / 1e6:.1f} | {floor * 1e3:.2f} | "
                f"{took * 1e3:.2f} | {took / floor:.1f} |"
            )
    return "\n".join(lines)


def naive_table(repeats: int) -> str:
    """The dual form against one click after another: forward and backward, L = 50, K = 10, batch 256."""
    rows, length = 256, 50
    dual, primal = Every(10), Every(10, primal=True)
    pair = versus("", call(dual, rows, length, True), call(primal, rows, length, True), repeats)
    few = 2
    x = torch.randn(few, length, WIDTH, requires_grad=True)

    def naive() -> None:
        sum(row.sum() for row in naive_ttt(dual.ttt, dual.norm(x))[0]).backward()

    token_loop = seconds(naive) * rows / few
    ours = statistics.median(pair.ours)
    return "\n".join(
        [
            "| every position, L = 50, K = 10, batch 256, forward and backward | s | over the dual form's |",
            "|---|---|---|",
            f"| dual form | {ours:.3f} | |",
            f"| primal form, all rows at once | {statistics.median(pair.other):.2f} | {pair.ratio:.1f}x |",
            f"| token loop of tests/reference, row by row ({few} rows timed) | {token_loop:.0f} "
            f"| {token_loop / ours:.0f}x |",
        ]
    )


def main() -> int:
    """Run what the command line asks for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=[10, 50, 200, 1000])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 256, 1024])
    parser.add_argument("--compile", action="store_true", help="also the SCN compiled by torch")
    parser.add_argument("--quick", action="store_true", help="leave out the comparison with the token loops")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"## Forward\n\n{speed_table(arguments, False)}\n\n## Forward and backward\n")
    print(f"{speed_table(arguments, True)}\n\n## Memory kept for the backward pass\n\n{memory_table(arguments)}\n")
    print(f"## Growth with L, forward and backward\n\n{growth_table(arguments)}\n")
    print(f"## The floor, forward\n\n{floor_table(arguments)}")
    if not arguments.quick:
        print(f"\n## The dual form against loops over clicks\n\n{naive_table(3)}")
    short, long = 100, 1000
    pair = versus("", call(SCN(10, False), 64, long, True), call(SCN(10, False), 64, short, True), arguments.repeats)
    growth = 1 / pair.ratio / (long / short)
    print(f"\nforward and backward per click, L = {long} against L = {short} (batch 64): {growth:.2f}x")
    print(f"\n{machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
