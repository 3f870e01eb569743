"""What is left of the cloud's gain when only a share of the rankings asks, and who should ask."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from recbole_cocorr.artifact.request_rule import RequestRule
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import Trust
from recbole_cocorr.correctors.fit_request_rule import fit_request_rule
from recbole_cocorr.correctors.folder import load_corrector, request_rule_of, trust_of
from recbole_cocorr.data.clicks import histories
from recbole_cocorr.data.loaders import EvalLoader
from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.evaluation.significance import standard_error
from recbole_cocorr.experiments.ablation import GivenCorrection, ranks_given, user_vectors
from recbole_cocorr.experiments.evaluation_rows import ndcg_of
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.requests import Requests
from recbole_cocorr.models.catalogue import takes_corrections
from recbole_cocorr.models.cocorrrec.network import CoCorrRec
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.corrected_lists import DeviceScores, Variant, ranks_under
from recbole_cocorr.training.data_of import data_of
from recbole_cocorr.training.recommend import recommender_from

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


class Rankings(NamedTuple):
    """One ranking for each row of a loader.

    Attributes
    ----------
    clicks : numpy.ndarray of int, shape [B]
        Of the history.
    scores : numpy.ndarray, shape [B, C]
        The device's own; minus infinity where there is no candidate.
    ranks : callable
        Ranks [B, 3] with an answer that has not seen the newest n clicks; without an answer, for None.
    """

    clicks: np.ndarray
    scores: np.ndarray
    ranks: Callable[[int | None], np.ndarray]


def evenly(clicks: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Requests after clicks that are spread as evenly as can be: after every fourth, for a quarter.

    Parameters
    ----------
    clicks : numpy.ndarray of int, shape [B]
        Clicks of each history.
    share : float

    Returns
    -------
    tuple of numpy.ndarray of int, shape [B]
        Clicks since the last request, 0 where one is made now; how many were made.
    """
    count = np.floor(np.round(clicks * share, 9)).astype(np.int64)
    last = np.ceil(np.round(count / share, 9)).astype(np.int64) if share else count
    return clicks - last, count


def rows_of(answer: str, rule: RequestRule, rankings: Rankings, shares: Sequence[float] = SHARES) -> list[Row]:
    """The quality of each way to choose the rankings that ask, for each share."""
    alone, own = (per_row(rankings.ranks(stale), ["ndcg", "hit"], [10]) for stale in (None, 0))
    gain = own["ndcg@10"] - alone["ndcg@10"]
    rows: list[Row] = []
    for share in shares:
        since, count = evenly(rankings.clicks, share)
        evenly_now, ever = (since == 0) & (count > 0), count > 0
        last_kept = {name: values.copy() for name, values in alone.items()}
        for stale in np.unique(since[ever]).tolist():
            at = ever & (since == stale)
            values = per_row(rankings.ranks(stale)[at], ["ndcg", "hit"], [10])
            for name, metric in last_kept.items():
                metric[at] = values[name]

        def row(way: str, asked: np.ndarray, metrics: dict[str, np.ndarray], share: float = share) -> Row:
            over = metrics["ndcg@10"] - alone["ndcg@10"] - asked.mean() * gain
            error = standard_error(over)
            return {
                "answer": answer,
                "way": way,
                "share": float(share),
                "asked": float(asked.mean()),
                **{name: float(values.mean()) for name, values in metrics.items()},
                "over_random": round(float(over.mean()), 12) + 0.0,  # no -0.0000
                "standard_error": error,
            }

        def mixed(asked: np.ndarray) -> dict[str, np.ndarray]:
            return {name: alone[name] + asked * (own[name] - alone[name]) for name in alone}

        by_rule = rule.asks(rankings.scores, rankings.clicks, share)
        rows.append(row("rule", by_rule, mixed(by_rule)))
        by_chance = np.full(len(gain), share)  # the mean over all draws
        rows.append(row("random", by_chance, mixed(by_chance)))
        rows.append(row("evenly", evenly_now, mixed(evenly_now)))
        rows.append(row("evenly, last answer kept", evenly_now, last_kept))
    return rows


