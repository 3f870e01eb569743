"""The cloud's half of a checkpoint: the correction network, without the item table."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recbole_cocorr.artifact.fingerprint import model_fingerprint
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record
from recbole_cocorr.layers import GlobalCorrectionNetwork
from recbole_cocorr.models.build_limit import MOST_LENGTH, BuildLimit
from recbole_cocorr.models.catalogue import configured_to_take_corrections, is_ours
from recbole_cocorr.service.wire import Shape, encode_correction
from recbole_cocorr.training.checkpoint import load_checkpoint, load_weights

_PREFIX = "gcn."


@dataclass(frozen=True)
class CorrectionModel:
    """A correction network, ready to run.

    Attributes
    ----------
    fingerprint : str
        Digest of the whole checkpoint, as the device's artifact has it.
    network : GlobalCorrectionNetwork
    width : int
        d.
    most_rows : int
        L, rows of hidden states that it reads at most.
    shape : Shape
        Sizes of a correction.
    """

    fingerprint: str
    network: GlobalCorrectionNetwork
    width: int
    most_rows: int
    shape: Shape

    @torch.inference_mode()
    def correct(self, uploads: list[np.ndarray]) -> list[bytes]:
        """The corrections of several users, in one pass.

        Parameters
        ----------
        uploads : list of numpy.ndarray of float32, shape [n, d]
            Hidden states, each of 1 to L rows.

        Returns
        -------
        list of bytes
            As :func:`~recbole_cocorr.service.wire.encode_correction` makes them.
        """
        lengths = [len(x) for x in uploads]
        padded = np.zeros((len(uploads), max(lengths), self.width), np.float32)
        for row, x in enumerate(uploads):
            padded[row, : len(x)] = x
        # torch's own GRU: the network's forward chooses the one that is made for training.
        x, rows = torch.from_numpy(padded), torch.tensor(lengths)
        net = self.network
        attention = net.attention_net(x, rows).view(-1, *net.attention_shape).numpy()
        bias = net.bias_net(x, rows).view(-1, *net.bias_shape).numpy()
        return [encode_correction(a, b) for a, b in zip(attention, bias, strict=True)]


def load_correction_model(path: str | Path) -> CorrectionModel:
    """Load the correction network of a checkpoint.

    Raises
    ------
    UserError
        If the file is no checkpoint, or its model has no correction network.
    """
    checkpoint, source = load_checkpoint(path), str(path)
    config = checkpoint.config
    if not configured_to_take_corrections(config):
        model = str(config.get("model"))
        # Of all that have one, CoCorrRec's is the only network that the service runs.
        reason = "trained without its correction network" if is_ours(model) else "no CoCorrRec"
        raise UserError(f"{path} holds {model}, {reason}; the service needs a CoCorrRec with use_gcn: True")
    settings = Record(config, source, "config.")
    width, heads = settings.whole("hidden_size", 1, MOST_LENGTH), settings.whole("num_heads", 1, MOST_LENGTH)
    mini_batch = most = settings.whole("MAX_ITEM_LIST_LENGTH", 1, MOST_LENGTH)
    if config.get("mini_batch_size") is not None:
        mini_batch = settings.whole("mini_batch_size", 1, MOST_LENGTH)
    if width % heads:
        raise UserError(f"{path}: hidden_size {width}, num_heads {heads}, L {most}, K {mini_batch} do not fit")
    weights = checkpoint.weights
    for name, tensor in weights.items():  # also of those that stay on the device, which the fingerprint covers
        if tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UserError(f"{path}: {name} is {kind}, but the model's is float32; weights are not cast")
    try:
        with BuildLimit(len(weights), sum(t.nbytes for t in weights.values())):
            network = GlobalCorrectionNetwork(width, heads, mini_batch)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{path}: its settings do not fit: {str(error).splitlines()[0]}") from None
    load_weights(network, {n[len(_PREFIX) :]: t for n, t in weights.items() if n.startswith(_PREFIX)}, source)
    fingerprint = model_fingerprint({n: t.numpy() for n, t in weights.items()}, config)
    return CorrectionModel(
        fingerprint, network.eval().requires_grad_(False), width, most, Shape(heads, mini_batch, width // heads)
    )
