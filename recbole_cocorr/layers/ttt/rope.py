"""Rotary position embedding over interleaved pairs (eq. 10)."""

import torch


def rope_table(length: int, width: int, base: float = 10000.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of the rotation angles of positions 0 .. length - 1.

    Parameters
    ----------
    length : int
    width : int
        Width f of a head; even.
    base : float

    Returns
    -------
    tuple of torch.Tensor, each [length, f / 2], float64
        Angle of pair p at position t: t * base ** (-2 p / f).

    Raises
    ------
    ValueError
        If ``width`` is odd.
    """
    if width % 2:
        raise ValueError(f"RoPE turns pairs, so the width of a head must be even; it is {width}")
    frequency = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the pairs (x0, x1), (x2, x3), ... by their angles.

    Parameters
    ----------
    x : torch.Tensor, shape [..., f]
    cos, sin : torch.Tensor, broadcastable to [..., f / 2]
    """
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)  # unbind: its backward is one stack, a slice's fills zeros
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def rotation_matrices(cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The rotations as matrices, for a vector on their left: fewer operations than turning pairs.

    Parameters
    ----------
    cos, sin : torch.Tensor, shape [L, f / 2]

    Returns
    -------
    torch.Tensor, shape [L, f, f]
    """
    matrices = torch.diag_embed(cos.repeat_interleave(2, dim=1))
    even, odd = torch.arange(0, matrices.shape[1], 2), torch.arange(1, matrices.shape[1], 2)
    matrices[:, even, odd], matrices[:, odd, even] = sin, -sin
    return matrices


def apply_rope(x: torch.Tensor, position: torch.Tensor, base: float = 10000.0) -> torch.Tensor:
    """Rotate ``x`` by its positions.

    Parameters
    ----------
    x : torch.Tensor, shape [..., L, f]
    position : torch.Tensor of int64, shape [L] or broadcastable to [..., L]
    base : float

    Returns
    -------
    torch.Tensor, shape [..., L, f]
    """
    length = int(position.max()) + 1 if position.numel() else 0
    cos, sin = rope_table(length, x.shape[-1], base)
    return rotate(x, cos.to(x)[position], sin.to(x)[position])
