"""A checkpoint file as its readers without torch see it: format, digest, settings and weights."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr.base.checkpoints import checkpoint_file
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record, parse_json, versioned
from recbole_cocorr.base.tensor_file import read_tensors

FORMAT = "recbole_cocorr.training.checkpoint"
FORMAT_VERSION = 1
# The longest window that a checkpoint may speak of, as in an artifact.
MOST_LENGTH = 1 << 16
# Names of the weights begin with it.
WEIGHTS = "model."


def digest_of_checkpoint(
    tensors: Iterable[tuple[str, str, tuple[int, ...], memoryview]], texts: Mapping[str, str]
) -> str:
    """BLAKE2b, 16 bytes in hexadecimal, of a checkpoint's tensors and texts.

    Parameters
    ----------
    tensors : iterable of (str, str, tuple of int, memoryview)
        Name, torch's name of the type ("torch.float32"), shape and bytes, in the order of the names.
    texts : mapping
        The file's metadata without the digest.
    """
    hasher = hashlib.blake2b(digest_size=16)
    for name in sorted(texts):
        hasher.update(f"{name}={texts[name]}\n".encode())
    for name, dtype, shape, content in tensors:
        hasher.update(f"{name}:{dtype}:{shape}\n".encode())
        hasher.update(content)
    return hasher.hexdigest()


def read_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The settings and the weights of a checkpoint.

    Raises
    ------
    UserError
        If the file is missing, is no checkpoint of this package, is of a newer format, is damaged, or holds a weight
        that is not finite or not float32: weights are not cast.
    """
    path = checkpoint_file(path)
    texts, tensors = read_tensors(path, "checkpoint", "np")
    source = str(path)
    head = versioned(texts, source, FORMAT, "checkpoint", str(FORMAT_VERSION))
    digest = texts.pop("digest", "")
    arrays = ((name, tensors[name]) for name in sorted(tensors))
    parts = ((n, f"torch.{a.dtype.name}", a.shape, memoryview(a.reshape(-1).view(np.uint8))) for n, a in arrays)
    if digest != digest_of_checkpoint(parts, texts):
        raise UserError(f"{source} is damaged: its contents do not match its checksum")
    content = Record(parse_json(head.text("content"), source, nan=True), source)
    weights = {name[len(WEIGHTS) :]: array for name, array in tensors.items() if name.startswith(WEIGHTS)}
    for name, array in weights.items():
        if array.dtype != np.float32:
            raise UserError(f"{source}: {name} is {array.dtype.name}, but the model's is float32; weights are not cast")
        if not np.isfinite(array).all():
            raise UserError(f"{source}: {name} holds NaN or infinity; the training went wrong, or the file did")
    return content.record("config").content, weights
