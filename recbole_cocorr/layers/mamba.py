"""The Mamba block, with the parameters of ``mamba_ssm.Mamba`` under the same names.

"Mamba: Linear-Time Sequence Modeling with Selective State Spaces", arXiv 2312.00752, section 3.4 and figure 3.
"""

import importlib.util
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from recbole_cocorr.layers.selective_scan import selective_scan

# Range in which the step sizes start, and their least.
DT_MIN, DT_MAX, DT_FLOOR = 1e-3, 1e-1, 1e-4


# What the kernels of mamba-ssm 2.3 and causal-conv1d 1.7 are compiled for.
_KERNEL_TYPES = (torch.float32, torch.float16, torch.bfloat16)
_KERNEL_TAPS, _KERNEL_STATES = range(2, 5), range(1, 257)


@cache
def fused_block() -> Callable[..., torch.Tensor] | None:
    """``mamba_inner_fn`` of mamba-ssm, which calls causal-conv1d; None where they are not installed or not usable.

    A warning says once why installed packages cannot be used: both are compiled for one release of torch and CUDA.
    """
    if not all(importlib.util.find_spec(name) for name in ("mamba_ssm", "causal_conv1d")):
        return None
    try:
        import causal_conv1d  # noqa: F401  mamba-ssm imports without it, and fails when it is called
        from mamba_ssm.ops.selective_scan_interface import mamba_inner_fn
    except ImportError as error:
        logging.getLogger().warning(
            "mamba-ssm and causal-conv1d are installed, but cannot be imported (%s); Mamba runs without their kernels",
            error,
        )
        return None
    return mamba_inner_fn


@dataclass
class MambaState:
    """What a block holds between two clicks, constant in size.

    Attributes
    ----------
    conv : torch.Tensor, shape [B, d_inner, d_conv]
        The last inputs of the convolution, the newest last.
    ssm : torch.Tensor, shape [B, d_inner, d_state]
        h of the selective scan.
    """

    conv: torch.Tensor
    ssm: torch.Tensor


