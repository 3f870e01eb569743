"""The cloud's half of a checkpoint: the correction network, without the item table."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_cocorr.artifact.checkpoint_file import MOST_LENGTH, read_weights
from recbole_cocorr.artifact.fingerprint import model_fingerprint
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record
from recbole_cocorr.models.catalogue import configured_to_take_corrections, is_ours
from recbole_cocorr.service.server.correction_network import CorrectionNetwork
from recbole_cocorr.service.wire import Shape, encode_correction

_PREFIX = "gcn."


@dataclass(frozen=True)
class CorrectionModel:
    """A correction network, ready to run.

    Attributes
    ----------
    fingerprint : str
        Digest of the whole checkpoint, as the device's artifact has it.
    network : CorrectionNetwork
    width : int
        d.
    most_rows : int
        L, rows of hidden states that it reads at most.
    shape : Shape
        Sizes of a correction.
    """

    fingerprint: str
    network: CorrectionNetwork
    width: int
    most_rows: int
    shape: Shape

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
        padded = np.zeros((max(lengths), len(uploads), self.width), np.float32)
        for row, x in enumerate(uploads):
            padded[: len(x), row] = x
        attention, bias = self.network(padded, np.array(lengths, np.int32))
        return [encode_correction(a, b) for a, b in zip(attention, bias, strict=True)]


def load_correction_model(path: str | Path, threads: int = 1) -> CorrectionModel:
    """Load the correction network of a checkpoint.

    Raises
    ------
    UserError
        If the file is no checkpoint, or its model has no correction network.
    """
    (config, weights), source = read_weights(path), str(path)
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
    shape = Shape(heads, mini_batch, width // heads)
    own = {name[len(_PREFIX) :]: array for name, array in weights.items() if name.startswith(_PREFIX)}
    network = CorrectionNetwork(own, width, shape, source, threads)
    return CorrectionModel(model_fingerprint(weights, config), network, width, most, shape)
