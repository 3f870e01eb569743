"""The artifact that the page shows: given, there already, or trained now."""

import os
from pathlib import Path
from typing import NamedTuple

from recbole_cocorr.artifact.manifest import NAME
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from recbole_cocorr.base.files import make_folder
from recbole_cocorr.base.leftovers import temporary_folder
from recbole_cocorr.base.together import finish, write_together

DATASET = "ml-100k"


class Shown(NamedTuple):
    """What is shown.

    Attributes
    ----------
    artifact : pathlib.Path
        Folder of the device artifact.
    checkpoint : pathlib.Path or None
        What it was exported from, where that is known.
    corrector : pathlib.Path or None
        Folder of the item-item corrector, where there is one.
    """

    artifact: Path
    checkpoint: Path | None = None
    corrector: Path | None = None


def find_artifact(
    out: Path,
    checkpoint: Path | None = None,
    artifact: Path | None = None,
    epochs: int = 3,
    data_path: str | None = None,
) -> Shown:
    """The artifact to show, and what a correction service for it needs.

    Parameters
    ----------
    out : pathlib.Path
        Keeps the checkpoint and the artifact that are made.
    checkpoint : pathlib.Path, optional
        Exported in place of what ``out`` holds.
    artifact : pathlib.Path, optional
        Used as it is; nothing is made then.
    epochs : int
        Epochs of the training, where there is nothing to show yet.
    data_path : str, optional
        Holds the data set of a checkpoint, where it is not where training found it.

    Raises
    ------
    UserError
        If what was named is not usable.
    """
    if artifact is not None:
        return Shown(artifact)
    artifact_folder, own_checkpoint, corrector = out / "artifact", out / "checkpoint.safetensors", out / "corrector"
    finish(out)
    if checkpoint is None and (artifact_folder / NAME).is_file():
        print(f"the artifact in {artifact_folder} is used; --checkpoint=FILE replaces it", flush=True)
        checkpoint = own_checkpoint if own_checkpoint.is_file() else None
        return Shown(artifact_folder, checkpoint, corrector if corrector.is_dir() else None)
    make_folder(out, "demo")
    if checkpoint is None:
        checkpoint = own_checkpoint
        if checkpoint.is_file():
            print(f"the checkpoint {checkpoint} is used", flush=True)
        else:
            _train(checkpoint, epochs)
    has_corrector = _make(checkpoint, out, data_path)
    return Shown(artifact_folder, checkpoint, corrector if has_corrector else None)


def _train(checkpoint: Path, epochs: int) -> None:
    """Train into a folder of its own: what a training that was interrupted leaves is never taken for a model."""
    if epochs < 1:
        raise UserError(f"epochs is {epochs}; it must be at least 1")
    require("export")  # before a training that takes a minute
    from recbole_cocorr.training.run import run

    print(f"training CoCorrRec on {DATASET}, {epochs} epochs: a minute or two, this once", flush=True)
    with temporary_folder(checkpoint) as folder:
        settings = {
            "checkpoint_dir": str(folder),
            "log_dir": str(folder),
            "tensorboard_dir": str(folder),
            "epochs": epochs,
            "save_training_state": False,
            "show_progress": True,
            "state": "WARNING",
            "use_gpu": False,
        }
        result = run("CoCorrRec", DATASET, config_dict=settings, overrides={})
        os.replace(result["saved_model_file"], checkpoint)
    print(f"the model is kept as {checkpoint}", flush=True)


def _make(checkpoint: Path, out: Path, data_path: str | None) -> bool:
    """Fit and export; both appear at once, because the artifact trusts this one corrector.

    Returns
    -------
    bool
        Whether there is a corrector.
    """
    require("export")
    from recbole_cocorr.exporter.export import check_target

    check_target(out / "artifact", overwrite=True)
    with write_together(out, "demo") as together:
        corrector = together.folder("corrector")
        has_corrector = _fit(checkpoint, corrector, data_path)
        _export(checkpoint, together.folder("artifact"), corrector if has_corrector else None, data_path)
    return has_corrector


def _fit(checkpoint: Path, folder: Path, data_path: str | None) -> bool:
    """Learn the cloud's item-item scores; without them the demo has one thing less to show.

    Returns
    -------
    bool
        Whether that was possible.
    """
    from recbole_cocorr.correctors.settings import corrector_settings
    from recbole_cocorr.training.fit_corrector import fit_corrector

    print("fitting the item-item corrector", flush=True)
    try:
        fit_corrector(checkpoint, folder, corrector_settings({}), data_path)
    except UserError as error:
        print(f"the page has no item-item scores: {error}", flush=True)
        return False
    return True


def _export(checkpoint: Path, target: Path, corrector: Path | None, data_path: str | None) -> None:
    from recbole_cocorr.exporter.check import check_artifact
    from recbole_cocorr.exporter.export import export

    print(f"exporting {checkpoint}", flush=True)
    export(
        checkpoint,
        target,
        check=lambda recommender, folder: check_artifact(recommender.model, folder, None)[1],
        corrector=corrector,  # with it comes the neighbour table, the page's second list without the cloud
        data_path=data_path,
    )
