"""What may leave the device in the place of plain hidden states, each with its price."""

import math

import numpy as np
from scipy.special import log_ndtr

from recbole_cocorr.cloud.wire import ENCODINGS, decode_rows, encode_rows, row_bytes


def gaussian_sigma(sensitivity: float, epsilon: float, delta: float) -> float:
    """Least deviation of Gaussian noise that makes a value (epsilon, delta)-differentially private.

    The exact condition, for any epsilon above 0:
    Phi(s / 2 sigma - epsilon sigma / s) - e^epsilon Phi(-s / 2 sigma - epsilon sigma / s) <= delta.

    Parameters
    ----------
    sensitivity : float
        s, largest Euclidean distance of two values.
    epsilon, delta : float

    Returns
    -------
    float
        sigma.
    """

    def spent(sigma: float) -> float:
        half, rest = sensitivity / (2 * sigma), epsilon * sigma / sensitivity
        return math.exp(log_ndtr(half - rest)) - math.exp(epsilon + log_ndtr(-half - rest))

    low, high = 1e-9 * sensitivity, sensitivity
    while spent(high) > delta:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > delta else (low, middle)
    return high


def coded(rows: np.ndarray, encoding: str) -> np.ndarray:
    """Rows [n, d] as the cloud reads them from an encoding."""
    code = ENCODINGS[encoding]
    payload = encode_rows(rows, code)
    return decode_rows(payload, code, rows.shape[1], len(payload) // row_bytes(code, rows.shape[1]))


def rotation(width: int, seed: int) -> np.ndarray:
    """An orthogonal matrix [d, d], drawn evenly from all of them."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))
    return (q * np.sign(np.diag(r))).astype(np.float32)


class NoiseOf:
    """Adds Gaussian noise to each hidden state, for :class:`~recbole_cocorr.cloud.Client`'s ``change``.

    Every call draws anew: uploading the same click again spends its budget again.

    Parameters
    ----------
    sigma : float
    seed : int, optional
        For experiments; the system's randomness, if left out.
    """

    def __init__(self, sigma: float, seed: int | None = None):
        self.sigma, self._generator = sigma, np.random.default_rng(seed)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Rows [n, d] with noise."""
        return (rows + self.sigma * self._generator.standard_normal(rows.shape)).astype(np.float32)
