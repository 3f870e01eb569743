"""Every model of a results folder with the same cloud prior, and whether that prior is personal."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import Corrector, ItemItem
from recbole_cocorr.data.clicks import histories, training_interactions
from recbole_cocorr.evaluation.ranking import rank_metrics, summarise
from recbole_cocorr.evaluation.significance import standard_error
from recbole_cocorr.experiments.correction_comparisons import CorrectedRanks, compare_corrected
from recbole_cocorr.experiments.evaluation_rows import STALE_CLICKS, ndcg_of, other_user_rows
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.corrections import Corrections
from recbole_cocorr.experiments.runs.environment import machine, versions
from recbole_cocorr.experiments.runs.groups import is_sweep
from recbole_cocorr.experiments.runs.run_files import RunRecord, runs_in
from recbole_cocorr.experiments.runs.worker import MODEL_FILE
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.fast_layers import use_fast_layers
from recbole_cocorr.training.agreement import rows_digest
from recbole_cocorr.training.checkpoint import load_checkpoint, load_weights
from recbole_cocorr.training.corrected_lists import DeviceScores, Variant, fit_trust, ranks_under
from recbole_cocorr.training.data_of import data_of


class CorrectedRun:
    """One trained run, the cloud's corrector for its data, and the trust between them.

    Parameters
    ----------
    record : RunRecord
    weights_file : pathlib.Path
    correctors : dict
        Fitted correctors by the digest of their data, for the runs after this one too.
    settings : dict
        Of the corrector: ``l2``, ``neighbours``, ``decay`` and ``next_click``.

    Raises
    ------
    UserError
        If the data or the weights cannot be read, or do not fit.
    """

    def __init__(
        self,
        record: RunRecord,
        weights_file: Path,
        correctors: dict[str, Corrector],
        settings: dict[str, Any],
    ):
        self.record = record
        checkpoint = load_checkpoint(weights_file)
        data = data_of(checkpoint.config, checkpoint.items, str(weights_file), use_gpu=True)
        config, self.valid, self.test = data.config, data.valid, data.test
        self.metrics = rank_metrics(config["metrics"])
        self.topk = config["topk"]
        where = rows_digest(self.valid.dataset, self.test.dataset)
        if where not in correctors:
            users, items = training_interactions(self.test.dataset)
            correctors[where] = ItemItem.fit(users, items, self.test.dataset.item_num, **settings)
        self.corrector = correctors[where]
        model = build_model(config, data.train.dataset)
        load_weights(model, checkpoint.weights, str(weights_file))
        use_fast_layers(model)
        model.eval()
        self.device = DeviceScores(model)
        self.trust = fit_trust(self.device, self.valid, self.corrector)

    @property
    def users(self) -> list[str]:
        """The users' tokens, in the order of the test rows."""
        return self.test.user_tokens()

    def tables(self) -> dict[str, np.ndarray]:
        """Ranks [rows, 3] of the test items by variant; and of the validation items, as "valid none", "valid own".

        Raises
        ------
        UserError
            If the model's scores have no order.
        """
        own = histories(self.test)
        variants = {
            "none": Variant(None),
            "own": Variant(own),
            **{f"stale {stale}": Variant(histories(self.test, stale)) for stale in STALE_CLICKS},
            "another user's": Variant([own[other] for other in other_user_rows(len(own))]),
            "the cloud alone": Variant(own, device=False),
        }
        of_valid = {"valid none": Variant(None), "valid own": Variant(histories(self.valid))}
        try:
            return {
                **ranks_under(self.device, self.test, self.corrector, self.trust, variants),
                **ranks_under(self.device, self.valid, self.corrector, self.trust, of_valid),
            }
        except ValueError as error:
            raise UserError(str(error)) from None

    def ranks(self, tables: dict[str, np.ndarray]) -> CorrectedRanks:
        """What is compared with other runs: the tables of the test items, and NDCG@10 on the validation items."""
        test = {name: table for name, table in tables.items() if not name.startswith("valid ")}
        valid = summarise(tables["valid own"], ["ndcg"], [10], 6)["ndcg@10"]
        return CorrectedRanks(self.record, self.users, test, float(valid))

    def rows(self, tables: dict[str, np.ndarray]) -> list[Row]:
        """The metrics of each variant, and its NDCG@10 against none."""
        record, rows = self.record, []
        none = {phase: ndcg_of(tables[phase + "none"]) for phase in ("", "valid ")}
        for variant, table in tables.items():
            gain = ndcg_of(table) - none["valid " if variant.startswith("valid ") else ""]
            error = standard_error(gain)
            rows.append(
                {
                    "dataset": record.dataset,
                    "protocol": record.protocol,
                    "label": record.label,
                    "seed": record.seed,
                    "corrector": "item-item",
                    "variant": variant,
                    "metrics": {k: float(v) for k, v in summarise(table, self.metrics, self.topk, 6).items()},
                    "against_none": {"ndcg@10": float(gain.mean()), "standard_error": error},
                    "trust": {"base": self.trust.base, "per_log_click": self.trust.per_log_click},
                }
            )
        return rows


def measure(
    folder: Path,
    settings: dict[str, Any],
    labels: Sequence[str] | None = None,
    say: Callable[[str], None] = print,
) -> Corrections:
    """Give every tested run of a folder the item-item corrector, and compare what they rank.

    A run that cannot be corrected is reported and left out.

    Parameters
    ----------
    folder : pathlib.Path
    settings : dict
        Of the corrector: ``l2``, ``neighbours``, ``decay`` and ``next_click``.
    labels : sequence of str, optional
        These models only.
    say : callable
        Called with the table of each run as soon as it is there.

    Raises
    ------
    UserError
        If there is no such run, or every run failed.
    """
    runs = [(r, f / MODEL_FILE) for r, f in runs_in(folder) if r.test is not None and r.label in (labels or [r.label])]
    if not runs:
        raise UserError(f"{folder} holds no tested run" + (f" of {labels}" if labels else ""))
    result = Corrections(settings, versions(), machine())
    ranks: list[CorrectedRanks] = []
    correctors: dict[str, Corrector] = {}
    for record, weights in runs:
        try:
            run = CorrectedRun(record, weights, correctors, settings)
            tables = run.tables()
        except UserError as error:
            say(f"failed: {record.label} on {record.dataset}, seed {record.seed}: {error}")
            failure = {"dataset": record.dataset, "label": record.label, "seed": record.seed, "error": str(error)}
            result.failed.append(failure)
            continue
        if not is_sweep(record):
            ranks.append(run.ranks(tables))
        rows = run.rows(tables)
        say(Corrections(rows=rows).text())
        result.rows += rows
    if not result.rows:
        raise UserError(result.failed[0]["error"])
    return replace(result, **compare_corrected(ranks))
