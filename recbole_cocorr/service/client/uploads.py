"""What may leave the device in the place of plain hidden states, each with its price. numpy alone."""

import math

import numpy as np

from recbole_cocorr.base.checks import shown
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.service.wire import ENCODINGS, decode_rows, encode_rows, row_bytes


def log_normal_cdf(x: float) -> float:
    """log Phi(x), also where Phi(x) is too small for a float."""
    if x > -10:
        return math.log(math.erfc(-x / math.sqrt(2)) / 2)
    t = 1 / (x * x)
    tail = 1 - t * (1 - 3 * t * (1 - 5 * t * (1 - 7 * t)))
    return -x * x / 2 - math.log(-x) - math.log(2 * math.pi) / 2 + math.log(tail)


def sensitivity_of(norm_weight: np.ndarray) -> float:
    """Largest Euclidean distance that two hidden states can have, whatever the catalogue.

    A hidden state is a row of root mean square 1 times the norm's weights w [d], so it is at most sqrt(d) max |w| long.
    """
    return 2 * math.sqrt(len(norm_weight)) * float(np.abs(norm_weight).max())


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

    Raises
    ------
    UserError
        If epsilon or delta is out of range.
    """

    def spent(sigma: float) -> float:
        half, rest = sensitivity / (2 * sigma), epsilon * sigma / sensitivity
        return math.exp(log_normal_cdf(half - rest)) - math.exp(epsilon + log_normal_cdf(-half - rest))

    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (epsilon, delta))
    if not (numbers and 0 < epsilon <= 1e6 and 0 < delta < 1):
        raise UserError(
            f"epsilon is {shown(epsilon)} and delta {shown(delta)}; they must be in (0, 1000000] and (0, 1)"
        )
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
    """Adds Gaussian noise to each hidden state, for :class:`~recbole_cocorr.service.Client`'s ``change``.

    Rows that are those of the call before get the same noise, so a request that is made again spends nothing. Others
    get new noise: uploading a click again with those after it spends its budget again.

    Parameters
    ----------
    sigma : float
    seed : int, optional
        For experiments; the system's randomness, if left out.
    """

    def __init__(self, sigma: float, seed: int | None = None):
        self.sigma, self._generator = sigma, np.random.default_rng(seed)
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Rows [n, d] with noise."""
        # Else a service that fails on purpose would be sent the same click under ever new noise, and could average it.
        last = self._last  # once: another thread may put its own there
        if last is None or not np.array_equal(last[0], rows):
            noise = self.sigma * self._generator.standard_normal(rows.shape)
            self._last = last = rows.copy(), (rows + noise).astype(np.float32)
        return last[1].copy()
