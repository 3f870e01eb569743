"""Histories in a random order, always the same one: what a model reaches where it cannot know the order."""

import numpy as np
import torch

_ODD = np.uint64(0x9E3779B97F4A7C15)


def shuffled_steps(end: torch.Tensor, length: torch.Tensor, width: int, seed: int) -> torch.Tensor:
    """A permutation of the real steps of each row.

    It depends on the row and the seed alone: the same in every epoch, batch and process, and for every model.

    Parameters
    ----------
    end : torch.Tensor of int64, shape [B]
        Where the row's history ends in the interactions; tells rows apart.
    length : torch.Tensor of int64, shape [B]
    width : int
        L.
    seed : int

    Returns
    -------
    torch.Tensor of int64, shape [B, L]
        The steps 0 .. length - 1 in another order, then those of the padding.
    """
    steps = np.arange(width)
    with np.errstate(over="ignore"):  # whole numbers modulo 2^64
        row = _mixed(end.numpy().astype(np.uint64) + _mixed(np.uint64(seed) + _ODD))
        keys = _mixed(row[:, None] + _ODD * (steps + 1).astype(np.uint64))
    keys[steps >= length.numpy()[:, None]] = np.iinfo(np.uint64).max  # a sort that keeps the order of equals
    return torch.from_numpy(np.argsort(keys, axis=1, kind="stable"))


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finishing function of the generator SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
