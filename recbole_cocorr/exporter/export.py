"""A checkpoint as a device artifact. Needs torch, onnx and onnxscript."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recbole_cocorr import __version__
from recbole_cocorr.artifact.arrays import digest_of, write_array
from recbole_cocorr.artifact.manifest import (
    MOST_NEIGHBOURS,
    NAME,
    POLICIES,
    ArrayEntry,
    FileEntry,
    Manifest,
    read_manifest,
)
from recbole_cocorr.artifact.table import PRECISIONS
from recbole_cocorr.artifact.writer import replace_files, write_catalogue
from recbole_cocorr.base.checks import checked_whole
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write, make_folder, naming, sync_folder, sync_tree
from recbole_cocorr.base.leftovers import locked, temporary_folder
from recbole_cocorr.correctors.catalogue import DEFAULT
from recbole_cocorr.correctors.folder import catalogue_of, fitted_with, request_rule_of, trust_of
from recbole_cocorr.correctors.neighbours import DEFAULT_NEIGHBOURS
from recbole_cocorr.correctors.settings import corrector_settings
from recbole_cocorr.exporter.onnx_file import shared_weights, to_onnx, with_shared_weights
from recbole_cocorr.models.device_graphs import Graph, Graphs, graphs_of
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.data_of import DataNotHere, data_of
from recbole_cocorr.training.neighbour_table import FittedTable, fit_neighbours
from recbole_cocorr.training.recommend import Recommender, recommender_from

# Settings that an artifact's manifest tells.
_MODEL_SETTINGS = (
    "dataset",
    "block",
    "hidden_size",
    "embedding_size",
    "num_heads",
    "n_heads",
    "num_layers",
    "n_layers",
    "inner_size",
    "mini_batch_size",
    "inner_lr",
    "use_gcn",
    "target_transform",
    "d_state",
    "d_conv",
    "expand",
    "loss_type",
    "MAX_ITEM_LIST_LENGTH",
)
DEFAULT_POLICY = "window"


def export(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    table: str = "fp32",
    policy: str | None = None,
    overwrite: bool = False,
    corrector: str | os.PathLike | None = None,
    check: Callable[[Recommender, Path], dict[str, Any]] | None = None,
    neighbours: int | None = None,
    data_path: str | None = None,
) -> Manifest:
    """Write a device artifact: the whole folder, or nothing.

    Parameters
    ----------
    checkpoint : str or os.PathLike
        A ``.safetensors`` file that training wrote.
    out : str or os.PathLike
        The folder to make.
    table : {"fp32", "fp16", "int8"}
    policy : {"carry", "window"}, optional
        What sessions do by default with more clicks than L.
    overwrite : bool
        Whether an earlier artifact may be replaced.
    corrector : str or os.PathLike, optional
        A folder that ``fit-corrector`` wrote for this checkpoint; its trust goes into the manifest.
    check : callable
        Given the model and the folder before it has its name; what it returns becomes ``check`` of the manifest, and
        what it raises leaves nothing behind.
    neighbours : int, optional
        Items that each item speaks for in a neighbour table, which the device adds to its scores; 0 for no table. It
        is fitted on the model's data. Left out: 20 where an item-item ``corrector`` is named and the data are at
        hand, otherwise no table.
    data_path : str, optional
        Holds NAME/NAME.inter; where training found it, if left out.

    Raises
    ------
    UserError
        If the checkpoint, the folder or the model does not allow it.
    """
    if table not in PRECISIONS:
        raise UserError(f"table is {table!r}; it must be one of {', '.join(PRECISIONS)}")
    if policy is not None and policy not in POLICIES:
        raise UserError(f"policy is {policy!r}; it must be carry or window")
    target = check_target(Path(out), overwrite)
    read = load_checkpoint(checkpoint)
    recommender = recommender_from(read, str(checkpoint), "cpu")
    fingerprint = checkpoint_fingerprint(read)
    trust = None
    if corrector is not None:
        trust = trust_of(corrector, fingerprint)
        if trust["items"] != catalogue_of(recommender.vocabulary.items):
            raise UserError(f"{corrector} was fitted on other items than {checkpoint} has; run fit-corrector again")
    fitted = _neighbours(recommender, str(checkpoint), corrector, neighbours, data_path)
    make_folder(target.parent, "artifact")
    with naming(target, "artifact"), temporary_folder(target) as work:
        manifest = write_artifact(work, recommender, fingerprint, table, policy)
        if trust is not None:
            manifest.trust = trust
            if fitted is None:
                manifest.requests = request_rule_of(corrector)
            _write_manifest(work, manifest)
        if fitted is not None:
            manifest.neighbours = fitted.described()
            manifest.arrays |= fitted.table.write(work)
            _write_manifest(work, manifest)
        if check is not None:
            manifest.check = check(recommender, work)
        if fitted is not None:
            manifest.check |= {"neighbours": {k: finite(v) for k, v in fitted.validation.items()}}
        _write_manifest(work, manifest)
        _put(work, target, overwrite)
    return read_manifest(target)


def _neighbours(
    recommender: Recommender,
    checkpoint: str,
    corrector: str | os.PathLike | None,
    count: int | None,
    data_path: str | None,
) -> FittedTable | None:
    """The neighbour table that an export writes, fitted with the settings of the corrector, if one is named."""
    if count is not None:
        count = checked_whole(count, "neighbours", 0, MOST_NEIGHBOURS)
    if count == 0 or (count is None and corrector is None):
        return None
    kind, settings = (DEFAULT, corrector_settings()) if corrector is None else fitted_with(corrector)
    if count is None and kind != DEFAULT:
        return None
    if kind != DEFAULT:
        raise UserError(f"{corrector} is a corrector {kind!r}; a neighbour table is fitted as {DEFAULT!r} is")
    try:
        data = data_of(recommender.config, recommender.vocabulary.items, checkpoint, data_path)
    except DataNotHere:
        if count is None:
            return None
        raise
    return fit_neighbours(recommender.model, data, DEFAULT_NEIGHBOURS if count is None else count, settings)


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as JSON takes them, which has no NaN: that is what a metric of no row is."""
    return {k: float(v) for k, v in metrics.items() if np.isfinite(v)}


