"""The artifact held to the model it was made of: user vectors of made-up histories, NDCG@10 of real ones."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recbole_cocorr.artifact.manifest import Manifest
from recbole_cocorr.artifact.table import PRECISIONS, ItemTable, quantise
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.loaders import EvalLoader
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.correction import Correction
from recbole_cocorr.device.native_engine import NativeEngine, runs_natively
from recbole_cocorr.device.reader import Reader
from recbole_cocorr.evaluation.ranking import per_row, rank_among_all, rank_positive
from recbole_cocorr.layers import Correction as TorchCorrection
from recbole_cocorr.models.catalogue import takes_corrections

# Most that a user vector may differ, relative to its largest number where that is above 1.
TOLERANCE = 1e-4
# Most that NDCG@10 may fall, and so many standard errors of the fall more, within which the test rows cannot tell.
NDCG_TOLERANCE = 1e-3
STANDARD_ERRORS = 2.0
# Most rows that NDCG@10 is measured on, spread evenly.
MOST_ROWS = 25_000


def with_precision(artifact: Artifact, model: nn.Module, precision: str) -> Artifact:
    """The artifact with the tables that an export in this precision would have."""
    vectors = model.item_embedding.weight.detach().float().numpy()[: artifact.manifest.items].copy()
    vectors[0] = 0
    changed = copy.copy(artifact)
    changed.manifest = replace(artifact.manifest, table=precision)
    changed.items = changed.targets = ItemTable(*quantise(vectors, precision))
    if "target_vectors" in artifact.manifest.arrays:
        with torch.no_grad():
            phi = model.target_transform(torch.from_numpy(vectors)).numpy()
        changed.targets = ItemTable(*quantise(phi, precision))
    arrays = dict(artifact.arrays)
    for name, table in (("item", changed.items), ("target", changed.targets)):
        if f"{name}_vectors" in arrays:
            arrays |= {f"{name}_vectors": table.rows, f"{name}_scales": table.scales}
    changed.arrays = {name: array for name, array in arrays.items() if array is not None}
    return changed


@torch.no_grad()
def reference(model: nn.Module, rows: list[int], sent: TorchCorrection | None = None) -> np.ndarray:
    """User vector [d] of the model's full pass over all clicks, in PyTorch."""
    item_seq, length = torch.tensor([rows]), torch.tensor([len(rows)])
    if takes_corrections(model):
        return model.user_vectors(model.hidden_states(item_seq), length, sent)[0].numpy()
    return model.forward(item_seq, length)[0].numpy()


@torch.no_grad()
def check_graphs(model: nn.Module, artifact: Artifact, seed: int = 0) -> dict[str, Any]:
    """Compare click by click, history at once and corrections with the full pass, on made-up histories.

    Returns
    -------
    dict
        ``histories``, ``max_error`` and, for a model with a correction, ``max_error_corrected``; where the native
        runtime is here and runs the model, ``max_error_native``.

    Raises
    ------
    UserError
        If one is above ``TOLERANCE``.
    """
    artifact = with_precision(artifact, model, "fp32")
    generator = np.random.default_rng(seed)
    window, size = artifact.manifest.window, artifact.manifest.mini_batch or 1
    lengths = {1, 2, size - 1, size, size + 1, 2 * size + 1, window - 1, window}
    if artifact.initial_state is not None:
        lengths |= {window + 1, 3 * window + 2}
    native = runs_natively(artifact)
    error = corrected = error_native = 0.0
    lengths = sorted(n for n in lengths if n > 0)
    for length in lengths:
        rows = generator.integers(1, artifact.manifest.items, length).tolist()
        expected = reference(model, rows)
        reader = Reader(artifact)
        vectors = [reader.from_start(rows)]
        if reader.recurrent:
            half = length // 2
            reader = Reader(artifact)
            if half:
                reader.go_on(rows[:half], 0)
            for index in range(half, length):
                user = reader.click(rows[index], index)
            vectors.append(user)
        error = max(error, *(_difference(v, expected) for v in vectors))
        if native:
            error_native = max(error_native, *(_difference(v, expected) for v in _native_users(artifact, rows)))
        if artifact.manifest.correction is not None:
            sent = {n: generator.standard_normal(s) for n, s in artifact.manifest.correction.items()}
            sent = {n: a.astype(np.float32) for n, a in sent.items()}
            expected = reference(
                model, rows, TorchCorrection(**{n: torch.from_numpy(a)[None] for n, a in sent.items()})
            )
            corrected = max(corrected, _difference(reader.correct(rows[-1], length, Correction(**sent)), expected))
    result = {"histories": len(lengths), "max_error": error}
    if artifact.manifest.correction is not None:
        result["max_error_corrected"] = corrected
    if native:
        result["max_error_native"] = error_native
    for name, value in result.items():
        if name != "histories" and not value <= TOLERANCE:
            raise UserError(f"the artifact does not compute what the model does: {name} is {value:.2g} > {TOLERANCE}")
    return result


