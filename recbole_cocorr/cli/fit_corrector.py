"""Learn the cloud's item-item scores, and how far a trained model's devices may trust them.

The weights are learned from the training interactions, the trust on the validation items. export --corrector puts the
trust into the artifact; the cloud scores with the folder.
"""

import argparse
from pathlib import Path

from recbole_cocorr.base.extras import require
from recbole_cocorr.cli._flags import add_corrector_flags, add_data_path, corrector_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="of any sequential model")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder to write")
    add_data_path(parser, " (default: where training found it)")
    parser.add_argument("--kind", metavar="NAME", help="which corrector (default: item-item)")
    add_corrector_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry it out."""
    require("train")
    from recbole_cocorr.correctors.catalogue import DEFAULT
    from recbole_cocorr.correctors.settings import corrector_settings
    from recbole_cocorr.training.fit_corrector import fit_corrector

    kind = arguments.kind or DEFAULT
    settings = corrector_settings(corrector_flags(arguments), kind)
    trust, metrics, digest = fit_corrector(arguments.checkpoint, arguments.out, settings, arguments.data_path, kind)
    print(f"{arguments.out}: corrector {digest}; trust {trust.base:.3f} {trust.per_log_click:+.3f} ln(clicks)")
    for name in ("ndcg@10", "hit@10", "gauc"):
        if name in metrics["none"]:
            print(f"  validation {name}: {metrics['none'][name]:.4f} alone, {metrics['own'][name]:.4f} with the cloud")
    return 0
