"""What the cloud's item-item scores change in a ranking; numpy alone."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Evidence:
    """The cloud's scores of some candidates.

    Attributes
    ----------
    scores : dict of str to float
        By token; a candidate without one counts 0, as one that no click speaks for.
    clicks : int
        Clicks that they were made of.
    corrector : str
        Fingerprint of what made them; the artifact's trust must have been learned for it.
    """

    scores: dict[str, float]
    clicks: int
    corrector: str


def fuse(
    device: np.ndarray, cloud: np.ndarray, clicks: np.ndarray | int, base: float, per_log_click: float, scale: float
) -> np.ndarray:
    """s + max(0, base + per_log_click ln n) asinh(p / scale).

    Parameters
    ----------
    device, cloud : numpy.ndarray, shape [..., C]
        s and p.
    clicks : numpy.ndarray of int, shape [...], or int
        n.
    base, per_log_click, scale : float
        What :class:`recbole_cocorr.correctors.Trust` learned.
    """
    # Never against the cloud's own order: a long history could otherwise turn the sign.
    weight = np.maximum(base + per_log_click * np.log(np.maximum(clicks, 1)), 0.0)
    return device + np.asarray(weight)[..., None] * np.arcsinh(cloud / scale)
