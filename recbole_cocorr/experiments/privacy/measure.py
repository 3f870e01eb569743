"""What a device's uploads and its requests for scores reveal of the clicks."""

from collections.abc import Sequence
from pathlib import Path

from recbole_cocorr.experiments.privacy.hidden_states import measure_uploads
from recbole_cocorr.experiments.privacy.scores import measure_scores
from recbole_cocorr.experiments.results.privacy import Privacy
from recbole_cocorr.experiments.runs.environment import origin
from recbole_cocorr.models.catalogue import configured_to_take_corrections
from recbole_cocorr.training.checkpoint import load_checkpoint


def measure(
    checkpoint: Path,
    corrector: Path | None,
    data_path: str | None,
    epsilons: Sequence[float],
    delta: float,
    clicks: int,
    seed: int,
) -> Privacy:
    """Uploads, where the model has a correction network or there is no corrector; scores, with a corrector.

    Parameters
    ----------
    checkpoint, data_path, epsilons, delta, clicks, seed
        As for :func:`~recbole_cocorr.experiments.privacy.hidden_states.measure_uploads`.
    corrector : pathlib.Path, optional
        A folder that ``fit-corrector`` wrote for the checkpoint.

    Raises
    ------
    UserError
        If the checkpoint, its data or the corrector is not usable, or they do not fit.
    """
    config = load_checkpoint(checkpoint).config
    privacy = Privacy(**origin(config))
    if corrector is not None:  # First: it is the shorter part, and says where something does not fit.
        privacy.scores = measure_scores(checkpoint, corrector, data_path)
    if corrector is None or configured_to_take_corrections(config):
        privacy.uploads = measure_uploads(checkpoint, data_path, epsilons, delta, clicks, seed)
    return privacy
