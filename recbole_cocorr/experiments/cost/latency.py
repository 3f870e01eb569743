"""How long one inference takes on this machine: one user at a time, models in turn."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import nn

from recbole_cocorr.models.length_groups import ByLength
from recbole_cocorr.models.scoring import DotProductScorer, Scorer, find_scorer

# A call that is timed runs at least so often, whatever the time it takes.
LEAST_RUNS = 3


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, torch works with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def times_in_turn(
    calls: Mapping[str, Callable[[], Any]], repeats: int, most_seconds: float = float("inf")
) -> dict[str, list[float]]:
    """Seconds of each call, round by round, so that all meet the same ups and downs of the machine.

    Parameters
    ----------
    calls : mapping of str to callable
        Each runs once beforehand, untimed.
    repeats : int
        Rounds.
    most_seconds : float
        A call that has used so much time, and has run :data:`LEAST_RUNS` times, leaves the later rounds.

    Returns
    -------
    dict of str to list of float
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    with torch.no_grad():
        for call in calls.values():
            call()
        for _ in range(repeats):
            for name, call in calls.items():
                if len(taken[name]) >= LEAST_RUNS and sum(taken[name]) > most_seconds:
                    continue
                start = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - start)
    return taken


def one_user_scorer(model: nn.Module, interaction: Interaction) -> Scorer:
    """The scorer that evaluation uses, without its sorting of a batch by length, which one user does not need."""
    scorer = find_scorer(model, interaction)
    if isinstance(scorer, DotProductScorer) and isinstance(scorer.encode, ByLength):
        scorer.encode = scorer.encode.encode
    scorer.prepare()
    return scorer


def inference_latency(
    model: nn.Module, interaction: Interaction, repeats: int = 100, candidates: torch.Tensor | None = None
) -> float:
    """Microseconds of one inference: the histories of ``interaction`` to the scores of the candidates.

    On one thread, without gradients, in evaluation mode; the vectors of the items are made beforehand, once.

    Parameters
    ----------
    model : SequentialRecommender
        Any sequential model; left in the mode that it was in.
    interaction : Interaction
        Histories on the model's device; one row for the time of one user.
    repeats : int
        At least 1; the median is returned.
    candidates : torch.Tensor of int64, shape [B, C], optional
        Items to score; the first hundred of the catalogue, if left out.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If ``repeats`` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; it must be at least 1")
    training = model.training
    model.eval()
    try:
        with threads(1), torch.no_grad():
            if candidates is None:
                first = torch.arange(1, min(101, model.n_items), device=interaction[model.ITEM_SEQ].device)
                candidates = first.expand(len(interaction), -1)
            scorer = one_user_scorer(model, interaction)
            taken = times_in_turn({"": lambda: scorer.candidates(interaction, candidates)}, repeats)
    finally:
        model.train(training)
    return statistics.median(taken[""]) * 1e6
