"""How well a device ranks, by how it reads long histories and with what scores (``device-eval``)."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
from recbole_cocorr.experiments.click_times import click_times
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.device_quality import ALONE, SERVICE, DeviceQuality
from recbole_cocorr.experiments.runs.environment import origin
from recbole_cocorr.exporter.check import DeviceScorer, ranks_of, with_precision
from recbole_cocorr.exporter.export import write_artifact
from recbole_cocorr.training.checkpoint import Checkpoint, checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.corrected_lists import add_scores
from recbole_cocorr.training.data_of import data_of
from recbole_cocorr.training.neighbour_table import FittedTable, fit_neighbours
from recbole_cocorr.training.prepare import Loaders
from recbole_cocorr.training.recommend import recommender_from

_METRICS = ("gauc", "ndcg", "hit")


def measure(
    checkpoint: str | Path,
    policies: Sequence[str] = ("carry", "window"),
    table: str = "fp32",
    data_path: str | None = None,
    phases: Sequence[str] = ("test",),
    neighbours: Sequence[int] = (),
    corrector: str | Path | None = None,
) -> DeviceQuality:
    """Rank the test (or validation) items after each user's whole history, under each policy, without a correction.

    Parameters
    ----------
    checkpoint : str or pathlib.Path
    policies : sequence of str
    table : {"fp32", "fp16", "int8"}
    data_path : str, optional
    phases : sequence of {"valid", "test"}
    neighbours : sequence of int
        Sizes of neighbour tables, each of which is fitted and ranked with under each policy too.
    corrector : str or pathlib.Path, optional
        A folder of ``fit-corrector``, whose settings the tables are fitted with; with tables the lists are also ranked
        with its own scores, as a service gives them.

    Returns
    -------
    DeviceQuality

    Raises
    ------
    UserError
        If the checkpoint or its data cannot be read, the model keeps no state, or a corrector is named without tables.
    """
    if corrector is not None and not neighbours:
        raise UserError(
            "a corrector needs the numbers of neighbours to compare it with; say for example --neighbours 20"
        )
    content = load_checkpoint(checkpoint)
    recommender = recommender_from(content, str(checkpoint), "cpu")
    data = data_of(content.config, content.items, str(checkpoint), data_path)
    loaders = {phase: getattr(data, phase) for phase in phases}
    with tempfile.TemporaryDirectory() as folder:
        write_artifact(Path(folder), recommender, checkpoint_fingerprint(content), "fp32")
        artifact = with_precision(Artifact(folder), recommender.model, table)
        if artifact.initial_state is None and "carry" in policies:
            raise UserError(f"{artifact.manifest.model['name']} keeps no state to carry on; say --policy window")
        fitted, service = _tables(recommender.model, data, content, neighbours, corrector)
        ways = {f"{f.count} neighbours": (f.corrector, f.trust) for f in fitted}
        if service is not None:
            ways[SERVICE] = service
        result = DeviceQuality(table, artifact.manifest.window, **origin(content.config))
        for phase, loader in loaders.items():
            for row in _compare(artifact, recommender.model, loader, policies, ways):
                result.rows.append({"phase": phase, **row})
        if fitted:
            clicks = [row for history in histories(loader) for row in history.tolist()]
            times = click_times(Path(folder), read_manifest(Path(folder)), fitted, clicks)
            for f, click in zip(fitted, times, strict=True):
                sizes = {"bytes": f.table.bytes, "longest": int(f.table.lengths.max())}
                result.tables.append({**f.described(), **sizes, "click": click})
        return result


def _tables(
    model: torch.nn.Module, data: Loaders, content: Checkpoint, neighbours: Sequence[int], corrector: str | Path | None
) -> tuple[list[FittedTable], tuple[Corrector, Trust] | None]:
    """The tables of these sizes, and what a service of the corrector would add."""
    kind, settings = (DEFAULT, corrector_settings()) if corrector is None else fitted_with(corrector)
    if neighbours and kind != DEFAULT:
        raise UserError(f"{corrector} is a corrector {kind!r}; a neighbour table is fitted as {DEFAULT!r} is")
    service = None
    if neighbours and corrector is not None:
        service = load_corrector(corrector)[0], Trust.of(trust_of(corrector, checkpoint_fingerprint(content)))
    fitted = []
    for count in dict.fromkeys(neighbours):
        weights = service[0] if service is not None and count <= settings["neighbours"] else None
        fitted.append(fit_neighbours(model, data, count, settings, weights))
    return fitted, service


def _compare(
    artifact: Artifact,
    model: torch.nn.Module,
    loader: Any,
    policies: Sequence[str],
    ways: Mapping[str, tuple[Corrector, Trust]],
) -> Iterator[Row]:
    """The metrics of each policy and way; of several policies also over the histories for which they differ."""
    window = artifact.manifest.window
    scorer, reader = DeviceScorer(artifact, model), Reader(artifact)
    ranks: dict[tuple[str, str], list[np.ndarray]] = {}
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
            lists = {ALONE: alone}
            lists |= {name: _with(*way, alone, candidates, known) for name, way in ways.items()}
            for name, scores in lists.items():
                ranks.setdefault((policy, name), []).append(ranks_of(scores, candidates, positives, hidden))
    for (policy, name), batches in ranks.items():
        rows = per_row(np.concatenate(batches), _METRICS, (5, 10, 20))
        for clicks in (0, window + 1) if len(policies) > 1 else (0,):
            chosen = np.array(lengths) >= clicks
            if chosen.any():
                metrics = {n: float(np.nanmean(v[chosen])) for n, v in rows.items()}
                size = {"targets": int(chosen.sum()), "clicks": clicks}
                yield {"policy": policy, "added": name, **size, "metrics": metrics}


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
