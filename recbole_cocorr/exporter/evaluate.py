"""Two ways to read a history that is longer than the model was trained on: which ranks better?"""

import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.reader import Reader
from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.exporter.check import DeviceScorer, with_precision
from recbole_cocorr.exporter.export import write_artifact
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.data_of import data_of
from recbole_cocorr.training.recommend import recommender_from

_METRICS = ("gauc", "ndcg", "hit")


def compare_policies(
    checkpoint: str | Path,
    policies: Sequence[str] = ("carry", "window"),
    table: str = "fp32",
    data_path: str | None = None,
    phase: str = "test",
) -> dict[str, Any]:
    """Rank the test (or validation) items after each user's whole history, under each policy, without a correction.

    Returns
    -------
    dict
        ``rows``, ``long`` (rows whose history is longer than L), ``window`` and ``policies``: by policy the mean of
        each metric over all rows (``all``) and over the long ones (``long``), where alone the policies differ.

    Raises
    ------
    UserError
        If the checkpoint or its data cannot be read, or the model keeps no state.
    """
    content = load_checkpoint(checkpoint)
    recommender = recommender_from(content, str(checkpoint), "cpu")
    data = data_of(content.config, content.items, str(checkpoint), data_path)
    loader = data.test if phase == "test" else data.valid
    if not hasattr(loader.dataset, "history_pairs"):
        raise UserError("this data set comes already split; whole histories are not known")
    with tempfile.TemporaryDirectory() as folder:
        write_artifact(Path(folder), recommender, checkpoint_fingerprint(content), "fp32")
        artifact = with_precision(Artifact(folder), recommender.model, table)
        if artifact.initial_state is None and "carry" in policies:
            raise UserError(f"{artifact.manifest.model['name']} keeps no state to carry on; say --policy window")
        return _compare(artifact, recommender.model, loader, policies)


def _compare(artifact: Artifact, model: torch.nn.Module, loader: Any, policies: Sequence[str]) -> dict[str, Any]:
    window = artifact.manifest.window
    scorer, reader = DeviceScorer(artifact, model), Reader(artifact)
    ranks: dict[str, list[np.ndarray]] = {policy: [] for policy in policies}
    lengths: list[int] = []
    for batch in loader.batches():
        owner, items = loader.dataset.history_pairs(batch.rows)
        cuts = np.searchsorted(owner.numpy(), np.arange(len(batch.rows) + 1))
        histories = [items[a:b].tolist() for a, b in pairwise(cuts)]
        lengths += map(len, histories)
        candidates = None if batch.candidates is None else batch.candidates.numpy()
        positives = batch.interaction[model.ITEM_ID].numpy()
        recent = scorer.users(histories)
        for policy in policies:
            users = recent.copy()
            if policy == "carry":
                for i, history in enumerate(histories):
                    if len(history) > window:
                        users[i] = reader.from_start(history)
            ranks[policy].append(scorer.ranks(users, candidates, positives))
    long = np.array(lengths) > window
    result: dict[str, Any] = {"rows": len(lengths), "long": int(long.sum()), "window": window, "policies": {}}
    for policy, batches in ranks.items():
        rows = per_row(np.concatenate(batches), _METRICS, (5, 10, 20))
        result["policies"][policy] = {
            "all": {n: float(np.nanmean(v)) for n, v in rows.items()},
            "long": {n: float(np.nanmean(v[long])) if long.any() else None for n, v in rows.items()},
        }
    return result


def table_text(result: dict[str, Any]) -> str:
    """The result as a table for people."""
    names = list(next(iter(result["policies"].values()))["all"])
    lines = [
        f"{result['rows']} rows, {result['long']} of them with more than L = {result['window']} clicks",
        "  ".join([f"{'policy':8}{'rows':6}", *(f"{n:>8}" for n in names)]),
    ]
    for policy, metrics in result["policies"].items():
        for which in ("all", "long"):
            cells = ("       -" if v is None else f"{v:8.5f}" for v in metrics[which].values())
            lines.append("  ".join([f"{policy:8}{which:6}", *cells]))
    return "\n".join(lines)
