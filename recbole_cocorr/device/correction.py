"""What a device sends to the cloud, and what it takes back."""

import math
from typing import Any, NamedTuple

import numpy as np

from recbole_cocorr.base.errors import UserError


class Upload(NamedTuple):
    """The hidden states of the last clicks, and which clicks they are of.

    Attributes
    ----------
    hidden_states : numpy.ndarray of float32, shape [n, d]
        X of the last n clicks, n at most L, oldest first. With L = 10 and d = 64 these are 2,560 bytes.
    clicks : int
        Clicks that the session had read: what :meth:`Session.apply` must be told beside the answer.
    fingerprint : str
        The model's fingerprint.
    """

    hidden_states: np.ndarray
    clicks: int
    fingerprint: str


class Correction(NamedTuple):
    """What the cloud sends back, not yet normalised.

    Attributes
    ----------
    attention : numpy.ndarray of float32, shape [H, K, K]
        A^; the device reads its lower triangle.
    bias : numpy.ndarray of float32, shape [H, K, f]
        B^.
    """

    attention: np.ndarray
    bias: np.ndarray


def checked(correction: Any, shapes: dict[str, list[int]]) -> Correction:
    """The two arrays of a correction, as the graph reads them.

    Raises
    ------
    UserError
        If they are not two arrays of finite numbers with the shapes that the model reads.
    """
    try:
        attention, bias = correction
    except (TypeError, ValueError):
        raise UserError("a correction is a pair of arrays: attention [H, K, K] and bias [H, K, f]") from None
    arrays = []
    for name, value in (("attention", attention), ("bias", bias)):
        shape = tuple(shapes[name])
        try:
            array = np.asarray(value)
            kind = array.dtype.kind
        except (TypeError, ValueError):
            array, kind = np.empty(0), "O"
        if kind not in "fiu":
            raise UserError(f"{name} of the correction holds no numbers")
        # A batch of one, as a network gives it, is one correction.
        if array.shape == (1, *shape):
            array = array[0]
        if array.shape != shape:
            raise UserError(f"{name} of the correction has shape {array.shape}; this model reads {shape}")
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(array, dtype=np.float32)
        if not math.isfinite(float(np.abs(array).max())):
            raise UserError(f"{name} of the correction holds numbers that are not finite")
        arrays.append(array)
    return Correction(*arrays)
