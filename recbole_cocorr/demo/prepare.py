"""The artifact that the page shows: given, there already, or trained now."""

import os
import shutil
import tempfile
from pathlib import Path

from recbole_cocorr.device.manifest import NAME
from recbole_cocorr.errors import UserError

DATASET = "ml-100k"


def find_artifact(out: Path, checkpoint: Path | None = None, artifact: Path | None = None, epochs: int = 3) -> Path:
    """Folder of the artifact to show.

    Parameters
    ----------
    out : pathlib.Path
        Keeps the checkpoint and the artifact that are made.
    checkpoint : pathlib.Path, optional
        Exported in place of what ``out`` holds.
    artifact : pathlib.Path, optional
        Used as it is; nothing is made then.
    epochs : int
        Of the training, where there is nothing to show yet.

    Raises
    ------
    UserError
        If what was named is not usable.
    """
    if artifact is not None:
        return artifact
    made = out / "artifact"
    if checkpoint is None and (made / NAME).is_file():
        print(f"the artifact in {made} is used; --checkpoint=FILE replaces it", flush=True)
        return made
    out.mkdir(parents=True, exist_ok=True)
    if checkpoint is None:
        checkpoint = out / "checkpoint.safetensors"
        if checkpoint.is_file():
            print(f"the checkpoint {checkpoint} is used", flush=True)
        else:
            _train(checkpoint, epochs)
    _export(checkpoint, made)
    return made


def _train(checkpoint: Path, epochs: int) -> None:
    """Train into a folder of its own: what a training that was interrupted leaves is never taken for a model."""
    if epochs < 1:
        raise UserError(f"epochs is {epochs}; it must be at least 1")
    from recbole_cocorr.quick_start import run

    print(f"training CoCorrRec on {DATASET}, {epochs} epochs: a minute or two, this once", flush=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=checkpoint.parent) as folder:
        settings = {
            "checkpoint_dir": folder,
            "epochs": epochs,
            "save_training_state": False,
            "show_progress": True,
            "state": "WARNING",
            "use_gpu": False,
        }
        result = run("CoCorrRec", DATASET, config_dict=settings, overrides={})
        os.replace(result["saved_model_file"], checkpoint)
    print(f"the model is kept as {checkpoint}", flush=True)


def _export(checkpoint: Path, target: Path) -> None:
    try:
        from recbole_cocorr.device.check import check_artifact
        from recbole_cocorr.device.export import export
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxscript", "onnxruntime"):
            raise
        raise UserError(f"{error.name} is not installed, and export needs it: pip install '.[export]'") from None

    print(f"exporting {checkpoint} to {target}", flush=True)
    if target.exists() and not any(target.iterdir()):
        shutil.rmtree(target)
    export(
        checkpoint,
        target,
        overwrite=True,
        check=lambda recommender, folder: check_artifact(recommender.model, folder, None)[1],
    )
