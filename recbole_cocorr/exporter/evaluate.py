"""Two ways to read a history that is longer than the model was trained on, with neighbour tables or without."""

import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_cocorr.artifact.manifest import read_manifest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.base import Corrector
from recbole_cocorr.correctors.catalogue import DEFAULT
from recbole_cocorr.correctors.folder import fitted_with, load_corrector, trust_of
from recbole_cocorr.correctors.settings import corrector_settings
from recbole_cocorr.correctors.trust import Trust
from recbole_cocorr.data.clicks import histories
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.reader import Reader
from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.exporter.check import DeviceScorer, ranks_of, with_precision
from recbole_cocorr.exporter.click_times import click_times
from recbole_cocorr.exporter.export import write_artifact
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.corrected_lists import add_scores
from recbole_cocorr.training.data_of import data_of
from recbole_cocorr.training.neighbour_table import fit_neighbours
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
        A folder of ``fit-corrector``, whose settings the tables are fitted with; with tables the lists are also ranked
        with its own scores, as a service gives them.

    Returns
    -------
    dict
        ``rows``, ``long`` (rows whose history is longer than L), ``window``, ``policies``: by policy, and by
        ``POLICY, N neighbours``, the mean of each metric over all rows (``all``) and over the long ones (``long``),
        where alone the policies differ; and ``neighbours``: of each table its bytes, its longest row, the trust in it,
        what the validation items said of it, and the microseconds of a click with it, by runtime.

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
        service = None
        if neighbours and corrector is not None:
            trust = trust_of(corrector, checkpoint_fingerprint(content))
            service = load_corrector(corrector)[0], Trust(*(trust[n] for n in ("base", "per_log_click", "scale")))
        fitted = []
        for count in neighbours:
            weights = service[0] if service is not None and count <= settings["neighbours"] else None
            fitted.append(fit_neighbours(recommender.model, data, count, settings, weights))
        ways = {f"{f.count} neighbours": (f.corrector, f.trust) for f in fitted}
        if service is not None:
            ways["service"] = service
        result = _compare(artifact, recommender.model, loader, policies, ways)
        clicks = [row for history in histories(loader) for row in history.tolist()]
        times = click_times(Path(folder), read_manifest(Path(folder)), fitted, clicks)
        result["neighbours"] = [
            {
                **f.described(),
                "bytes": f.table.bytes,
                "longest": int(f.table.lengths.max()),
                "validation": f.validation,
                "click": click,
            }
            for f, click in zip(fitted, times, strict=True)
        ]
        return result


def _compare(
    artifact: Artifact,
    model: torch.nn.Module,
    loader: Any,
    policies: Sequence[str],
    ways: Mapping[str, tuple[Corrector, Trust]],
) -> dict[str, Any]:
    window = artifact.manifest.window
    scorer, reader = DeviceScorer(artifact, model), Reader(artifact)
    ranks: dict[str, list[np.ndarray]] = {}
    lengths: list[int] = []
    for batch in loader.batches():
        owner, items = loader.dataset.history_pairs(batch.rows)
        cuts = np.searchsorted(owner.numpy(), np.arange(len(batch.rows) + 1))
        known = [items[a:b].tolist() for a, b in pairwise(cuts)]
        lengths += map(len, known)
        candidates = None if batch.candidates is None else batch.candidates.numpy()
        positives = batch.interaction[model.ITEM_ID].numpy()
        hidden = (owner, items) if candidates is None and loader.mask_history else None
        recent = scorer.users(known)
        for policy in policies:
            users = recent.copy()
            if policy == "carry":
                for i, history in enumerate(known):
                    if len(history) > window:
                        users[i] = reader.from_start(history)
            alone = scorer.scores(users, candidates)
            lists = {policy: alone}
            lists |= {f"{policy}, {name}": _with(*way, alone, candidates, known) for name, way in ways.items()}
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
    return result


def _with(
    corrector: Corrector,
    trust: Trust,
    alone: np.ndarray,
    candidates: np.ndarray | None,
    histories: list[list[int]],
) -> np.ndarray:
    """Scores with those of a neighbour table, or of a service."""
    known = [np.array(history, np.int64) for history in histories]
    if candidates is None:
        scores = alone.copy()
        add_scores(scores, corrector, known, trust)
        return scores
    clicks = np.array([len(history) for history in histories])
    return trust.fuse(alone, corrector.scores(known, candidates), clicks)


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
        lines.append(f"{table['count']} neighbours: {table['bytes']:,} bytes, longest row {table['longest']}; {trust}")
        metrics = (f"{n} {v:.5f}" for n, v in table["validation"]["own"].items() if n in names)
        lines.append(f"    validation: {', '.join(metrics)}")
        for runtime, times in table["click"].items():
            lines.append(f"    a click, {runtime}: {', '.join(f'{n} {t:.1f}' for n, t in times.items())} us")
    return "\n".join(lines)
