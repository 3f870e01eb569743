"""What tells two models apart, in the device's artifact and in the cloud."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

# The catalogue may change under a model; a correction is of the model.
_CATALOGUE = "item_embedding.weight"
_SETTINGS = ("model", "hidden_size", "num_heads", "num_layers", "mini_batch_size", "inner_lr", "MAX_ITEM_LIST_LENGTH")


def catalogue_fingerprint(token_bytes: str, token_offsets: str) -> str:
    """16 bytes in hexadecimal that two catalogues share only if their items have the same rows.

    Parameters
    ----------
    token_bytes, token_offsets : str
        The checksums of these two arrays of the vocabulary, as a manifest has them.
    """
    return hashlib.blake2b(f"{token_bytes}\n{token_offsets}".encode(), digest_size=16).hexdigest()


def model_fingerprint(weights: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> str:
    """BLAKE2b, 16 bytes in hexadecimal, of a checkpoint's weights but the item embedding, and of its settings.

    Parameters
    ----------
    weights : mapping of str to numpy.ndarray
        All weights of the checkpoint, also those that the device does not run.
    config : mapping
        The checkpoint's settings.
    """
    hasher = hashlib.blake2b(digest_size=16)
    for key in _SETTINGS:
        hasher.update(f"{key}={config.get(key)!r}\n".encode())
    for name in sorted(weights):
        if name == _CATALOGUE:
            continue
        array = np.ascontiguousarray(weights[name])
        hasher.update(f"{name}:{array.dtype}:{array.shape}\n".encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest()
