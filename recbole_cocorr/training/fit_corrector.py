"""Fit a corrector and the trust in it for one checkpoint."""

import os
from typing import Any

import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.base import Corrector
from recbole_cocorr.correctors.catalogue import DEFAULT, corrector_class
from recbole_cocorr.correctors.folder import save_corrector
from recbole_cocorr.correctors.trust import Trust
from recbole_cocorr.data.clicks import histories, training_interactions
from recbole_cocorr.evaluation.ranking import rank_metrics, summarise
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.corrected_lists import DeviceScores, Variant, fit_requests, fit_trust, ranks_under
from recbole_cocorr.training.data_of import data_of
from recbole_cocorr.training.prepare import Loaders
from recbole_cocorr.training.recommend import recommender_from


def fit_corrector(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    settings: dict[str, Any],
    data_path: str | None = None,
    kind: str = DEFAULT,
) -> tuple[Trust, dict[str, dict[str, float]], str]:
    """Fit a corrector to the training interactions, learn on the validation items what devices need, and write it.

    They need the trust in the corrector, and when it is worth a request.

    Parameters
    ----------
    checkpoint : str or os.PathLike
    out : str or os.PathLike
        The folder to write.
    settings : dict
        The corrector's settings, as :func:`~recbole_cocorr.correctors.settings.corrector_settings` returns them.
    data_path : str, optional
        Holds NAME/NAME.inter; where training found it, if left out.
    kind : str
        A name in the catalogue of correctors.

    Returns
    -------
    tuple of Trust, dict and str
        The trust; the validation metrics "none" and "own"; the corrector's fingerprint.

    Raises
    ------
    UserError
        If there is no such kind, or the data are missing or other than those trained on.
    """
    fit = corrector_class(kind).fit
    if os.path.exists(out) and not os.path.isdir(out):
        raise UserError(f"{out} is no folder; name one for the corrector")
    content = load_checkpoint(checkpoint)
    model = recommender_from(content, str(checkpoint), "cpu").model
    loaders = data_of(content.config, content.items, str(checkpoint), data_path)
    users, items = training_interactions(loaders.valid.dataset)
    corrector = fit(users, items, loaders.dataset.item_num, **settings)
    trust, metrics = learn_trust(model, loaders, corrector)
    rule = fit_requests(DeviceScores(model), loaders.valid, corrector, trust)
    digest = save_corrector(
        out, corrector, trust, content.items, checkpoint_fingerprint(content), metrics, settings, rule
    )
    return trust, metrics, digest


def learn_trust(
    model: torch.nn.Module, loaders: Loaders, corrector: Corrector
) -> tuple[Trust, dict[str, dict[str, float]]]:
    """Learn the trust in a corrector on the validation items; returns also the metrics "none" and "own" of these."""
    valid, config = loaders.valid, loaders.config
    device = DeviceScores(model)
    trust = fit_trust(device, valid, corrector)
    variants = {"none": Variant(None), "own": Variant(histories(valid))}
    names = rank_metrics(config["metrics"])
    metrics = {
        name: {k: float(v) for k, v in summarise(table, names, config["topk"], 6).items()}
        for name, table in ranks_under(device, valid, corrector, trust, variants).items()
    }
    return trust, metrics
