"""Is the correction personal? One checkpoint with its own correction, none, a stale one and another user's."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.loaders import EvalLoader
from recbole_cocorr.evaluation.ranking import rank_metrics, rank_positive, summarise
from recbole_cocorr.evaluation.significance import standard_error
from recbole_cocorr.experiments.evaluation_rows import STALE_CLICKS, ndcg_of, other_user_rows
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.corrections import Ablation
from recbole_cocorr.experiments.runs.run_files import RunRecord, runs_in
from recbole_cocorr.experiments.runs.worker import MODEL_FILE
from recbole_cocorr.layers import Correction
from recbole_cocorr.models.catalogue import configured_to_take_corrections, takes_corrections
from recbole_cocorr.models.cocorrrec.network import CoCorrRec
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.training.checkpoint import load_checkpoint, load_weights
from recbole_cocorr.training.data_of import data_of


@dataclass(frozen=True)
class GivenCorrection:
    """Which correction the device gets.

    Attributes
    ----------
    name : str
        "own", "none", "stale N" or "another user's".
    stale : int
        Newest clicks that the cloud has not seen.
    """

    name: str
    stale: int = 0


GIVEN_CORRECTIONS = (
    GivenCorrection("own"),
    GivenCorrection("none"),
    *(GivenCorrection(f"stale {n}", n) for n in STALE_CLICKS),
    GivenCorrection("another user's"),
)


def user_vectors(model: CoCorrRec, item_seq: torch.Tensor, item_seq_len: torch.Tensor, given: GivenCorrection):
    """User vectors with a correction, and the correction that was used.

    A stale correction is made of all clicks but the newest ``given.stale``; a user of whom the cloud then knows no
    click goes without. Another user's is that of another row, drawn by chance, each used once.

    Parameters
    ----------
    model : CoCorrRec
    item_seq : torch.Tensor of int64, shape [B, L]
    item_seq_len : torch.Tensor of int64, shape [B]
    given : GivenCorrection

    Returns
    -------
    tuple of torch.Tensor [B, d] and Correction or None
    """
    hidden = model.hidden_states(item_seq)
    if given.name == "none":
        return model.user_vectors(hidden, item_seq_len, None), None
    seen = item_seq_len - given.stale
    correction = model.correction(hidden, seen.clamp_min(1))
    if given.name == "another user's":
        other = torch.from_numpy(other_user_rows(len(item_seq))).to(item_seq.device)
        correction = Correction(*(tensor[other] for tensor in correction))
    vectors = model.user_vectors(hidden, item_seq_len, correction)
    if given.stale:
        alone = model.user_vectors(hidden, item_seq_len, None)
        vectors = torch.where((seen > 0)[:, None], vectors, alone)
    return vectors, correction


def common_share(corrections: torch.Tensor) -> float:
    """Share of the corrections' sum of squares that their mean over users explains; 1 for a constant.

    Parameters
    ----------
    corrections : torch.Tensor, shape [users, ...]
    """
    every = corrections.double().flatten(1)
    total = every.square().sum(dim=1).mean()
    return float(every.mean(dim=0).square().sum() / total) if total > 0 else 1.0


@torch.no_grad()
def ranks_given(model: CoCorrRec, loader: EvalLoader, given: GivenCorrection) -> tuple[np.ndarray, list[Correction]]:
    """Ranks [rows, 3] of the loader's items with a correction, and the corrections that were used."""
    table, sent = [], []
    items_of = model.item_vectors()
    for batch in loader.batches():
        batch_of = batch.interaction.to(items_of.device)
        users, correction = user_vectors(model, batch_of[model.ITEM_SEQ], batch_of[model.ITEM_SEQ_LEN], given)
        if correction is not None:
            sent.append(correction)
        candidates = batch.candidates.to(items_of.device)
        for rows in torch.arange(len(users)).split(256):
            scores = torch.einsum("bcd,bd->bc", items_of[candidates[rows]], users[rows])
            table.append(rank_positive(scores, candidates[rows, 1:] > 0).cpu())
    return torch.cat(table).numpy(), sent


def measure_run(record: RunRecord, weights_file: Path) -> Ablation:
    """One run with every correction, and how much of its own is common to all users.

    Raises
    ------
    UserError
        If the run has no GCN, or ranks among all items.
    """
    checkpoint = load_checkpoint(weights_file)
    data = data_of(checkpoint.config, checkpoint.items, str(weights_file), use_gpu=True)
    config, test = data.config, data.test
    model = build_model(config, data.train.dataset)
    if not takes_corrections(model):
        raise UserError(f"{record.label} has no correction to take away")
    if test.candidates is None:
        raise UserError("the ablation needs sampled candidates; use --protocol=paper")
    load_weights(model, checkpoint.weights, str(weights_file))
    model.eval()
    metrics, topk = rank_metrics(config["metrics"]), config["topk"]
    where = {"dataset": record.dataset, "label": record.label, "seed": record.seed}
    rows: list[Row] = []
    share: Row = {}
    own = None
    for given in GIVEN_CORRECTIONS:
        table, sent = ranks_given(model, test, given)
        ndcg = ndcg_of(table)
        if given.name == "own":
            own = ndcg
            share = {
                **where,
                "attention": common_share(torch.cat([c.attention.tril() for c in sent])),
                "bias": common_share(torch.cat([c.bias for c in sent])),
                "alpha": model.fusion.alpha.item(),
                "beta": model.fusion.beta.item(),
            }
        values = summarise(table, metrics, topk, 6)
        rows.append(
            {
                **where,
                "variant": given.name,
                "metrics": {k: float(v) for k, v in values.items()},
                "own_minus_this": _difference(own, ndcg),
            }
        )
    return Ablation(rows, [share])


def _difference(own: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Mean per-user difference of NDCG@10 and its standard error."""
    difference = own - other
    return {"ndcg@10": float(difference.mean()), "standard_error": standard_error(difference)}


def corrected_runs(folder: Path) -> Iterator[tuple[RunRecord, Path]]:
    """The tested CoCorrRec runs of a results folder, each with its weights."""
    for record, run in runs_in(folder):
        if configured_to_take_corrections(record.config) and record.test is not None:
            yield record, run / MODEL_FILE


def measure(folder: Path, say: Callable[[str], None] = print) -> Ablation:
    """Every CoCorrRec run of a results folder with every correction.

    Parameters
    ----------
    folder : pathlib.Path
    say : callable
        Called with the table of each run as soon as it is there.

    Raises
    ------
    UserError
        If there is no such run.
    """
    result = Ablation()
    for record, weights in corrected_runs(folder):
        run = measure_run(record, weights)
        say(run.text())
        result.rows += run.rows
        result.common_share += run.common_share
    if not result.rows:
        raise UserError(
            f"{folder} holds no finished run of CoCorrRec with its GCN; train one with benchmark --models=CoCorrRec"
        )
    return result
