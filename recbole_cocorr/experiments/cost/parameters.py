"""How many numbers a model has learned, where they live, and which of them are one row per item."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

# Modules that stay in the cloud, by the first part of their parameters' names.
CLOUD = frozenset({"gcn"})


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters.

    Attributes
    ----------
    total : int
    items : int
        Parameters that grow with the catalogue: an embedding of the items, a bias for each.
    cloud : int
        Parameters that stay in the cloud.
    """

    total: int
    items: int
    cloud: int

    @property
    def without_items(self) -> int:
        """All but the items'."""
        return self.total - self.items

    @property
    def device(self) -> int:
        """On the device, but the items'."""
        return self.without_items - self.cloud


def per_item_names(build: Callable[[int], nn.Module]) -> frozenset[str]:
    """Names of the parameters whose shape depends on the number of items, found by building two small catalogues.

    Parameters
    ----------
    build : callable
        Number of items -> model.
    """
    small, larger = (dict(build(n).named_parameters()) for n in (4, 5))
    return frozenset(name for name, p in small.items() if p.shape != larger[name].shape)


def count_parameters(model: nn.Module, per_item: frozenset[str]) -> Parameters:
    """Count a model's parameters.

    Parameters
    ----------
    model : torch.nn.Module
    per_item : frozenset of str
        From :func:`per_item_names`.
    """
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    return Parameters(
        total=sum(sizes.values()),
        items=sum(n for name, n in sizes.items() if name in per_item),
        cloud=sum(n for name, n in sizes.items() if name.partition(".")[0] in CLOUD),
    )
