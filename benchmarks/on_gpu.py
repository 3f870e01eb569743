"""The TTT layer on a GPU beside torch's GRU and encoder layer: milliseconds, in float32 and bfloat16, compiled or not.

    python benchmarks/on_gpu.py [--lengths 50 200 1000] [--rows 256] [--rounds 20] [--compile] [--device cuda]

Times hold absolutely there, so each is the median of the rounds, with the card's name; the device is waited for before
and after each round. The layers are those of `layers.py`: every position for the TTT layer in the dual form, causal for
the encoder layer, whose attention is torch's fused one. `--device cpu` tries the script without a GPU.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from layers import GRU, WIDTH, Every, Transformer
from side_by_side import machine

from recbole_cocorr.base.arguments import count


def milliseconds(model: nn.Module, x: torch.Tensor, dtype: torch.dtype, backward: bool, rounds: int) -> float:
    """Median of one forward pass, or of one forward and backward pass."""
    lengths = torch.full((len(x),), x.shape[1], device=x.device)
    synchronize = torch.cuda.synchronize if x.is_cuda else lambda: None
    times = []
    for turn in range(rounds + 3):  # the first ones compile and fill caches
        synchronize()
        start = time.perf_counter()
        autocast = torch.autocast(x.device.type, dtype, enabled=dtype is not torch.float32)
        with torch.set_grad_enabled(backward), autocast:
            result = model(x, lengths)
        if backward:
            result.float().sum().backward()
        synchronize()
        times += [time.perf_counter() - start] * (turn >= 3)
    return 1e3 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=count, default=[50, 200, 1000])
    parser.add_argument("--rows", type=count, default=256)
    parser.add_argument("--rounds", type=count, default=20)
    parser.add_argument("--compile", action="store_true", help="also the TTT layer through torch.compile")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here; --device cpu tries the script without one")
    torch.manual_seed(0)
    print("| pass | L | numbers | TTT, ms | TTT compiled, ms | GRU, ms | encoder layer, ms |")
    print("|---|---|---|---|---|---|---|")
    for backward in (False, True):
        for length in arguments.lengths:
            sides = {"ttt": Every(10), "compiled": None, "gru": GRU(), "encoder": Transformer()}
            if arguments.compile:
                sides["compiled"] = torch.compile(Every(10))
            x = torch.randn(arguments.rows, length, WIDTH, device=arguments.device, requires_grad=backward)
            for dtype in (torch.float32, torch.bfloat16):
                torch.compiler.reset()  # each case is compiled anew; a function has a limit of forms
                cells = []
                for side in sides.values():
                    if side is None:
                        cells.append("")
                        continue
                    side.to(arguments.device).train(backward)
                    cells.append(f"{milliseconds(side, x, dtype, backward, arguments.rounds):.2f}")
                passes = "forward and backward" if backward else "forward"
                print(f"| {passes} | {length} | {str(dtype)[6:]} | {' | '.join(cells)} |", flush=True)
    card = f"{torch.cuda.get_device_name()}; " if arguments.device == "cuda" else ""
    print(f"\n{arguments.rows} rows, d = {WIDTH}, H = 4, K = 10; {card}{machine()}")


if __name__ == "__main__":
    main()
