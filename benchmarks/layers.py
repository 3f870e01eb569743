"""The TTT layer and the GCN beside torch's own layers of the same width, side by side in one process.

    python benchmarks/layers.py --threads 1

Compared are one SCN layer (RMSNorm and TTT-Linear, d = 64, H = 4, K = min(L, 10)) with and without the
GCN's correction, torch's TransformerEncoderLayer (d = 64, 4 heads, feed-forward 256, causal), torch's GRU
(64 -> 64), and the same TTT-Linear click by click. All read full-length sequences; the models here
answer with the last position, which is what a recommender asks for.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from side_by_side import Comparison, in_turn, machine, table
from torch import nn

from recbole_cocorr.layers import CorrectionFusion, GlobalCorrectionNetwork, TTTLinear

WIDTH, HEADS = 64, 4


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
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
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
    """Call it as often as it takes to be measured well."""
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


def main() -> int:
    """Run what the command line asks for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=[10, 50, 200, 1000])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 256])
    parser.add_argument("--quick", action="store_true", help="leave out the comparison with the token loop")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    for backward in (False, True):
        rows = []
        for batch in arguments.batches:
            for length in arguments.lengths:
                if batch * length > 256_000:
                    continue
                size = min(length, 10)
                transformer, gru = (call(m, batch, length, backward) for m in (Transformer(), GRU()))
                for name, corrected in (("SCN", False), ("SCN + GCN", True)):
                    scn = call(SCN(size, corrected), batch, length, backward)
                    what = f"{name}, L = {length}, batch {batch}"
                    rows.append(versus(f"{what}: Transformer layer", scn, transformer, arguments.repeats))
                    rows.append(versus(f"{what}: GRU", scn, gru, arguments.repeats))
        print(f"\n{'forward and backward' if backward else 'forward'}\n")
        print(table(rows, "SCN", "other"))
    if not arguments.quick:
        rows = [
            versus(
                f"every position, L = {length}, K = 10, batch {batch}, forward and backward: click by click",
                call(Every(10), batch, length, True),
                call(Every(10, primal=True), batch, length, True),
                3,
            )
            for batch, length in ((1, 50), (256, 50))
        ]
        print(f"\nthe dual form against the primal form\n\n{table(rows, 'dual', 'primal')}")
    short, long = 100, 1000
    pair = versus("", call(SCN(10, False), 64, long, True), call(SCN(10, False), 64, short, True), arguments.repeats)
    growth = statistics.median(pair.ours) / long / (statistics.median(pair.other) / short)
    print(f"\nforward and backward per click, L = {long} against L = {short} (batch 64): {growth:.2f}x")
    print(f"\n{machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
