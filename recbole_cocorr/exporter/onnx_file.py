"""Torch modules as ONNX files that share one file of weights."""

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from recbole_cocorr.base.extras import require

# Read by ONNX Runtime from 1.15 on, and by onnxruntime-web.
OPSET = 20
# Constants of fewer bytes stay in the graphs.
_LEAST = 1024
_ALIGNMENT = 64


def to_onnx(
    module: torch.nn.Module, arguments: tuple, inputs: list[str], outputs: list[str], dynamic: Any = None
) -> Any:
    """A module as an ``onnx.ModelProto``.

    Parameters
    ----------
    module : torch.nn.Module
    arguments : tuple of torch.Tensor
        An example of its inputs.
    inputs, outputs : list of str
        Their names.
    dynamic : tuple, optional
        ``dynamic_shapes`` of torch.export: which sizes are free.

    Raises
    ------
    UserError
        If onnx and onnxscript are not installed, or torch cannot express the module.
    """
    require("export")
    import onnx

    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            arguments,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model)
    return model


def shared_weights(models: Mapping[str, Any]) -> bytes:
    """The large constants of some graphs, each once, one after another; equal ones are equal byte for byte."""
    blob, places = bytearray(), {}
    for model in models.values():
        for tensor in _large(model):
            if tensor.raw_data not in places:
                blob += bytes(-len(blob) % _ALIGNMENT)
                places[tensor.raw_data] = len(blob)
                blob += tensor.raw_data
    return bytes(blob)


def with_shared_weights(model: Any, blob: bytes, file: str) -> bytes:
    """The bytes of an ONNX file whose large constants are read from ``file``, in the same folder (external data)."""
    from onnx.external_data_helper import set_external_data

    for tensor in _large(model):
        offset = blob.find(tensor.raw_data)
        while offset % _ALIGNMENT:
            offset = blob.find(tensor.raw_data, offset + 1)
        set_external_data(tensor, file, offset, len(tensor.raw_data))
        tensor.ClearField("raw_data")
    return model.SerializeToString(deterministic=True)


def _large(model: Any) -> list[Any]:
    return [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= _LEAST]


def _strip(model: Any) -> None:
    """Take out what running does not need: stack traces with the paths of this machine, shapes in between."""
    graphs = [model.graph]
    del model.metadata_props[:]
    for graph in graphs:
        for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
            part.doc_string = ""
            del part.metadata_props[:]
        del graph.value_info[:]
        for node in graph.node:
            graphs += [a.g for a in node.attribute if a.HasField("g")]
    for function in model.functions:
        del function.metadata_props[:]


@contextlib.contextmanager
def _quiet():
    """Without the exporter's progress and its advice to its own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
