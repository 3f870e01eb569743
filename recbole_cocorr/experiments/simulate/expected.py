"""The lists that devices must get: what a single process scores for the test users."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.trust import Trust
from recbole_cocorr.experiments.evaluation_rows import model_and_rows
from recbole_cocorr.experiments.simulate.records import USED
from recbole_cocorr.models.catalogue import takes_corrections
from recbole_cocorr.models.scoring import find_scorer
from recbole_cocorr.service.server.correction_model import CorrectionModel, load_correction_model
from recbole_cocorr.service.server.score_model import ScoreModel, load_score_model


@torch.no_grad()
def prepare(
    checkpoint: Path, data_path: str | None, users: int, folder: Path, corrector: Path | None = None
) -> tuple[CorrectionModel | None, ScoreModel | None]:
    """Write what the devices read: the artifact, users with candidates, and the scores of the single process.

    Returns
    -------
    CorrectionModel or None, and ScoreModel or None
        What a server of these will serve.

    Raises
    ------
    UserError
        If the checkpoint, its data or the corrector is not usable, or no user has all candidates.
    """
    from recbole_cocorr.exporter.export import export

    recommender, loader = model_and_rows(checkpoint, data_path, needs_correction=corrector is None)
    model, names = recommender.model, np.array(recommender.vocabulary.items)
    corrects = takes_corrections(model)
    # The device is to ask for scores, so it has no table of its own.
    manifest = export(checkpoint, folder / "artifact", corrector=corrector, neighbours=0)
    scorer = None if corrector is None else load_score_model(corrector)
    chosen: list[dict[str, list[str]]] = []
    scores: dict[str, list[np.ndarray]] = {}
    for batch in loader.batches():
        rows = batch.interaction[: users - len(chosen)]
        seq, length = rows[model.ITEM_SEQ], rows[model.ITEM_SEQ_LEN]
        candidates = batch.candidates[: len(seq)]
        # A user who has had nearly everything has fewer candidates; those rows are left out, and all have one shape.
        full = (candidates > 0).all(dim=1)
        rows, seq, length, candidates = rows[full], seq[full], length[full], candidates[full]
        if not len(seq):
            continue
        lists = {0: own_scores(model, rows, candidates, corrected=False)}
        if corrects:
            lists[USED["correction"]] = own_scores(model, rows, candidates, corrected=True)
        histories = [row[:size] for row, size in zip(seq.numpy(), length.tolist(), strict=True)]
        if scorer is not None:
            # As they come over the wire.
            evidence = scorer.corrector.scores(histories, candidates.numpy()).astype(np.float16).astype(np.float32)
            trust = Trust.of(manifest.trust)
            for used in list(lists):
                lists[used | USED["scores"]] = trust.fuse(lists[used], evidence, length.numpy())
        for used, values in lists.items():
            scores.setdefault(str(used), []).append(values)
        for history, some in zip(histories, candidates.numpy(), strict=True):
            chosen.append({"history": names[history].tolist(), "candidates": names[some].tolist()})
        if len(chosen) >= users:
            break
    if not chosen:
        raise UserError(f"no test user of {checkpoint} has a full list of candidates, so there is no list to compare")
    (folder / "users.json").write_text(json.dumps(chosen))
    np.savez(folder / "expected.npz", **{name: np.concatenate(blocks) for name, blocks in scores.items()})
    return load_correction_model(checkpoint) if corrects else None, scorer


def own_scores(model: torch.nn.Module, rows: Any, candidates: torch.Tensor, corrected: bool) -> np.ndarray:
    """The single process's scores [B, C], with the model's correction or without it."""
    if not takes_corrections(model):
        scorer = find_scorer(model, rows)
        scorer.prepare()
        return scorer.candidates(rows, candidates).numpy()
    hidden, length = model.hidden_states(rows[model.ITEM_SEQ]), rows[model.ITEM_SEQ_LEN]
    vectors = model.user_vectors(hidden, length, model.correction(hidden, length) if corrected else None)
    return torch.einsum("bcd,bd->bc", model.item_vectors()[candidates], vectors).numpy()
