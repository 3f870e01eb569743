"""Two ways to read a history that is longer than the model was trained on, with neighbour tables or without."""

import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.catalogue import DEFAULT
from recbole_cocorr.correctors.folder import fitted_with
from recbole_cocorr.correctors.settings import corrector_settings
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.reader import Reader
from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.exporter.check import DeviceScorer, ranks_of, with_precision
from recbole_cocorr.exporter.export import write_artifact
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.corrected_lists import add_scores
from recbole_cocorr.training.data_of import data_of
from recbole_cocorr.training.neighbour_table import FittedTable, fit_neighbours
from recbole_cocorr.training.recommend import recommender_from

_METRICS = ("gauc", "ndcg", "hit")


def compare_policies(
    checkpoint: str | Path,
    policies: Sequence[str] = ("carry", "window"),
    table: str = "fp32",
    data_path: str | None = None,
    phase: str = "test",
    neighbours: Sequence[int] = (),
    corrector: str | Path | None = None,
) -> dict[str, Any]:
    """Rank the test (or validation) items after each user's whole history, under each policy, without a correction.

    Parameters
    ----------
    checkpoint : str or pathlib.Path
    policies : sequence of str
    table : {"fp32", "fp16", "int8"}
    data_path : str, optional
    phase : {"test", "valid"}
    neighbours : sequence of int
        Sizes of neighbour tables, each of which is fitted and ranked with under each policy too.
    corrector : str or pathlib.Path, optional
        A folder of ``fit-corrector``, whose settings the tables are fitted with.

    Returns
    -------
    dict
        ``rows``, ``long`` (rows whose history is longer than L), ``window``, ``policies``: by policy, and by
        ``POLICY, N neighbours``, the mean of each metric over all rows (``all``) and over the long ones (``long``),
        where alone the policies differ; and ``neighbours``: of each table its bytes and its trust.

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
        kind, settings = (DEFAULT, corrector_settings()) if corrector is None else fitted_with(corrector)
        if neighbours and kind != DEFAULT:
            raise UserError(f"{corrector} is a corrector {kind!r}; a neighbour table is fitted as {DEFAULT!r} is")
        fitted = [fit_neighbours(recommender.model, data, count, settings) for count in neighbours]
        return _compare(artifact, recommender.model, loader, policies, fitted)


def _compare(
    artifact: Artifact, model: torch.nn.Module, loader: Any, policies: Sequence[str], fitted: Sequence[FittedTable]
) -> dict[str, Any]:
    window = artifact.manifest.window
    scorer, reader = DeviceScorer(artifact, model), Reader(artifact)
    ranks: dict[str, list[np.ndarray]] = {}
    lengths: list[int] = []
    for batch in loader.batches():
        owner, items = loader.dataset.history_pairs(batch.rows)
        cuts = np.searchsorted(owner.numpy(), np.arange(len(batch.rows) + 1))
        histories = [items[a:b].tolist() for a, b in pairwise(cuts)]
        lengths += map(len, histories)
        candidates = None if batch.candidates is None else batch.candidates.numpy()
        positives = batch.interaction[model.ITEM_ID].numpy()
        hidden = (owner, items) if candidates is None and loader.mask_history else None
        recent = scorer.users(histories)
        for policy in policies:
            users = recent.copy()
            if policy == "carry":
                for i, history in enumerate(histories):
                    if len(history) > window:
                        users[i] = reader.from_start(history)
            alone = scorer.scores(users, candidates)
            lists = {policy: alone}
            lists |= {f"{policy}, {f.table.count} neighbours": _with(f, alone, candidates, histories) for f in fitted}
            for name, scores in lists.items():
                ranks.setdefault(name, []).append(ranks_of(scores, candidates, positives, hidden))
    long = np.array(lengths) > window
    result: dict[str, Any] = {"rows": len(lengths), "long": int(long.sum()), "window": window, "policies": {}}
    for name, batches in ranks.items():
        rows = per_row(np.concatenate(batches), _METRICS, (5, 10, 20))
        result["policies"][name] = {
            "all": {n: float(np.nanmean(v)) for n, v in rows.items()},
            "long": {n: float(np.nanmean(v[long])) if long.any() else None for n, v in rows.items()},
        }
    result["neighbours"] = [{**f.described(), "bytes": f.table.bytes} for f in fitted]
    return result


def _with(
    fitted: FittedTable, alone: np.ndarray, candidates: np.ndarray | None, histories: list[list[int]]
) -> np.ndarray:
    """Scores with those of a neighbour table."""
    known = [np.array(history, np.int64) for history in histories]
    if candidates is None:
        scores = alone.copy()
        add_scores(scores, fitted.corrector, known, fitted.trust)
        return scores
    clicks = np.array([len(history) for history in histories])
    return fitted.trust.fuse(alone, fitted.corrector.scores(known, candidates), clicks)


def table_text(result: dict[str, Any]) -> str:
    """The result as a table for people."""
    names = list(next(iter(result["policies"].values()))["all"])
    width = max(8, *map(len, result["policies"]))
    lines = [
        f"{result['rows']} rows, {result['long']} of them with more than L = {result['window']} clicks",
        "  ".join([f"{'policy':{width}}", f"{'rows':6}", *(f"{n:>8}" for n in names)]),
    ]
    for policy, metrics in result["policies"].items():
        for which in ("all", "long"):
            cells = ("       -" if v is None else f"{v:8.5f}" for v in metrics[which].values())
            lines.append("  ".join([f"{policy:{width}}", f"{which:6}", *cells]))
    for table in result["neighbours"]:
        trust = f"trust {table['base']:.3f} {table['per_log_click']:+.3f} ln(clicks)"
        lines.append(f"{table['count']} neighbours: {table['bytes']:,} bytes; {trust}")
    return "\n".join(lines)
