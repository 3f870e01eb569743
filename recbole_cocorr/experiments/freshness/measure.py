"""Train, freeze, rank what came later, and compare the variants of the ranking."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import Corrector, Trust
from recbole_cocorr.evaluation.ranking import rank_positive
from recbole_cocorr.experiments.freshness.daily_deltas import DailyDeltas
from recbole_cocorr.experiments.freshness.later import Later, Request
from recbole_cocorr.experiments.freshness.snapshot import Snapshot
from recbole_cocorr.experiments.freshness.statistics import SeedRanks, Slice, statistics
from recbole_cocorr.experiments.results.freshness import DELTAS, FRESH, FROZEN, NONE, POPULAR, RETRAINED, Freshness
from recbole_cocorr.experiments.runs.environment import machine, versions


def fused(trust: Trust, device: np.ndarray, corrector: Corrector, known: list[np.ndarray], candidates: np.ndarray):
    """The device's scores [B, C] with the cloud's evidence from the clicks ``known``."""
    clicks = np.array([len(h) for h in known], dtype=np.int64)
    return trust.fuse(device, corrector.scores(known, candidates), clicks)


def rank_seed(request: Request, folder: Path, say: Callable[[str], None] = print) -> SeedRanks:
    """Train, freeze, and rank what came later, with one seed.

    Parameters
    ----------
    request : Request
    folder : pathlib.Path
        Where the models' files are written.
    say : callable

    Raises
    ------
    UserError
        If the settings or the data do not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    later = Later(request.config(folder), request.freeze, request.slices)
    frozen = Snapshot(request, folder, later.frozen_at, later.tokens)
    later.keep(frozen.to_own > 0)
    say(f"seed {request.seed}: training on the interactions before the freeze")
    device = frozen.device(f"seed{request.seed}.frozen")
    trust, corrector = frozen.trust(device), frozen.item_item()
    deltas = None
    if request.deltas:
        clicks = later.users, later.items, later.times
        deltas = DailyDeltas(device, frozen.valid, clicks, later.frozen_at, request.corrector)
        say(f"seed {request.seed}: weight of the popularity {deltas.popularity:.3f}")
    slices = []
    for index, start, rows in later.slices():
        now = frozen if start == later.frozen_at else Snapshot(request, folder, start, later.tokens)
        known, candidates = later.histories(rows), later.candidates(rows, index)
        alone = device.scores(known, candidates)
        scores = {
            NONE: alone,
            FROZEN: fused(trust, alone, corrector, known, candidates),
            FRESH: fused(trust, alone, corrector if now is frozen else now.item_item(), known, candidates),
        }
        if deltas is not None:
            moments = later.times[later.ends[rows]]
            scores[DELTAS], scores[POPULAR] = deltas.scores(known, candidates, moments)
        if request.retrain:
            retrained = device
            if now is not frozen:
                say(f"seed {request.seed}: training anew for slice {index + 1}")
                retrained = now.device(f"seed{request.seed}.slice{index + 1}")
            scores[RETRAINED] = retrained.scores(known, candidates)
        real = torch.from_numpy(candidates[:, 1:] > 0)
        try:
            tables = {name: rank_positive(torch.from_numpy(s), real).numpy() for name, s in scores.items()}
        except ValueError as error:
            raise UserError(f"slice {index + 1} cannot be ranked: {error}") from None
        ends = later.ends[rows]
        slices.append(
            Slice(
                index,
                start,
                float(later.times[ends].max()),
                later.user_tokens[later.users[ends]],
                frozen.to_own[later.items[ends]] == 0,
                later.times[later.starts[rows]] >= later.frozen_at,
                tables,
            )
        )
        say(f"seed {request.seed}: slice {index + 1}, {len(rows):,} interactions ranked")
    return SeedRanks(request.seed, later.frozen_at, int((later.times < later.frozen_at).sum()), trust, slices)


def measure(requests: Sequence[Request], folder: Path, say: Callable[[str], None] = print) -> Freshness:
    """Measure with several seeds.

    Parameters
    ----------
    requests : sequence of Request
        Alike but for their seeds.
    folder : pathlib.Path
        Where the models' files are written.
    say : callable
        Called with a sentence about each step.

    Raises
    ------
    UserError
        If the settings or the data do not fit.
    """
    first = requests[0]
    ranks = [rank_seed(request, folder, say) for request in requests]
    return Freshness(
        dataset=first.dataset,
        model=first.entry.label,
        freeze=first.freeze,
        seeds=[request.seed for request in requests],
        corrector=first.corrector,
        settings=first.settings,
        versions=versions(),
        machine=machine(),
        **statistics(ranks),
    )
