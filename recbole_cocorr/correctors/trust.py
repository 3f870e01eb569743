"""How far the device trusts the cloud's scores: three numbers, learned on validation items.

A candidate's score becomes  s + (w_1 + w_2 ln n) asinh(p / scale),  s the device's own score, p the cloud's, n the
clicks that the cloud knows of. asinh is linear for weak evidence and logarithmic for strong; an absolute p, not one
standardised per list, is what tells a strong from a weak one. Without an answer p = 0, and the list is the device's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from recbole_cocorr.artifact.evidence import fuse
from recbole_cocorr.base.errors import UserError

SCALE = 0.01


@dataclass(frozen=True)
class Trust:
    """The learned weights.

    Attributes
    ----------
    base : float
        w_1, in units of the device's score.
    per_log_click : float
        w_2.
    scale : float
        The p at which evidence stops to count linearly.
    """

    base: float
    per_log_click: float
    scale: float = SCALE

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Trust":
        """The trust among the values of a corrector's folder or of an artifact's manifest."""
        return cls(*(content[name] for name in ("base", "per_log_click", "scale")))

    def fuse(self, device: np.ndarray, cloud: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """Corrected scores.

        Parameters
        ----------
        device, cloud : numpy.ndarray, shape [B, C]
            The device's scores, and the cloud's; 0 where it says nothing.
        clicks : numpy.ndarray of int, shape [B]
            Clicks that the cloud's scores were made of.

        Returns
        -------
        numpy.ndarray, shape [B, C]
        """
        return fuse(device, cloud, clicks, self.base, self.per_log_click, self.scale)

    @classmethod
    def fit(
        cls,
        device: np.ndarray,
        cloud: np.ndarray,
        clicks: np.ndarray,
        real: np.ndarray | None = None,
        scale: float = SCALE,
    ) -> "Trust":
        """Maximise the likelihood of the first column among its row (a conditional logit).

        Parameters
        ----------
        device, cloud : numpy.ndarray, shape [B, C]
            Validation lists, the item that was chosen first.
        clicks : numpy.ndarray of int, shape [B]
        real : numpy.ndarray of bool, shape [B, C], optional
            False where there is no candidate.
        scale : float

        Raises
        ------
        UserError
            If there is no list, a score is not finite, or the device's scores are of no use beside the cloud's.
        """
        if len(device) == 0:
            raise UserError("the trust in the cloud is learned on validation items, and no user has one")
        if not (np.isfinite(device).all() and np.isfinite(cloud).all()):
            raise UserError("a score is not finite, so the trust in the cloud cannot be learned")
        evidence = np.arcsinh(cloud.astype(np.float64) / scale)
        terms = np.stack([device, evidence, evidence * np.log(np.maximum(clicks, 1))[:, None]], axis=-1)
        size = terms.reshape(-1, 3).std(axis=0) + 1e-12
        terms /= size
        masked = None if real is None else ~real

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            logits = terms @ weights
            if masked is not None:
                logits[masked] = -np.inf
            logits -= logits.max(axis=1, keepdims=True)
            share = np.exp(logits)
            total = share.sum(axis=1)
            share /= total[:, None]
            value = (np.log(total) - logits[:, 0]).mean()
            return value, ((share[..., None] * terms).sum(axis=1) - terms[:, 0]).mean(axis=0)

        solution = minimize(loss, np.array([1.0, 0.0, 0.0]), jac=True, method="L-BFGS-B").x / size
        if solution[0] <= 0:
            raise UserError(
                "on the validation items the model's own scores add nothing to the cloud's; train the model longer"
            )
        # In units of the device's score, so that without an answer the scores are the device's own.
        return cls(float(solution[1] / solution[0]), float(solution[2] / solution[0]), scale)