def _native_users(artifact: Artifact, rows: list[int]) -> list[np.ndarray]:
    """User vectors of the native runtime: the history at once, and half of it click by click."""
    at_once, engine = NativeEngine(artifact, "carry"), NativeEngine(artifact, "carry")
    at_once.read(rows)
    half = len(rows) // 2
    if half:
        engine.read(rows[:half])
    for row in rows[half:]:
        engine.click(row)
    return [at_once.user, engine.user]


def _difference(ours: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(ours - expected).max() / max(1.0, np.abs(expected).max()))


class DeviceScorer:
    """Ranks of test rows by an artifact.

    Parameters
    ----------
    artifact : Artifact
    model : torch.nn.Module
        The model whose correction network answers.
    """

    def __init__(self, artifact: Artifact, model: nn.Module):
        self.artifact, self.model = artifact, model
        self._reader = Reader(artifact)

    def users(self, histories: list[list[int]], corrected: bool = False) -> np.ndarray:
        """User vectors [n, d] of the last L clicks of some histories, corrected or not."""
        window = self.artifact.manifest.window
        sent = self._corrections([h[-window:] for h in histories]) if corrected else None
        users = np.empty((len(histories), self.artifact.manifest.width), np.float32)
        for i, history in enumerate(histories):
            recent = history[-window:]
            users[i] = self._reader.from_start(recent)
            if sent is not None:
                part = Correction(sent.attention[i].numpy(), sent.bias[i].numpy())
                users[i] = self._reader.correct(recent[-1], len(recent), part)
        return users

    @torch.no_grad()
    def _corrections(self, histories: list[list[int]]) -> TorchCorrection:
        lengths = torch.tensor([len(h) for h in histories])
        padded = np.zeros((len(histories), int(lengths.max())), np.int64)
        for i, history in enumerate(histories):
            padded[i, : len(history)] = history
        vectors = torch.from_numpy(self.artifact.items.vectors(padded.reshape(-1))).view(*padded.shape, -1)
        return self.model.correction(self.model.hidden_norm(vectors), lengths)

    def scores(self, users: np.ndarray, candidates: np.ndarray | None) -> np.ndarray:
        """Scores of candidates [n, C] for user vectors [n, d], or of all items."""
        if candidates is None:
            return np.stack([self.artifact.targets.all_scores(user) for user in users])
        return np.stack([self.artifact.targets.scores(u, c) for u, c in zip(users, candidates, strict=True)])

    def ranks(self, users: np.ndarray, candidates: np.ndarray | None, positives: np.ndarray) -> np.ndarray:
        """Ranks [n, 3] of the positives, among candidates [n, C] (the positive first) or all items."""
        return ranks_of(self.scores(users, candidates), candidates, positives)


def ranks_of(
    scores: np.ndarray, candidates: np.ndarray | None, positives: np.ndarray, hidden: Any = None
) -> np.ndarray:
    """Ranks [n, 3] of the positives by the scores of candidates [n, C] (the positive first) or of all items.

    ``hidden``: rows and items to leave out, where all are ranked.
    """
    if candidates is None:
        return rank_among_all(torch.from_numpy(scores), torch.from_numpy(positives), hidden).numpy()
    return rank_positive(torch.from_numpy(scores), torch.from_numpy(candidates[:, 1:] > 0)).numpy()


def ndcg_rows(ranks: list[np.ndarray]) -> np.ndarray:
    """NDCG@10 of each row, not rounded."""
    return per_row(np.concatenate(ranks), ["ndcg"], [10])["ndcg@10"]


def ndcg(ranks: list[np.ndarray]) -> float:
    """NDCG@10, not rounded."""
    return float(ndcg_rows(ranks).mean())


def change_of(exact: np.ndarray, rounded: np.ndarray) -> dict[str, float]:
    """How NDCG@10 changes from one reading of the rows to another one.

    Parameters
    ----------
    exact, rounded : numpy.ndarray, shape [rows]
        NDCG@10 of each row.

    Returns
    -------
    dict
        ``mean``, and ``standard_error`` of it; a single row tells no error, its change is taken for that.
    """
    difference = rounded - exact
    several = len(difference) > 1
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if several else np.abs(difference[0])
    return {"mean": float(difference.mean()), "standard_error": float(error)}