class Mamba(nn.Module):
    """Input projection, causal depthwise convolution, selective scan, gate, output projection.

    Parameters
    ----------
    d_model : int
    d_state : int
    d_conv : int
        Clicks that the convolution sees.
    expand : int
        d_inner = expand * d_model.

    Raises
    ------
    ValueError
        For a size below 1.

    Notes
    -----
    On CUDA, where mamba-ssm and causal-conv1d are installed, their kernels do the work of :meth:`forward`; not in
    float64, nor for d_conv outside 2 to 4 or d_state above 256, which they do not know.
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2) -> None:
        super().__init__()
        if min(d_model, d_state, d_conv, expand) < 1:
            raise ValueError("d_model, d_state, d_conv and expand must be at least 1")
        self.d_model, self.d_state, self.d_conv, self.expand = d_model, d_state, d_conv, expand
        self.d_inner = expand * d_model
        self.dt_rank = math.ceil(d_model / 16)
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=False)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.arange(1, d_state + 1).float().log().repeat(self.d_inner, 1))
        self.D = nn.Parameter(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        with torch.no_grad():
            step = torch.empty(self.d_inner).uniform_(math.log(DT_MIN), math.log(DT_MAX)).exp().clamp_min(DT_FLOOR)
            self.dt_proj.bias.copy_(step.expm1().log())  # softplus of it is the step

    def extra_repr(self) -> str:
        return f"{self.d_model}, d_state={self.d_state}, d_conv={self.d_conv}, expand={self.expand}"

    def _selected(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Step sizes [..., d_inner], B and C [..., d_state] of the convolved inputs."""
        low, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        return F.softplus(self.dt_proj(low)), B, C

    def forward(
        self, hidden_states: torch.Tensor, state: MambaState | None = None, return_state: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, MambaState]:
        """Read whole sequences.

        Parameters
        ----------
        hidden_states : torch.Tensor, shape [B, L, d_model]
        state : MambaState, optional
            Where to go on from; zeros, if left out.
        return_state : bool
            Also return the state after the last position.

        Returns
        -------
        torch.Tensor, shape [B, L, d_model], or (torch.Tensor, MambaState)
        """
        if state is None and not return_state and self.is_fusable(hidden_states):
            return self._fused(hidden_states)
        length = hidden_states.shape[1]
        x, gate = self.in_proj(hidden_states).chunk(2, dim=-1)
        before = self.initial_state(x.shape[0]) if state is None else state
        # The newest d_conv - 1 inputs stand before the new ones, in place of the convolution's own padding.
        read = torch.cat([before.conv[:, :, 1:].to(x.dtype), x.transpose(1, 2)], dim=2)
        x = F.silu(self._convolve(read)).transpose(1, 2)
        delta, B, C = self._selected(x)
        whole = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
        with torch.autocast(x.device.type, enabled=False):
            y, last = selective_scan(
                *(t.to(whole) for t in (x, delta, -self.A_log.to(whole).exp(), B, C, self.D, before.ssm))
            )
        output = self.out_proj(y.to(x.dtype) * F.silu(gate))
        if not return_state:
            return output
        inputs = torch.cat([before.conv.to(read.dtype), read[:, :, self.d_conv - 1 :]], dim=2)
        return output, MambaState(inputs[:, :, length:], last)

    def _convolve(self, read: torch.Tensor) -> torch.Tensor:
        """The depthwise convolution [B, d_inner, L] of [B, d_inner, d_conv - 1 + L], as a sum of shifted products."""
        length, taps = read.shape[2] - self.d_conv + 1, self.conv1d.weight.squeeze(1)
        total = self.conv1d.bias.unsqueeze(1)
        for i in range(self.d_conv):
            total = total + read[:, :, i : i + length] * taps[:, i, None]
        return total

    def is_fusable(self, hidden_states: torch.Tensor) -> bool:
        """Whether the kernels of mamba-ssm can read these hidden states from the start."""
        return (
            hidden_states.is_cuda
            and hidden_states.numel() > 0
            and hidden_states.dtype in _KERNEL_TYPES
            and self.d_conv in _KERNEL_TAPS
            and self.d_state in _KERNEL_STATES
            and fused_block() is not None
        )

    def _fused(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return fused_block()(
            self.in_proj(hidden_states).transpose(1, 2),
            self.conv1d.weight,
            self.conv1d.bias,
            self.x_proj.weight,
            self.dt_proj.weight,
            self.out_proj.weight,
            self.out_proj.bias,
            -self.A_log.float().exp(),
            None,
            None,
            self.D.float(),
            delta_bias=self.dt_proj.bias.float(),
            delta_softplus=True,
        )

    def initial_state(self, batch_size: int) -> MambaState:
        """The state before the first click: zeros."""
        return MambaState(
            self.D.new_zeros(batch_size, self.d_inner, self.d_conv),
            self.D.new_zeros(batch_size, self.d_inner, self.d_state),
        )

    def step(self, x_t: torch.Tensor, state: MambaState) -> tuple[torch.Tensor, MambaState]:
        """Read one click; equals :meth:`forward` on it with ``return_state=True``.

        Parameters
        ----------
        x_t : torch.Tensor, shape [B, d_model]
        state : MambaState
            Left as it is.

        Returns
        -------
        tuple of torch.Tensor [B, d_model] and MambaState
        """
        x, gate = self.in_proj(x_t).chunk(2, dim=-1)
        conv = torch.cat([state.conv[:, :, 1:], x.unsqueeze(-1)], dim=2)
        x = F.silu((conv * self.conv1d.weight.squeeze(1)).sum(dim=-1) + self.conv1d.bias)
        delta, B, C = self._selected(x)
        decay = torch.exp(delta.unsqueeze(-1) * -self.A_log.exp())
        ssm = decay * state.ssm + (delta * x).unsqueeze(-1) * B.unsqueeze(1)
        y = (ssm @ C.unsqueeze(-1)).squeeze(-1) + self.D * x
        return self.out_proj(y * F.silu(gate)), MambaState(conv, ssm)
