"""``python -m recbole_cocorr fit-corrector``."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command ``fit-corrector`` to the subparsers of ``python -m recbole_cocorr``."""
    parser = subparsers.add_parser(
        "fit-corrector",
        help="learn the cloud's item-item scores, and how far a trained model's devices may trust them",
        description="The weights are learned from the training interactions, the trust on the validation items. "
        "export --corrector puts the trust into the artifact; the cloud scores with the folder.",
    )
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="of any sequential model")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--data_path", metavar="FOLDER", help="holds NAME/NAME.inter (default: where training found it)"
    )
    parser.add_argument("--kind", metavar="NAME", help="which corrector (default: item-item)")
    parser.add_argument("--l2", type=float, help="ridge penalty (default: properties/corrector.yaml)")
    parser.add_argument("--neighbours", type=int, help="items that an item is regressed on")
    parser.add_argument("--decay", type=float, help="weight of a click beside that of the click after it")
    parser.set_defaults(func=_fit)
    return parser


def _fit(arguments: argparse.Namespace) -> int:
    # Imported late: --help answers at once.
    from recbole_cocorr.correctors.catalogue import DEFAULT
    from recbole_cocorr.correctors.settings import corrector_settings
    from recbole_cocorr.training.fit_corrector import fit_corrector

    kind = arguments.kind or DEFAULT
    given = {k: v for k in ("l2", "neighbours", "decay") if (v := getattr(arguments, k)) is not None}
    trust, found, digest = fit_corrector(
        arguments.checkpoint, arguments.out, corrector_settings(given, kind), arguments.data_path, kind
    )
    print(f"{arguments.out}: corrector {digest}; trust {trust.base:.3f} {trust.per_log_click:+.3f} ln(clicks)")
    for name in ("ndcg@10", "hit@10", "gauc"):
        if name in found["none"]:
            print(f"  validation {name}: {found['none'][name]:.4f} alone, {found['own'][name]:.4f} with the cloud")
    return 0
