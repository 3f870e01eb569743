"""The parameters of the layer, and what clicks become by them: projections, rates, gradients, outputs."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from recbole_cocorr.layers.ttt.equations import InnerModel, at_least_float32, learning_rates, token_steps
from recbole_cocorr.layers.ttt.inner_gradient import NORM_EPS, inner_gradient
from recbole_cocorr.layers.ttt.rope import rope_table, rotate, rotation_matrices
from recbole_cocorr.layers.ttt.state import TTTState


class Tables(NamedTuple):
    """The constants of a layer.

    Attributes
    ----------
    cos, sin : torch.Tensor, shape [K, f / 2]
        Of RoPE's angles, by slot.
    shares : torch.Tensor, shape [K]
        1 / i for i = 1 .. K.
    lower : torch.Tensor of bool, shape [K, K]
        The clicks that each slot may read.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    shares: torch.Tensor
    lower: torch.Tensor


class Projections(NamedTuple):
    """What clicks become before the inner model sees them, float32 at least.

    Attributes
    ----------
    queries : torch.Tensor, shape [H, B, L, f], or None where nobody asks for the outputs
    keys, values : torch.Tensor, shape [H, B, L, f]
    rates : torch.Tensor, shape [H, B, L, 1]
        Inner learning rates lr.
    """

    queries: torch.Tensor | None
    keys: torch.Tensor
    values: torch.Tensor
    rates: torch.Tensor

    def transposed(self) -> "Projections":
        """Rows before heads: [B, H, L, ...]."""
        return Projections(*(t.transpose(0, 1) for t in self))

    def split(self, size: int) -> Iterator["Projections"]:
        """Runs of ``size`` clicks, one after another."""
        # split, not slices: the backward of a slice fills zeros of the whole
        keys, values, rates = (t.split(size, dim=2) for t in self[1:])
        queries = [None] * len(keys) if self.queries is None else self.queries.split(size, dim=2)
        for run in zip(queries, keys, values, rates, strict=True):
            yield Projections(*run)


