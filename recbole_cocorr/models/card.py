"""A card: all that the rest of the package may know of one model.

A model is a folder of this package. Its ``card.py`` makes ``CARD``; other files say by being there what the model can
do:

``network.py``
    The class, named as the card is. Without it the name is that of one of RecBole's models.
``step.py``
    ``stepper(model)``: how the model reads one click at a time, and what state it keeps for that.
``graphs.py``
    ``graphs(model)``: the model as small graphs for a device.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Look:
    """How a model is drawn: the same colour, marker and line in every figure.

    Attributes
    ----------
    colour : str
        ``#rrggbb``.
    marker : str
        matplotlib's name.
    dash : str or tuple
        Line style of matplotlib.
    hollow : bool
        Whether markers are not filled.
    width : float
        Width of the line in points.
    """

    colour: str
    marker: str
    dash: Any = "-"
    hollow: bool = False
    width: float = 1.5

    def line(self) -> dict[str, Any]:
        """Matplotlib's keyword arguments of a line."""
        return {"color": self.colour, "linestyle": self.dash, "linewidth": self.width, **self.points()}

    def points(self) -> dict[str, Any]:
        """Matplotlib's keyword arguments of markers alone."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "markersize": 5.5,
            "markerfacecolor": "none" if self.hollow else self.colour,
            "markeredgecolor": self.colour,
            "markeredgewidth": 1.3,
        }


@dataclass(frozen=True)
class Variant:
    """One row of the tables: a model with its published settings.

    Attributes
    ----------
    label : str
        As tables and figures name it.
    look : Look
    settings : mapping
        What differs from the model's property files.
    """

    label: str
    look: Look
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """What a model is called, how it is compared and what it can do.

    Attributes
    ----------
    name : str
        The class, and what ``--model`` says.
    folder : str
        Module path of the model's folder; ``__package__`` in its ``card.py``.
    variants : tuple of Variant
        The rows that a benchmark runs unless it is told otherwise.
    ours : bool
        Whether the model is this project's own: no baseline.
    trained : bool
        False for a model that learns nothing by gradient: it has no learning rate to choose and no cost to count.
    own_loss : str
        A sentence for the tables, if the model's loss is not the protocol's.
    correction_setting : str
        Name of the setting under which the model takes corrections from the cloud; empty if it never does.
    """

    name: str
    folder: str
    variants: tuple[Variant, ...] = ()
    ours: bool = False
    trained: bool = True
    own_loss: str = ""
    correction_setting: str = ""

    def network(self) -> type | None:
        """The model's class in its folder; None where it is one of RecBole's."""
        return self._part("network", self.name)

    def stepper(self) -> Callable[[Any], Any] | None:
        """``stepper`` of ``step.py``; None for a model that reads its history again for each click."""
        return self._part("step", "stepper")

    def graphs(self) -> Callable[[Any], Any] | None:
        """``graphs`` of ``graphs.py``; None for a model that cannot be exported to a device."""
        return self._part("graphs", "graphs")

    def can(self, part: str) -> bool:
        """Whether the folder holds the file ``part``; imports nothing of it."""
        return importlib.util.find_spec(f"{self.folder}.{part}") is not None

    def _part(self, part: str, attribute: str) -> Any:
        if not self.can(part):
            return None
        return getattr(importlib.import_module(f"{self.folder}.{part}"), attribute)
