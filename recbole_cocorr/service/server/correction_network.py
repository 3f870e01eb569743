"""The correction network as one graph of ONNX Runtime: the numbers of ``layers.GlobalCorrectionNetwork`` without torch.

A lone request takes a sixth of torch's time and a batch of eight a third (``benchmarks/cloud_service.py``).
"""

from collections.abc import Mapping

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.service.wire import Shape

_NETS = ("attention_net", "bias_net")
# Slope of the leaky ReLU, and width of the hidden layers, as in layers/gcn.py.
_SLOPE, _HIDDEN = 0.01, 64
_OPSET, _IR = 17, 8


class CorrectionNetwork:
    """Eq. 13, ready to run.

    Parameters
    ----------
    weights : mapping of str to numpy.ndarray of float32
        Those of a ``GlobalCorrectionNetwork``, by its names.
    width : int
        d.
    shape : Shape
        Sizes of a correction.
    source : str
        Where the weights come from, for errors.
    threads : int
        Threads of one pass.

    Attributes
    ----------
    session : onnxruntime.InferenceSession

    Raises
    ------
    UserError
        If a weight is missing, unknown, or of another shape than the sizes say.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], width: int, shape: Shape, source: str, threads: int = 1):
        outputs = dict(zip(_NETS, (shape.attention, shape.bias), strict=True))
        _check(weights, width, {net: int(np.prod(size)) for net, size in outputs.items()}, source)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = _graph(weights, width, outputs).SerializeToString()
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, x: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The corrections of several users.

        Parameters
        ----------
        x : numpy.ndarray of float32, shape [L, B, d]
            Hidden states, padding at the end.
        lengths : numpy.ndarray of int32, shape [B]

        Returns
        -------
        tuple of numpy.ndarray of float32, shapes [B, H K K] and [B, H K f]
            A^ and B^.
        """
        attention, bias = self.session.run(None, {"x": x, "lengths": lengths})
        return attention, bias


def _graph(weights: Mapping[str, np.ndarray], d: int, outputs: Mapping[str, tuple[int, ...]]) -> helper.ModelProto:
    nodes, constants = [], [numpy_helper.from_array(np.array([0]), "direction")]

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def gates(name: str) -> np.ndarray:
        """torch's order of the gates is r, z, n; that of ONNX is z, r, n."""
        r, z, n = np.split(weights[name], 3)
        return np.concatenate([z, r, n])

    for net in outputs:
        gru = f"{net}.gru."
        biases = [gates(gru + "bias_ih_l0"), gates(gru + "bias_hh_l0")]
        inputs = ["x", constant(gru + "W", gates(gru + "weight_ih_l0")[None])]
        inputs += [constant(gru + "R", gates(gru + "weight_hh_l0")[None]), constant(gru + "B", np.hstack(biases)[None])]
        # The state after each row's last real step.
        nodes.append(
            helper.make_node(
                "GRU", [*inputs, "lengths"], ["", gru + "last"], hidden_size=d, linear_before_reset=1, name=gru + "GRU"
            )
        )
        nodes.append(helper.make_node("Squeeze", [gru + "last", "direction"], [f"{net}.fc0"]))
        for number in (1, 2, 3):
            layer, before = f"{net}.fc{number}", f"{net}.fc{number - 1}"
            weight = constant(layer + ".W", weights[layer + ".weight"].T)
            last = number == 3
            nodes.append(helper.make_node("MatMul", [before, weight], [net if last else layer + ".x"]))
            if not last:
                nodes.append(helper.make_node("LeakyRelu", [layer + ".x"], [layer], alpha=_SLOPE))
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["L", "B", d])]
    values.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]))
    results = [helper.make_tensor_value_info(net, TensorProto.FLOAT, ["B", None]) for net in outputs]
    graph = helper.make_graph(nodes, "correction", values, results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    checker.check_model(model)
    return model


def _check(weights: Mapping[str, np.ndarray], d: int, outputs: Mapping[str, int], source: str) -> None:
    expected = {}
    for net, size in outputs.items():
        gru = {"weight_ih_l0": (3 * d, d), "weight_hh_l0": (3 * d, d), "bias_ih_l0": (3 * d,), "bias_hh_l0": (3 * d,)}
        expected |= {f"{net}.gru.{name}": shape for name, shape in gru.items()}
        layers = {"fc1": (_HIDDEN, d), "fc2": (_HIDDEN, _HIDDEN), "fc3": (size, _HIDDEN)}
        expected |= {f"{net}.{name}.weight": shape for name, shape in layers.items()}
    for name in sorted({*expected} ^ {*weights}):
        kind = "lacks the weight" if name in expected else "has the unknown weight"
        raise UserError(f"{source} {kind} gcn.{name} of its correction network")
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise UserError(
                f"{source}: gcn.{name} has shape {weights[name].shape}, but the configuration makes it {shape}"
            )
