"""A loader's lists with the cloud's scores in them: what the trust is learned on, and the ranks that come of it.

Under sampled candidates a list is the positive and its negatives. Under full ranking it is the catalogue: its scores
are held for some rows at a time, and the trust is learned on lists that are drawn from it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from recbole_cocorr.artifact.request_rule import RequestRule
from recbole_cocorr.correctors.base import Corrector
from recbole_cocorr.correctors.fit_request_rule import fit_request_rule
from recbole_cocorr.correctors.trust import Trust
from recbole_cocorr.data.clicks import histories
from recbole_cocorr.data.loaders import EvalLoader
from recbole_cocorr.data.negatives import protocol_generator
from recbole_cocorr.evaluation.ranking import per_row, rank_among_all, rank_positive
from recbole_cocorr.models.scoring import Scorer, find_scorer

# Full ranking: other items in a list that the trust is learned on, and how many numbers all lists may hold.
DRAWN, _NUMBERS = 500, 1 << 22
_TRUST = 7  # what the random generator is for; part of its seed


@dataclass(frozen=True)
class Variant:
    """What a list is ranked by.

    Attributes
    ----------
    known : list of numpy.ndarray of int, or None
        The clicks that the cloud scores each row with; None: the cloud says nothing.
    device : bool
        False: by the cloud's scores alone.
    """

    known: list[np.ndarray] | None
    device: bool = True


class DeviceScores:
    """The model's own scores of a loader's lists.

    Parameters
    ----------
    model : SequentialRecommender
        In evaluation mode.
    """

    def __init__(self, model):
        self.model = model
        self._scorer: Scorer | None = None

    def scorer(self, interaction) -> Scorer:
        """The scorer, made ready with the first rows it is asked for."""
        if self._scorer is None:
            self._scorer = find_scorer(self.model, interaction)
            self._scorer.prepare()
        return self._scorer

    @torch.no_grad()
    def of(self, loader: EvalLoader, rows: torch.Tensor, candidates: np.ndarray) -> np.ndarray:
        """Scores [rows, C] of the candidates [rows, C]."""
        device = next(self.model.parameters()).device
        scores = [torch.empty(0, candidates.shape[1])]
        for part in torch.arange(len(rows)).split(loader.step):
            if len(part):
                interaction = loader.transform(loader.dataset, loader.dataset[rows[part]]).to(device)
                items = torch.from_numpy(candidates[part.numpy()]).long().to(device)
                scores.append(self.scorer(interaction).candidates(interaction, items).cpu())
        return torch.cat(scores).double().numpy()

    @torch.no_grad()
    def blocks(self, loader: EvalLoader) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Row numbers [b], their items [b] and the scores of all items [b, n_items], some rows at a time."""
        device = next(self.model.parameters()).device
        for batch in loader.batches():
            interaction = batch.interaction.to(device)
            positive = interaction[loader.dataset.iid_field].cpu()
            for part, scores in self.scorer(interaction).in_blocks(interaction):
                yield batch.rows[part], positive[part], scores.cpu()