def rankings_with_scores(device: DeviceScores, loader: EvalLoader, corrector, trust: Trust) -> Rankings:
    """Rankings whose answers are a corrector's scores."""
    candidates = loader.candidates.numpy()
    own = device.of(loader, torch.arange(len(candidates)), candidates)
    known = histories(loader)

    @cache
    def ranks(stale: int | None) -> np.ndarray:
        clicks = None if stale is None else known if stale == 0 else histories(loader, stale)
        return ranks_under(device, loader, corrector, trust, {"": Variant(clicks)})[""]

    return Rankings(np.array([len(h) for h in known]), np.where(candidates > 0, own, -np.inf), ranks)


def rankings_with_correction(model: CoCorrRec, loader: EvalLoader) -> Rankings:
    """Rankings whose answers are corrections."""

    @cache
    def ranks(stale: int | None) -> np.ndarray:
        given = GivenCorrection("none") if stale is None else GivenCorrection("own" if not stale else "stale", stale)
        return ranks_given(model, loader, given)[0]

    clicks = np.array([len(h) for h in histories(loader)])
    return Rankings(clicks, _scores_alone(model, loader), ranks)


@torch.no_grad()
def _scores_alone(model: CoCorrRec, loader: EvalLoader) -> np.ndarray:
    items_of, scores = model.item_vectors(), []
    for batch in loader.batches():
        of = batch.interaction.to(items_of.device)
        users, _ = user_vectors(model, of[model.ITEM_SEQ], of[model.ITEM_SEQ_LEN], GivenCorrection("none"))
        candidates = batch.candidates.to(items_of.device)
        for rows in torch.arange(len(users)).split(256):
            own = torch.einsum("bcd,bd->bc", items_of[candidates[rows]], users[rows])
            scores.append(own.masked_fill(candidates[rows] == 0, -torch.inf).double().cpu())
    return torch.cat(scores).numpy()


def measure(
    checkpoint: str | Path,
    corrector: str | Path | None = None,
    data_path: str | None = None,
    shares: Sequence[float] = SHARES,
) -> Requests:
    """Requests for scores, with a corrector; for corrections, of a CoCorrRec with its correction network.

    The rule for scores is the corrector's; that for corrections is learned here, on the validation items.

    Parameters
    ----------
    checkpoint : str or Path
    corrector : str or Path, optional
        A folder that ``fit-corrector`` wrote for the checkpoint.
    data_path : str, optional
    shares : sequence of float

    Raises
    ------
    UserError
        If the checkpoint, its data or the corrector is not usable, they do not fit, or there is nothing to ask for.
    """
    read = load_checkpoint(checkpoint)
    model = recommender_from(read, str(checkpoint), "cpu").model
    corrects = takes_corrections(model)
    rule = None
    if corrector is not None:
        trust = Trust.of(trust_of(corrector, checkpoint_fingerprint(read)))
        rule = request_rule_of(corrector)
        if rule is None:
            raise UserError(f"{corrector} does not say when to ask; run fit-corrector again")
    elif not corrects:
        raise UserError(f"{checkpoint} takes no correction, so there is nothing to ask for; name a --corrector")
    data = data_of(read.config, read.items, str(checkpoint), data_path)
    if data.test.candidates is None:
        raise UserError(f"{checkpoint} was trained to rank among all items; this measures ranking among candidates")
    result = Requests(read.config["dataset"], read.config["model"], len(data.test.users))
    if rule is not None:
        rankings = rankings_with_scores(DeviceScores(model), data.test, load_corrector(corrector)[0], trust)
        result.rules["scores"] = rule.described()
        result.rows += rows_of("scores", rule, rankings, shares)
    if corrects:
        valid = rankings_with_correction(model, data.valid)
        rule = fit_request_rule(valid.scores, valid.clicks, ndcg_of(valid.ranks(0)) - ndcg_of(valid.ranks(None)))
        result.rules["correction"] = rule.described()
        result.rows += rows_of("correction", rule, rankings_with_correction(model, data.test), shares)
    return result