def refuse_loss(change: dict[str, float], table: str, rows: int) -> None:
    """Refuse a table if the test rows show that it costs more than is allowed; a gain is no reason to.

    Raises
    ------
    UserError
    """
    loss, error = -change["mean"], change["standard_error"]
    if not loss <= NDCG_TOLERANCE + STANDARD_ERRORS * error:
        raise UserError(
            f"the table {table} lowers NDCG@10 by {loss:.4f} on {rows} test rows, more than {NDCG_TOLERANCE} and "
            f"{STANDARD_ERRORS:g} standard errors ({error:.4f} each) together; take a table of higher precision "
            "(--table)"
        )


@torch.no_grad()
def check_tables(model: nn.Module, artifact: Artifact, test: EvalLoader) -> dict[str, Any]:
    """NDCG@10 on the test rows: the model in PyTorch, and the artifact with each table.

    Returns
    -------
    dict
        ``rows``, and by table (``torch``, ``fp32``, ``fp16``, ``int8``) NDCG@10; for a model with a correction also
        ``<table>_corrected``.

    Raises
    ------
    UserError
        If the artifact's own table changes NDCG@10 by more than ``NDCG_TOLERANCE``.
    """
    every = max(1, -(-len(test.users) // MOST_ROWS))
    scorers = {p: DeviceScorer(with_precision(artifact, model, p), model) for p in PRECISIONS}
    ways = [False, True] if artifact.manifest.correction is not None else [False]
    rank_batches: dict[str, list[np.ndarray]] = {}
    rows = 0
    phi = getattr(model, "target_transform", nn.Identity())
    exact = with_precision(artifact, model, "fp32")
    exact.targets = ItemTable(phi(model.item_embedding.weight.detach().float())[: artifact.manifest.items].numpy())
    truth = DeviceScorer(exact, model)
    for batch in test.batches():
        keep = torch.arange(0, len(batch.rows), every)
        inter = batch.interaction[keep]
        item_seq, lengths = inter[model.ITEM_SEQ], inter[model.ITEM_SEQ_LEN]
        candidates = None if batch.candidates is None else batch.candidates[keep].numpy()
        positives = inter[model.ITEM_ID].numpy()
        histories = [row[:n].tolist() for row, n in zip(item_seq, lengths.tolist(), strict=True)]
        rows += len(histories)
        for corrected in ways:
            suffix = "_corrected" if corrected else ""
            users = _torch_users(model, item_seq, lengths, corrected)
            rank_batches.setdefault("torch" + suffix, []).append(truth.ranks(users, candidates, positives))
            for precision, scorer in scorers.items():
                users = scorer.users(histories, corrected)
                rank_batches.setdefault(precision + suffix, []).append(scorer.ranks(users, candidates, positives))
    by_row = {name: ndcg_rows(ranks) for name, ranks in rank_batches.items()}
    result: dict[str, Any] = {"rows": rows, **{name: float(values.mean()) for name, values in by_row.items()}}
    own_table = artifact.manifest.table
    for suffix in ("_corrected", "") if len(ways) > 1 else ("",):
        change = change_of(by_row["torch" + suffix], by_row[own_table + suffix])
        refuse_loss(change, own_table, rows)
        result["change" + suffix] = change
    return result


def _torch_users(model: nn.Module, item_seq: torch.Tensor, lengths: torch.Tensor, corrected: bool) -> np.ndarray:
    if not takes_corrections(model):
        return model.forward(item_seq, lengths).numpy()
    x = model.hidden_states(item_seq)
    sent = model.correction(x, lengths) if corrected else None
    return model.user_vectors(x, lengths, sent).numpy()


def check_artifact(model: nn.Module, folder: Path, test: EvalLoader | None) -> tuple[Manifest, dict[str, Any]]:
    """All checks of a written artifact: its manifest, and what is put into it.

    Raises
    ------
    UserError
        If one fails.
    """
    artifact = Artifact(folder)
    result: dict[str, Any] = {"tolerance": TOLERANCE, **check_graphs(model, artifact)}
    if test is not None and len(test.users):
        limits = {"tolerance": NDCG_TOLERANCE, "standard_errors": STANDARD_ERRORS}
        result["ndcg@10"] = {**limits, **check_tables(model, artifact, test)}
    return artifact.manifest, result
