"""The FLOPs that really run: every operation is seen where torch dispatches it, below autograd and modules.

Module hooks would miss what happens inside a layer (the TTT layer's inner model, a scan), and torch's own
``FlopCounterMode`` counts matrix products only. This counts both, and refuses what it does not know.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_cocorr.experiments.cost import operations


@dataclass(frozen=True)
class Flops:
    """Floating-point operations; the convention stands in :mod:`recbole_cocorr.experiments.cost.operations`.

    Attributes
    ----------
    products : int
        Operations of matrix products and convolutions.
    elementwise : int
        All others.
    """

    products: int = 0
    elementwise: int = 0

    @property
    def total(self) -> int:
        """Both."""
        return self.products + self.elementwise

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.products + other.products, self.elementwise + other.elementwise)

    def __sub__(self, other: "Flops") -> "Flops":
        return Flops(self.products - other.products, self.elementwise - other.elementwise)


class FlopCounter(TorchDispatchMode):
    """Inside, every operation of torch is counted.

    Attributes
    ----------
    products, elementwise : collections.Counter
        FLOPs by operation.

    Raises
    ------
    UncountedOperation
        If the table does not know an operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[str] = Counter()
        self.elementwise: Counter[str] = Counter()

    @property
    def flops(self) -> Flops:
        """What was counted so far."""
        return Flops(sum(self.products.values()), sum(self.elementwise.values()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not operations.is_known(func):  # in inference mode what is made of other operations arrives whole
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        name = str(func._overloadpacket)
        product = operations.products(func, args, kwargs, out)
        if product:
            self.products[name] += product
        other = operations.elementwise(func, args, kwargs, out)
        if other:
            self.elementwise[name] += other
        return out


@torch.no_grad()
def count_flops(work: Callable[[], Any]) -> Flops:
    """FLOPs of a call.

    Parameters
    ----------
    work : callable
        Called twice: the first call makes what stays for later ones (a table of angles), and is not counted.

    Returns
    -------
    Flops
    """
    work()
    with FlopCounter() as counter:
        work()
    return counter.flops
