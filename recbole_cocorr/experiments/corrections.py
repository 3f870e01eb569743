"""Every model of a results folder with the same cloud prior, and whether that prior is personal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import write_versioned
from recbole_cocorr.correctors import Corrector, ItemItem
from recbole_cocorr.data.clicks import histories, training_interactions
from recbole_cocorr.evaluation.ranking import RANK_METRICS, per_row, summarise
from recbole_cocorr.experiments.correction_comparisons import CorrectedRanks, compare_corrected
from recbole_cocorr.experiments.extra_files import CORRECTORS_FILE, CORRECTORS_FORMAT
from recbole_cocorr.experiments.runs.environment import machine, versions
from recbole_cocorr.experiments.runs.groups import is_sweep
from recbole_cocorr.experiments.runs.run_files import FORMAT_VERSION, RunRecord, runs_in
from recbole_cocorr.experiments.runs.worker import MODEL_FILE
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.models.fast_layers import use_fast_layers
from recbole_cocorr.training.agreement import rows_digest
from recbole_cocorr.training.checkpoint import load_checkpoint, load_weights
from recbole_cocorr.training.corrected_lists import DeviceScores, Variant, fit_trust, ranks_under
from recbole_cocorr.training.data_of import data_of

# Newest clicks that the cloud has not seen yet, where a correction is stale.
STALE_CLICKS = (1, 2, 5)


def other_user_rows(rows: int, seed: int = 0) -> np.ndarray:
    """Another row for each, every row once: neighbours in a file are alike, so the circle is drawn by chance.

    Returns
    -------
    numpy.ndarray of int64, shape [rows]
        The row itself only where there is no other.
    """
    circle = np.random.default_rng(seed).permutation(rows)
    others = np.empty(rows, dtype=np.int64)
    others[circle] = np.roll(circle, -1)
    return others


class CorrectedRun:
    """One trained run, the cloud's corrector for its data, and the trust between them.

    Parameters
    ----------
    record : RunRecord
    weights_file : pathlib.Path
    correctors : dict
        Fitted correctors by the digest of their data, for the runs after this one too.
    settings : dict
        ``l2``, ``neighbours`` and ``decay`` of the corrector.

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
        checkpoint = load_checkpoint(weights_file)
        data = data_of(checkpoint.config, checkpoint.items, str(weights_file), use_gpu=True)
        config, self.valid, self.test = data.config, data.valid, data.test
        self.metrics = [m.lower() for m in config["metrics"] if m.lower() in RANK_METRICS]
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
        dataset = self.test.dataset
        return [str(u) for u in dataset.field2id_token[dataset.uid_field][self.test.users]]

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


def tested_runs(folder: Path) -> list[tuple[RunRecord, Path]]:
    """The tested runs of a results folder, each with its weights."""
    return [(record, run / MODEL_FILE) for record, run in runs_in(folder) if record.test is not None]


def correct(
    folder: Path,
    settings: dict[str, Any],
    labels: list[str] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Give every tested run of a folder the item-item corrector, print the table and write ``correctors.json``.

    A run that cannot be corrected is reported and left out.

    Parameters
    ----------
    folder : pathlib.Path
    settings : dict
        ``l2``, ``neighbours``, ``decay``.
    labels : list of str, optional
        These models only.
    say : callable

    Raises
    ------
    UserError
        If there is no such run, or every run failed.
    """
    runs = [(r, w) for r, w in tested_runs(folder) if labels is None or r.label in labels]
    if not runs:
        raise UserError(f"{folder} holds no tested run" + (f" of {labels}" if labels else ""))
    rows: list[dict[str, Any]] = []
    corrected: list[CorrectedRanks] = []
    correctors: dict[str, Corrector] = {}
    failed: list[dict[str, Any]] = []
    for record, weights in runs:
        try:
            run = CorrectedRun(record, weights, correctors, settings)
            tables = run.tables()
        except UserError as error:
            say(f"failed: {record.label} on {record.dataset}, seed {record.seed}: {error}")
            failed.append({"dataset": record.dataset, "label": record.label, "seed": record.seed, "error": str(error)})
            continue
        if not is_sweep(record):
            test = {name: table for name, table in tables.items() if not name.startswith("valid ")}
            chosen_by = summarise(tables["valid own"], ["ndcg"], [10], 6)["ndcg@10"]
            corrected.append(CorrectedRanks(record, run.users, test, float(chosen_by)))
        say(
            f"{record.label} on {record.dataset}, seed {record.seed}: trust {run.trust.base:.3f} "
            f"{run.trust.per_log_click:+.3f} ln(clicks)"
        )
        say(f"  {'correction':16}{'UAUC':>8}{'NDCG@10':>9}{'HR@10':>8}   against none, NDCG@10")
        without = {"": tables["none"], "valid": tables["valid none"]}
        for variant, table in tables.items():
            base = without["valid" if variant.startswith("valid") else ""]
            gain = per_row(table, ["ndcg"], [10])["ndcg@10"] - per_row(base, ["ndcg"], [10])["ndcg@10"]
            metrics = {k: float(v) for k, v in summarise(table, run.metrics, run.topk, 6).items()}
            error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 0.0
            say(
                f"  {variant:16}{metrics.get('gauc', np.nan):8.4f}{metrics.get('ndcg@10', np.nan):9.4f}"
                f"{metrics.get('hit@10', np.nan):8.4f}   {gain.mean():+.5f} (standard error {error:.5f})"
            )
            rows.append(
                {
                    "dataset": record.dataset,
                    "protocol": record.protocol,
                    "label": record.label,
                    "seed": record.seed,
                    "corrector": "item-item",
                    "variant": variant,
                    "metrics": metrics,
                    "against_none": {"ndcg@10": float(gain.mean()), "standard_error": error},
                    "trust": {"base": run.trust.base, "per_log_click": run.trust.per_log_click},
                }
            )
    if not rows:
        raise UserError(failed[0]["error"])
    content = {
        "settings": settings,
        "versions": versions(),
        "machine": machine(),
        "rows": rows,
        **compare_corrected(corrected),
        "failed": failed,
    }
    for sentence in content["problems"]:
        say(f"note: {sentence}")
    write_versioned(folder / CORRECTORS_FILE, "result of the corrections", CORRECTORS_FORMAT, FORMAT_VERSION, content)
    return content
