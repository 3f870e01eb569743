"""Parameters, FLOPs, memory and latency of every model, at every history length.

Count what one inference and one new click cost each model: the paper's Table 4 and Figure 4. No data are read and
nothing is trained: the counts depend on the sizes alone. docs/cost.md says what is counted.
"""

import argparse

from recbole_cocorr.base.arguments import count, output_file
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require

LENGTHS = (10, 15, 20, 25, 50, 100, 200, 500, 1000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="default: the field of benchmark, without Pop",
    )
    parser.add_argument("--lengths", nargs="+", type=count, default=LENGTHS, metavar="L", help="clicks of the history")
    parser.add_argument("--items", type=count, default=12101, metavar="N", help="catalogue (default: 12101, Beauty's)")
    parser.add_argument("--candidates", type=count, default=100, metavar="N", help="items to score (default: 100)")
    parser.add_argument(
        "--mini_batch_size", type=count, default=10, metavar="K", help="CoCorrRec's K; L where less (default: 10)"
    )
    parser.add_argument("--threads", type=count, default=1, metavar="N", help="for the latency (default: 1)")
    parser.add_argument("--repeats", type=count, default=50, metavar="N", help="timed runs (default: 50)")
    parser.add_argument("--out", type=output_file, metavar="FILE.json", help="write the figures there too")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    if arguments.candidates > arguments.items:
        raise UserError(
            f"--candidates is {arguments.candidates}, more than the {arguments.items} items of the catalogue"
        )
    if len(set(arguments.lengths)) < len(arguments.lengths):
        raise UserError(f"--lengths names a length twice: {' '.join(map(str, arguments.lengths))}")

    from tqdm import tqdm

    from recbole_cocorr.experiments.cost.measure import Settings, measure
    from recbole_cocorr.experiments.entries import catalogue_entries, find_entries
    from recbole_cocorr.models.catalogue import is_trained

    entries = (
        find_entries(arguments.models) if arguments.models else [e for e in catalogue_entries() if is_trained(e.model)]
    )
    settings = Settings(
        arguments.items, arguments.candidates, arguments.mini_batch_size, arguments.threads, arguments.repeats
    )
    # disable=None: no bar where the output is no terminal.
    with tqdm(total=len(arguments.lengths), unit="length", disable=None, leave=False) as bar:

        def show(length: int) -> None:
            bar.update()
            bar.set_postfix(L=length)

        cost = measure(entries, arguments.lengths, settings, show)
    try:
        if arguments.out:
            cost.save(arguments.out)
    finally:  # a full disk does not take the tables too
        print(cost.text(arguments.markdown))
    return 0
