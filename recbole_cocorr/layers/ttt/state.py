"""What a device holds between two clicks."""

from dataclasses import dataclass, fields

import torch


@dataclass
class TTTState:
    """State of the inner model of a batch of sequences, after any number of clicks.

    Constant in size: with d = 64, H = 4, K = 10 (f = 16) under 14 KB per sequence in float32.

    Attributes
    ----------
    W : torch.Tensor, shape [B, H, f, f]
        Inner weights at the start of the current mini-batch.
    b : torch.Tensor, shape [B, H, f]
        Inner bias at the start of the current mini-batch.
    S_W : torch.Tensor, shape [B, H, f, f]
        Running sum of lr_j k_j^T G_j over the clicks of the current mini-batch.
    S_b : torch.Tensor, shape [B, H, f]
        Running sum of lr_j G_j.
    position : torch.Tensor of int64, shape [B]
        Clicks in the current mini-batch, 0 .. K - 1.
    keys : torch.Tensor, shape [B, H, K, f]
        Keys of the current mini-batch, zero from ``position`` on. Needed by a correction only.
    scaled_grads : torch.Tensor, shape [B, H, K, f]
        lr_j G_j of the current mini-batch, zero from ``position`` on.
    """

    W: torch.Tensor
    b: torch.Tensor
    S_W: torch.Tensor
    S_b: torch.Tensor
    position: torch.Tensor
    keys: torch.Tensor
    scaled_grads: torch.Tensor

    def to_dict(self) -> dict[str, torch.Tensor]:
        """The state as named tensors, contiguous, for saving."""
        return {f.name: getattr(self, f.name).contiguous() for f in fields(self)}

    @classmethod
    def from_dict(cls, tensors: dict[str, torch.Tensor]) -> "TTTState":
        """Rebuild a state from :meth:`to_dict`'s tensors.

        Raises
        ------
        ValueError
            If a tensor is missing or of a shape that does not fit the others.
        """
        names = [f.name for f in fields(cls)]
        missing = [n for n in names if n not in tensors]
        if missing:
            raise ValueError(f"the TTT state lacks {', '.join(missing)}; it must hold {', '.join(names)}")
        keys = tensors["keys"]
        if keys.dim() != 4:
            raise ValueError(f"keys of a TTT state is [B, H, K, f]; it has shape {tuple(keys.shape)}")
        rows, heads, size, width = keys.shape
        shapes = {
            "W": (rows, heads, width, width),
            "b": (rows, heads, width),
            "S_W": (rows, heads, width, width),
            "S_b": (rows, heads, width),
            "position": (rows,),
            "keys": (rows, heads, size, width),
            "scaled_grads": (rows, heads, size, width),
        }
        for name, shape in shapes.items():
            if tuple(tensors[name].shape) != shape:
                raise ValueError(
                    f"{name} of a TTT state has shape {tuple(tensors[name].shape)}; "
                    f"beside these keys it must be {shape}"
                )
        position = tensors["position"]
        if position.dtype != torch.int64 or bool(((position < 0) | (position >= size)).any()):
            raise ValueError(f"position of a TTT state holds whole numbers from 0 to {size - 1} (int64)")
        return cls(**{n: tensors[n] for n in names})

    def index_select(self, rows: torch.Tensor) -> "TTTState":
        """The states of some rows."""
        return TTTState(**{n: t[rows] for n, t in self.to_dict().items()})

    def where(self, rows: torch.Tensor, other: "TTTState") -> "TTTState":
        """This state where ``rows`` [B] is true, and ``other`` elsewhere."""
        new, old = self.to_dict(), other.to_dict()
        return TTTState(**{n: torch.where(rows.view(-1, *[1] * (t.dim() - 1)), t, old[n]) for n, t in new.items()})

    def detach(self) -> "TTTState":
        """The same state, cut off from autograd."""
        return TTTState(**{n: t.detach() for n, t in self.to_dict().items()})

    def to(self, *args, **kwargs) -> "TTTState":
        """The state on another device; ``position`` keeps its type."""
        moved = {n: t.to(*args, **kwargs) for n, t in self.to_dict().items()}
        moved["position"] = self.position.to(moved["keys"].device)
        return TTTState(**moved)