class TTTWeights(nn.Module):
    """The parameters of a TTT-Linear layer.

    Parameters
    ----------
    hidden_size : int
        d.
    num_heads : int
        H; the width f = d / H of a head must be a whole, even number.
    mini_batch_size : int
        K, the clicks that are learned from together.
    inner_lr : float
        Base learning rate of the inner model.
    rope_base : float
    initializer_range : float
        Standard deviation of the initial projections.

    Raises
    ------
    ValueError
        For sizes that do not fit.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        mini_batch_size: int,
        inner_lr: float = 1.0,
        rope_base: float = 10000.0,
        initializer_range: float = 0.02,
    ) -> None:
        super().__init__()
        if min(hidden_size, num_heads, mini_batch_size) < 1:
            raise ValueError("hidden_size, num_heads and mini_batch_size must be at least 1")
        if hidden_size % num_heads:
            raise ValueError(f"hidden_size {hidden_size} is no multiple of num_heads {num_heads}")
        self.hidden_size, self.num_heads, self.mini_batch_size = hidden_size, num_heads, mini_batch_size
        self.inner_lr = inner_lr
        width = self.head_width = hidden_size // num_heads

        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.o_proj):
            nn.init.normal_(projection.weight, std=initializer_range)
        self.inner_lr_weight = nn.Parameter(torch.randn(num_heads, hidden_size) * 0.02)
        self.inner_lr_bias = nn.Parameter(torch.zeros(num_heads))
        self.token_scale = nn.Parameter(torch.zeros(mini_batch_size))
        self.inner_norm_weight = nn.Parameter(torch.ones(num_heads, width))
        self.inner_norm_bias = nn.Parameter(torch.zeros(num_heads, width))
        self.W0 = nn.Parameter(torch.randn(num_heads, width, width) * 0.02)
        self.b0 = nn.Parameter(torch.zeros(num_heads, width))
        self.post_norm = nn.LayerNorm(hidden_size, eps=NORM_EPS)

        self.rope_base = rope_base
        rope_table(1, width)  # refuses an odd width here, not in the first batch
        # Constants by type and device: exact in float64, and no part of a checkpoint.
        self._tables: dict[tuple[torch.dtype, torch.device], Tables] = {}
        self._turns: dict[tuple[torch.dtype, torch.device], torch.Tensor] = {}

    def extra_repr(self) -> str:
        return f"{self.hidden_size}, num_heads={self.num_heads}, mini_batch_size={self.mini_batch_size}"

    # -- constants -------------------------------------------------------------------------------

    @property
    def base_rate(self) -> float:
        """base_lr / f, the constant part of the inner learning rates."""
        return self.inner_lr / self.head_width

    def tables(self, like: torch.Tensor) -> Tables:
        """The constants, of the type and on the device of ``like``."""
        key = (like.dtype, like.device)
        if key not in self._tables:
            size = self.mini_batch_size
            # Also where the first use is inference: what that mode makes cannot be trained with later.
            with torch.inference_mode(False), torch.no_grad():
                cos, sin = rope_table(size, self.head_width, self.rope_base)
                shares = 1.0 / torch.arange(1, size + 1, dtype=torch.float64)
                lower = torch.ones(size, size, dtype=torch.bool, device=like.device).tril()
                exact = [t.to(dtype=like.dtype, device=like.device) for t in (cos, sin, shares)]
            self._tables[key] = Tables(*exact, lower)
        return self._tables[key]

    def turns(self, like: torch.Tensor) -> torch.Tensor:
        """RoPE's rotations as complex numbers [K, f / 2] of the precision of ``like``."""
        key = (like.dtype, like.device)
        if key not in self._turns:
            with torch.inference_mode(False), torch.no_grad():
                tables = self.tables(like)
                self._turns[key] = torch.complex(tables.cos, tables.sin)
        return self._turns[key]

    def rotation_matrices(self, like: torch.Tensor) -> torch.Tensor:
        """RoPE's rotations as matrices [K, f, f] that a query or key is multiplied with from the right."""
        tables = self.tables(like)
        return rotation_matrices(tables.cos, tables.sin)

    def token_steps(self, like: torch.Tensor) -> torch.Tensor:
        """tau_i for i = 1 .. K; shape [K], of the type of ``like``."""
        return token_steps(self.tables(like).shares, self.token_scale)

    def initial_model(self, like: torch.Tensor) -> InnerModel:
        """W0 [H, f, f] and b0 [H, 1, 1, f] of the type of ``like``, shared by all rows."""
        return InnerModel(self.W0.to(like.dtype), self.b0.to(like.dtype)[:, None, None, :])

    def initial_state(self, batch_size: int) -> TTTState:
        """The state before the first click: the learned W0 and b0."""
        heads, size, width = self.num_heads, self.mini_batch_size, self.head_width
        W0, b0 = self.W0, self.b0
        if W0.dtype in (torch.float16, torch.bfloat16):
            W0, b0 = W0.float(), b0.float()
        return TTTState(
            W=W0.expand(batch_size, -1, -1, -1),
            b=b0.expand(batch_size, -1, -1),
            S_W=W0.new_zeros(batch_size, heads, width, width),
            S_b=W0.new_zeros(batch_size, heads, width),
            position=torch.zeros(batch_size, dtype=torch.int64, device=W0.device),
            keys=W0.new_zeros(batch_size, heads, size, width),
            scaled_grads=W0.new_zeros(batch_size, heads, size, width),
        )

    # -- a click before the inner model ----------------------------------------------------------

    def project(self, x: torch.Tensor, slots: torch.Tensor, with_queries: bool = True) -> Projections:
        """Projections of the clicks x [B, L, d], which stand at ``slots`` [L] or [B, L] of their mini-batches."""
        queries = None
        if with_queries:
            queries, keys = self._rotate(self._by_head(x, self.q_proj, self.k_proj), slots).unbind(0)
        else:
            keys = self._rotate(self._by_head(x, self.k_proj).squeeze(0), slots)
        return Projections(queries, keys, self._by_head(x, self.v_proj).squeeze(0), self._rates(x))

    def queries(self, x: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """Queries [H, B, L, f] of the clicks x [B, L, d] alone."""
        return self._rotate(self._by_head(x, self.q_proj).squeeze(0), slots)

    def _by_head(self, x: torch.Tensor, *projections: nn.Linear) -> torch.Tensor:
        """P projections of x [B, L, d] by heads: [P, H, B, L, f]."""
        weight = projections[0].weight if len(projections) == 1 else torch.cat([p.weight for p in projections])
        return (
            at_least_float32(F.linear(x, weight))
            .unflatten(-1, (len(projections), self.num_heads, -1))
            .permute(2, 3, 0, 1, 4)
        )

    def _rates(self, x: torch.Tensor) -> torch.Tensor:
        """lr of x [B, L, d]: [H, B, L, 1]."""
        gates = at_least_float32(F.linear(x, self.inner_lr_weight))
        return learning_rates(gates, self.inner_lr_bias, self.base_rate).permute(2, 0, 1).unsqueeze(-1)

    def _rotate(self, x: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """RoPE of [..., B, L, f]."""
        tables = self.tables(x)
        return rotate(x, tables.cos[slots], tables.sin[slots])

    # -- ... and after it ------------------------------------------------------------------------

    def inner_gradient(self, keys: torch.Tensor, values: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
        """G of clicks, from their Z (eqs. 4-5); all [H, ..., f]."""
        shape = (self.num_heads, *[1] * (prediction.dim() - 2), self.head_width)
        gamma, beta = self.inner_norm_weight.view(shape), self.inner_norm_bias.view(shape)
        return inner_gradient(keys, values, prediction, gamma, beta)

    def gradients(self, clicks: Projections, prediction: torch.Tensor) -> torch.Tensor:
        """g = lr * G of clicks, from their Z (eqs. 4-5); all [H, B, R, f]."""
        return clicks.rates * self.inner_gradient(clicks.keys, clicks.values, prediction)

    def read_out(self, queries: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """q + LN(Zbar), the output of each head; all [H, ..., f]."""
        shape = (self.num_heads, *[1] * (mixed.dim() - 2), self.head_width)
        normed = F.layer_norm(mixed, (self.head_width,), eps=NORM_EPS)
        return queries + (normed * self.inner_norm_weight.view(shape) + self.inner_norm_bias.view(shape))

    def join_heads(self, heads: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """O (eq. 11) [..., d] of the heads' outputs [..., H, f], of the type of ``like``."""
        return self.o_proj(self.post_norm(heads.flatten(-2).to(like.dtype)))