def trust_lists(loader: EvalLoader) -> tuple[torch.Tensor, np.ndarray]:
    """The lists that the trust is learned on.

    Sampled candidates: all rows, with their candidates. Full ranking: up to some thousand rows, each with its item and
    ``DRAWN`` others drawn evenly from the catalogue. The likelihood of the chosen one among evenly drawn alternatives
    has its maximum where that among all has it (McFadden, 1978), as long as the choices follow a logit.

    Returns
    -------
    tuple of torch.Tensor of int64 [R] and numpy.ndarray of int64 [R, 1 + C]
        Row numbers; item ids, the row's own first, 0 where there is no candidate.
    """
    if loader.candidates is not None:
        return torch.arange(len(loader.users)), loader.candidates.numpy().astype(np.int64)
    dataset, config = loader.dataset, loader.config
    generator = protocol_generator(config["dataset"], config["seed"], _TRUST)
    scored = np.flatnonzero(dataset.inter_feat[dataset.iid_field].numpy())  # 0: an item that training never saw
    count = min(len(scored), _NUMBERS // (DRAWN + 1))
    rows = torch.from_numpy(scored[np.sort(generator.permutation(len(scored))[:count])])
    positive = dataset.inter_feat[dataset.iid_field][rows].numpy()
    drawn = generator.integers(1, max(2, dataset.item_num), size=(count, DRAWN))
    drawn[drawn == positive[:, None]] = 0
    if loader.mask_history:
        owner, items = dataset.history_pairs(rows)
        seen = owner.numpy() * dataset.item_num + items.numpy()
        drawn[np.isin(np.arange(count)[:, None] * dataset.item_num + drawn, seen)] = 0
    return rows, np.concatenate([positive[:, None], drawn], axis=1)


class ScoredLists(NamedTuple):
    """The lists that the trust is learned on, with both scores.

    Attributes
    ----------
    device, cloud : numpy.ndarray, shape [R, 1 + C]
    clicks : numpy.ndarray of int64, shape [R]
        Clicks that the cloud knows of.
    real : numpy.ndarray of bool, shape [R, 1 + C]
        False where there is no candidate.
    """

    device: np.ndarray
    cloud: np.ndarray
    clicks: np.ndarray
    real: np.ndarray


def scored_lists(device: DeviceScores, loader: EvalLoader, corrector: Corrector) -> ScoredLists:
    """The lists of :func:`trust_lists`, scored."""
    rows, candidates = trust_lists(loader)
    every = histories(loader)
    known = [every[row] for row in rows.tolist()]
    cloud = corrector.scores(known, candidates)
    clicks = np.array([len(h) for h in known], dtype=np.int64)
    return ScoredLists(device.of(loader, rows, candidates), cloud, clicks, candidates > 0)


def fit_trust(device: DeviceScores, loader: EvalLoader, corrector: Corrector) -> Trust:
    """Learn the trust on the loader's lists.

    Raises
    ------
    UserError
        If there is no row, or a score is not finite.
    """
    return Trust.fit(*scored_lists(device, loader, corrector))


def fit_requests(device: DeviceScores, loader: EvalLoader, corrector: Corrector, trust: Trust) -> RequestRule:
    """Learn on the loader's lists when a device asks for the scores.

    Raises
    ------
    UserError
        If there is no row, or a score is not finite.
    """
    lists = scored_lists(device, loader, corrector)
    alone, fused = (
        per_row(rank_positive(torch.from_numpy(scores), torch.from_numpy(lists.real[:, 1:])).numpy(), ["ndcg"], [10])
        for scores in (lists.device, trust.fuse(lists.device, lists.cloud, lists.clicks))
    )
    own = np.where(lists.real, lists.device, -np.inf)
    return fit_request_rule(own, lists.clicks, fused["ndcg@10"] - alone["ndcg@10"])


def ranks_under(
    device: DeviceScores, loader: EvalLoader, corrector: Corrector, trust: Trust, variants: Mapping[str, Variant]
) -> dict[str, np.ndarray]:
    """Ranks [rows, 3] of the loader's items under each variant.

    Raises
    ------
    ValueError
        If a score is not a number.
    """
    if loader.candidates is None:
        return _among_all(device, loader, corrector, trust, variants)
    candidates = loader.candidates.numpy()
    real = loader.candidates[:, 1:] > 0
    device_scores = device.of(loader, torch.arange(len(candidates)), candidates)
    result = {}
    for name, variant in variants.items():
        scores = device_scores if variant.device else np.zeros_like(device_scores)
        if variant.known is not None:
            cloud = corrector.scores(variant.known, candidates)
            clicks = np.array([len(h) for h in variant.known])
            scores = trust.fuse(device_scores, cloud, clicks) if variant.device else cloud.astype(np.float64)
        result[name] = rank_positive(torch.from_numpy(scores), real).numpy()
    return result


def _among_all(
    device: DeviceScores, loader: EvalLoader, corrector: Corrector, trust: Trust, variants: Mapping[str, Variant]
) -> dict[str, np.ndarray]:
    ranks: dict[str, list[np.ndarray]] = {name: [np.empty((0, 3), dtype=np.int64)] for name in variants}
    for rows, positive, device_scores in device.blocks(loader):
        histories = loader.dataset.history_pairs(rows) if loader.mask_history else None
        device_scores = device_scores.double()
        for name, variant in variants.items():
            scores = device_scores.clone() if variant.device else torch.zeros_like(device_scores)
            if variant.known is not None:
                known = [variant.known[row] for row in rows.tolist()]
                add_scores(scores.numpy(), corrector, known, trust if variant.device else None)
            ranks[name].append(rank_among_all(scores, positive, histories).numpy())
    return {name: np.concatenate(blocks) for name, blocks in ranks.items()}


def add_scores(scores: np.ndarray, corrector: Corrector, known: list[np.ndarray], trust: Trust | None) -> None:
    """Fuse the cloud's scores into those of all items [b, n_items], in place; without a trust they replace them.

    Only items that the corrector says something of change: where p is 0 the formula adds 0.
    """
    cloud = corrector.all_scores(known)
    row = np.repeat(np.arange(len(known)), np.diff(cloud.indptr))
    if trust is None:
        scores[row, cloud.indices] = cloud.data
        return
    clicks = np.array([len(h) for h in known], dtype=np.int64)
    device = scores[row, cloud.indices]
    fused = trust.fuse(device[:, None], cloud.data.astype(np.float64)[:, None], clicks[row])
    scores[row, cloud.indices] = fused[:, 0]