def check_target(out: Path, overwrite: bool) -> Path:
    """The folder that an artifact is to be written to, links resolved.

    Raises
    ------
    UserError
        If something else is there, or an artifact that may not be replaced.
    """
    target = Path(os.path.realpath(out))
    if not target.exists():
        return target
    if not target.is_dir():
        raise UserError(f"{out} is a file; name a folder")
    if any(target.iterdir()):
        if not (target / NAME).is_file():
            raise UserError(f"{out} is a folder with other files; name one that is empty or not there")
        if not overwrite:
            raise UserError(f"{out} holds an artifact already; --overwrite replaces it")
    return target


def _put(work: Path, target: Path, overwrite: bool = True) -> None:
    """Give the finished folder its name, or put its files into the artifact that is there."""
    sync_tree(work)
    try:
        work.rename(target)  # fails where something is in a folder of this name
        sync_folder(target.parent)
        return
    except OSError:
        if not target.is_dir() or not any(target.iterdir()):
            raise
    with locked(target):
        check_target(target, overwrite)  # once more: another export may have been faster
        replace_files(work, target)


def write_artifact(
    folder: Path, recommender: Recommender, fingerprint: str, table: str, policy: str | None = None
) -> Manifest:
    """Write the files of an artifact into an empty folder."""
    model = recommender.model
    device_graphs = graphs_of(model)
    weight = model.item_embedding.weight.detach().float().numpy()[: model.n_items].copy()
    weight[0] = 0
    if policy is None:
        policy = DEFAULT_POLICY if device_graphs.state is not None else "window"
    if device_graphs.state is None and policy != "window":
        raise UserError(f"{type(model).__name__} keeps no state, so its policy is window")
    graphs, weights = _write_graphs(folder, device_graphs)
    arrays, probes = write_catalogue(
        folder, recommender.vocabulary.items, weight, table, targets_of(model, device_graphs)
    )
    arrays["weights"] = weights
    for name, tensor in (("state", device_graphs.state), ("upload_norm", device_graphs.upload_norm)):
        if tensor is not None:
            arrays[name] = write_array(folder, name, tensor.float().numpy())
    if device_graphs.native is not None:
        arrays["native"] = write_array(folder, "native", np.frombuffer(device_graphs.native, np.uint8))
    config = recommender.config
    manifest = Manifest(
        model={"name": type(model).__name__, **{k: config[k] for k in _MODEL_SETTINGS if config[k] is not None}},
        items=len(weight),
        width=weight.shape[1],
        window=model.max_seq_length,
        mini_batch=device_graphs.mini_batch,
        table=table,
        policy=policy,
        correction=device_graphs.correction,
        graphs=graphs,
        arrays=arrays,
        fingerprint=fingerprint,
        probes=probes,
        norm_eps=device_graphs.norm_eps,
        metrics=finite(recommender.metrics or {}),
        package_version=__version__,
    )
    _write_manifest(folder, manifest)
    return manifest


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    with atomic_write(folder / NAME, what="manifest") as file:
        file.write(manifest.to_json())


def _write_graphs(folder: Path, device_graphs: Graphs) -> tuple[dict[str, FileEntry], ArrayEntry]:
    """Write the graphs and the weights that they share."""
    models = {name: _model_of(graph) for name, graph in device_graphs.graphs.items()}
    blob = shared_weights(models)
    weights = write_array(folder, "weights", np.frombuffer(blob, np.uint8))
    graphs = {}
    for name, model in models.items():
        raw = with_shared_weights(model, blob, weights.file)
        (folder / f"{name}.onnx").write_bytes(raw)
        graphs[name] = FileEntry(f"{name}.onnx", len(raw), digest_of(raw))
    return graphs, weights


def _model_of(graph: Graph) -> Any:
    dynamic = tuple({0: graph.free[i]} if i in graph.free else None for i in graph.inputs) if graph.free else None
    return to_onnx(graph.module, tuple(graph.inputs.values()), list(graph.inputs), graph.outputs, dynamic)


def targets_of(model: nn.Module, device_graphs: Graphs) -> Callable[[np.ndarray], np.ndarray] | None:
    """phi of a model as a function of arrays [m, d]; None where it is the identity."""
    if "targets" not in device_graphs.graphs:
        return None

    def targets(vectors: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model.target_transform(torch.from_numpy(vectors)).numpy()

    return targets
