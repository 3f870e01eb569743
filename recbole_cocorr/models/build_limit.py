"""A bound on what a model may cost to build, for settings that come from a file."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

# RecBole's models run at most 5 operations for a weight, and make 1.3 times the bytes of their weights. What is spare
# is for small models with large masks.
_OPERATIONS, _SPARE_OPERATIONS = 20, 500
_BYTES, _SPARE_BYTES = 4, 256 << 20


class BuildLimit(TorchDispatchMode):
    """Within the block, torch refuses an operation that a model of these weights cannot need, before it is run.

    The settings of a checkpoint may ask for any size: ten million layers, or a mask of 20,000 x 20,000. Only when the
    model is built can its shapes be compared with the file's, so the build itself is bounded: by the bytes of
    everything that it makes, and by the number of its operations.

    Parameters
    ----------
    tensors, size : int
        Number and bytes of the weights in the file.

    Raises
    ------
    ValueError
        From within the block.
    """

    def __init__(self, tensors: int, size: int):
        super().__init__()
        self._operations = _SPARE_OPERATIONS + _OPERATIONS * tensors
        self._bytes = _SPARE_BYTES + _BYTES * size

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        self._operations -= 1
        self._bytes -= _size_of(func, args, kwargs)
        if self._operations < 0 or self._bytes < 0:
            raise ValueError("they make a model far larger than the weights in the file")
        return func(*args, **kwargs)


def _size_of(func: Any, args: tuple, kwargs: dict) -> int:
    """Bytes of what an operation would make anew, found out on arrays without contents."""
    if any(a.alias_info is not None for a in func._schema.returns):  # in place, or a view
        return 0
    args, kwargs = tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
    if "device" in kwargs:
        kwargs["device"] = "meta"
    try:
        result = func(*args, **kwargs)
    except RuntimeError:  # it depends on the contents, or is wrong in a way that it will say itself
        return 0
    return sum(t.numel() * t.element_size() for t in tree_leaves(result) if isinstance(t, torch.Tensor))
