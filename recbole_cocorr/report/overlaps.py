"""Lines and points that lie on each other, found and drawn so that each of them is seen."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from recbole_cocorr.models.card import Look

# Nearer than this share of the axis everywhere, two models look like one.
NEAR = 0.015
Points = Sequence[tuple[float, float]]


def together(curves: Mapping[str, Points], log_x: bool = False, log_y: bool = False) -> list[list[str]]:
    """The sets of two or more models whose points cannot be told apart in a figure, in the models' order.

    Parameters
    ----------
    curves : mapping of str to sequence of (x, y)
    log_x, log_y : bool
        Whether the axis is logarithmic; its values are then above 0.
    """
    every = [point for points in curves.values() for point in points]
    scales = [_shares([p[axis] for p in every], log) for axis, log in enumerate((log_x, log_y))]
    places = {
        name: np.array([[scale(value) for scale, value in zip(scales, point, strict=True)] for point in points])
        for name, points in curves.items()
    }
    sets: list[list[str]] = []
    for name, place in places.items():
        for others in sets:
            first = places[others[0]]
            if first.shape == place.shape and np.abs(first - place).max(initial=0.0) < NEAR:
                others.append(name)
                break
        else:
            sets.append([name])
    return [names for names in sets if len(names) > 1]


def _shares(values: Sequence[float], log: bool):
    """A function from a value to its share of the axis."""

    def position(value: float) -> float:
        return math.log10(value) if log and value > 0 else value

    low, high = min(map(position, values), default=0.0), max(map(position, values), default=1.0)
    return lambda value: (position(value) - low) / ((high - low) or 1.0)


def layered(look: Look, name: str, sets: Sequence[Sequence[str]], line: bool = True) -> dict:
    """The keyword arguments of a line, or of points, that stay visible under the models drawn later at the same place.

    The first of a set is the widest; each later one lies on it, narrower.
    """
    above = next((len(names) - 1 - list(names).index(name) for names in sets if name in names), 0)
    style = look.line() if line else look.points()
    if line:
        style["linewidth"] += 1.9 * above
    style["markersize"] += 2.7 * above
    return style


def in_words(sets: Sequence[Sequence[str]]) -> str:
    """A sentence for the caption: who lies on whom; empty where nobody does."""
    if not sets:
        return ""
    return f" At the same place, the widest marker below: {'; '.join(', '.join(names) for names in sets)}."
