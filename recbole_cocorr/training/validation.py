"""Metrics of a model on validation or test rows: of ranks, of recommended lists, or of scores against labels."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from recbole.evaluator import Collector, Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.evaluator.register import metrics_dict
from recbole.utils import set_color
from tqdm import tqdm

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data import distributed
from recbole_cocorr.data.loaders import EvalBatch, EvalLoader
from recbole_cocorr.evaluation.ranking import RANK_METRICS, rank_among_all, rank_positive, summarise
from recbole_cocorr.models.scoring import Scorer

Metrics = OrderedDict[str, float]


class Ranking:
    """Ranks of a loader's items, and the metrics of these and of the recommended lists.

    Parameters
    ----------
    config : Config
        Reads ``metrics``, ``topk`` and ``metric_decimal_place``.
    device : torch.device
    scorer : Scorer
        The scorer of the model, which is in evaluation mode.
    training_rows : DataStruct
        What RecBole's collector has counted of the training rows, for the metrics that need it.

    Attributes
    ----------
    by_history : dict or None
        Rank metrics of a full ranking of the test rows: ``"in"`` where the items of a user's history are candidates,
        ``"out"`` where they are left out; None of other rows.
    """

    def __init__(self, config: Any, device: torch.device, scorer: Scorer, training_rows: DataStruct):
        self.config, self.device, self.scorer, self.training_rows = config, device, scorer, training_rows
        self.metrics = [m.lower() for m in config["metrics"]]
        self.list_metrics = [m for m in self.metrics if m not in RANK_METRICS]
        self.by_history: dict[str, Metrics] | None = None

    def measure(self, loader: EvalLoader, show_progress: bool = False) -> tuple[Metrics, np.ndarray]:
        """Rank the loader's rows.

        Returns
        -------
        tuple of OrderedDict and numpy.ndarray of int64 [rows, 3]
            The metrics; the ranks of all processes' rows, in the loader's order.

        Raises
        ------
        ValueError
            If a score is not a number.
        UserError
            If a metric needs training rows that the collector has not counted.
        """
        # Begun with nothing, which is what a process without rows contributes.
        ranks, recommended = [torch.empty(0, 3, dtype=torch.int64)], [torch.empty(0, dtype=torch.int64)]
        others = list(ranks)
        self.scorer.prepare()
        for batch in _progress(loader, show_progress):
            if batch.candidates is not None:
                places, items = self._sampled(batch)
            else:
                places, other, items = self._all(batch, loader)
                others.append(other)
            ranks.append(places)
            if items is not None:
                recommended.append(items)
        table = distributed.gather_rows(torch.cat(ranks)).numpy()
        values = self._of_ranks(table)
        if loader.both_ways:
            other = self._of_ranks(distributed.gather_rows(torch.cat(others)).numpy())
            out, within = (values, other) if loader.mask_history else (other, values)
            self.by_history = {"in": OrderedDict(within), "out": OrderedDict(out)}
        if self.list_metrics:
            values.update(self._of_lists(torch.cat(recommended)))
        return OrderedDict((k, values[k]) for m in self.metrics for k in values if k.split("@")[0] == m), table

    def _of_ranks(self, table: np.ndarray) -> Metrics:
        wanted = [m for m in self.metrics if m in RANK_METRICS]
        return summarise(table, wanted, self.config["topk"], self.config["metric_decimal_place"])

    def _sampled(self, batch: EvalBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Ranks [B, 3] among the batch's candidates and, if a metric wants them, the items [B, k] that come first."""
        items = batch.candidates.to(self.device)
        scores = self.scorer.candidates(batch.interaction.to(self.device), items)
        real = items > 0
        ranks = rank_positive(scores, real[:, 1:]).cpu()
        if not self.list_metrics:
            return ranks, None
        return ranks, items.gather(1, self._first(scores.masked_fill(~real, -torch.inf))).cpu()

    def _all(self, batch: EvalBatch, loader: EvalLoader) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The same among all items, some rows at a time; the second ranks treat the history in the other way.

        These have no rows unless the loader asks for both ways.
        """
        interaction, dataset = batch.interaction.to(self.device), loader.dataset
        positive = interaction[dataset.iid_field]
        ranks, others, tops = [], [torch.empty(0, 3, dtype=torch.int64)], []
        for part, scores in self.scorer.in_blocks(interaction):
            had = dataset.history_pairs(batch.rows[part]) if loader.mask_history or loader.both_ways else None
            hidden, other = (had, None) if loader.mask_history else (None, had)
            ranks.append(rank_among_all(scores, positive[part], hidden).cpu())
            if loader.both_ways:
                others.append(rank_among_all(scores, positive[part], other).cpu())
            if self.list_metrics:
                chosen = scores.gather(1, positive[part, None])
                chosen[positive[part] == 0] = -torch.inf  # an item without a score is on no list
                if hidden is not None:
                    scores[hidden] = -torch.inf
                scores[:, 0] = -torch.inf
                scores.scatter_(1, positive[part, None], chosen)
                tops.append(self._first(scores).cpu())
        return torch.cat(ranks), torch.cat(others), torch.cat(tops) if self.list_metrics else None

    def _first(self, scores: torch.Tensor) -> torch.Tensor:
        return scores.topk(min(max(self.config["topk"]), scores.shape[1]), dim=1).indices

    def _of_lists(self, recommended: torch.Tensor) -> Metrics:
        """RecBole's metrics of the recommended lists (coverage, popularity, ...)."""
        self.training_rows.set("rec.items", distributed.gather_rows(recommended))
        result: Metrics = OrderedDict()
        for metric in self.list_metrics:
            try:
                result.update(metrics_dict[metric](self.config).calculate_metric(self.training_rows))
            except IndexError:  # RecBole's word for what nobody has collected
                raise UserError(
                    f"the metric {metric} counts the training rows, and this trainer has not seen them; call "
                    "trainer.eval_collector.data_collect(train_data) first"
                ) from None
        return result


def _progress(loader: EvalLoader, show_progress: bool) -> Iterable[EvalBatch]:
    if not show_progress:
        return loader.batches()
    return tqdm(loader.batches(), total=len(loader), ncols=100, desc=set_color("Evaluate   ", "pink"))


def value_metrics(config: Any, device: torch.device, scorer: Scorer, loader: EvalLoader) -> Metrics:
    """RecBole's metrics of scores against labels (AUC, LogLoss, ...) over all candidates.

    Raises
    ------
    UserError
        If the loader's rows have no candidates.
    """
    if loader.candidates is None:
        raise UserError("value metrics such as AUC need sampled candidates; set eval_args mode to uniN")
    scorer.prepare()
    rows = [torch.empty(0, 2)]
    for batch in loader.batches():
        items = batch.candidates.to(device)
        scores = torch.sigmoid(scorer.candidates(batch.interaction.to(device), items))
        labels = torch.zeros_like(scores)
        labels[:, 0] = 1.0
        real = items > 0
        rows.append(torch.stack([scores[real], labels[real]], dim=1).cpu())
    table = distributed.gather_rows(torch.cat(rows))
    collector = Collector(config)
    collector.data_struct.set("rec.score", table[:, :1])
    collector.data_struct.set("data.label", table[:, 1:])
    return Evaluator(config).evaluate(collector.get_data_struct())
