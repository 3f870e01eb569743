"""The selective scan of Mamba: a linear recurrence whose coefficients come from its input.

"Mamba: Linear-Time Sequence Modeling with Selective State Spaces", arXiv 2312.00752, section 3, algorithm 2.
For each channel c and state entry n, with a_t = exp(delta_t A) and b_t = delta_t B_t u_t:

    h_t = a_t h_{t-1} + b_t,    y_t = sum_n C_t h_t + D u_t

The scan is chunked: all chunks go forward together, step by step, then the chunks' last states are carried over, so
L steps are some 2 sqrt(L) operations, and no more than 16 where there is one chunk. The backward pass is the same
scan from the end. Nothing of the size [B, L, channels, states] is saved between the two: each works on blocks that fit
the processor's cache, or on a GPU a small part of its memory, and the backward pass makes the states of a block again
from the state at its beginning.
"""

import math

import torch
import torch.nn.functional as F
from torch.autograd.function import FunctionCtx, once_differentiable

# Numbers of the states of a block, [rows, steps, channels, states]. A GPU would take longer to launch an operation on
# one of the cache's size than to carry it out.
_BLOCK = 1 << 19
_GPU_BLOCK = 1 << 26
# Steps of a chunk, at least.
_CHUNK = 16


def _scan(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """h_t = a_t h_{t-1} + b_t from h_{-1} = ``start``; a and b [R, T, ...] are used up.

    Returns
    -------
    torch.Tensor, shape [R, T, ...]
    """
    rows, steps = a.shape[:2]
    if steps <= _CHUNK:
        for t in range(steps):
            b[:, t].addcmul_(a[:, t], b[:, t - 1] if t else start)
        return b
    size = max(_CHUNK, math.isqrt(steps))
    chunks = -(-steps // size)
    if chunks * size > steps:
        a, b = (F.pad(t, (0, 0, 0, 0, 0, chunks * size - steps), value=v) for t, v in ((a, 1.0), (b, 0.0)))
    a, b = (t.view(rows, chunks, size, *t.shape[2:]) for t in (a, b))
    for i in range(1, size):
        b[:, :, i].addcmul_(a[:, :, i], b[:, :, i - 1])
        a[:, :, i].mul_(a[:, :, i - 1])  # the product of the chunk's a up to here: at most 1, as each of them
    for chunk in range(chunks):
        b[:, chunk].addcmul_(a[:, chunk], start[:, None])
        start = b[:, chunk, -1]
    return b.flatten(1, 2)[:, :steps]


def _scan_back(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """g_t = a_{t+1} g_{t+1} + b_t from the end, where there is nothing; b is used up."""
    steps = a.shape[1]
    if steps <= _CHUNK:
        for t in range(steps - 2, -1, -1):
            b[:, t].addcmul_(a[:, t + 1], b[:, t + 1])
        return b
    later = F.pad(a[:, 1:], (0, 0, 0, 0, 0, 1), value=1.0)
    return _scan(later.flip(1), b.flip(1), torch.zeros_like(b[:, 0])).flip(1)


def _coefficients(
    u: torch.Tensor, delta: torch.Tensor, A: torch.Tensor, B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """a and b [R, T, channels, states] of a block."""
    return (delta.unsqueeze(-1) * A).exp_(), (delta * u).unsqueeze(-1) * B.unsqueeze(2)


def _blocks(u: torch.Tensor, width: int) -> tuple[list[slice], list[slice]]:
    """Slices of the rows and of the steps of ``u`` [rows, steps, channels] that make blocks."""
    rows, steps, _ = u.shape
    most = _GPU_BLOCK if u.is_cuda else _BLOCK
    time = max(1, min(steps, most // max(1, width)))
    take = max(1, most // max(1, time * width))
    return (
        [slice(i, min(i + take, rows)) for i in range(0, rows, take)],
        [slice(t, min(t + time, steps)) for t in range(0, steps, time)],
    )


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        u: torch.Tensor,
        delta: torch.Tensor,
        A: torch.Tensor,
        B: torch.Tensor,
        C: torch.Tensor,
        start: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        in_rows, in_time = _blocks(u, A.numel())
        y = torch.empty_like(u)
        begun = u.new_empty(len(in_time), len(u), *A.shape)  # the state before each block
        last = torch.empty_like(start)
        for r in in_rows:
            state = start[r]
            for i, t in enumerate(in_time):
                begun[i, r] = state
                h = _scan(*_coefficients(u[r, t], delta[r, t], A, B[r, t]), state)
                y[r, t] = (h @ C[r, t].unsqueeze(-1)).squeeze(-1)
                state = h[:, -1]
            last[r] = state
        ctx.save_for_backward(u, delta, A, B, C, begun)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, of_y: torch.Tensor, of_last: torch.Tensor) -> tuple[torch.Tensor, ...]:
        u, delta, A, B, C, begun = ctx.saved_tensors
        in_rows, in_time = _blocks(u, A.numel())
        of_u, of_delta, of_B, of_C = (torch.empty_like(t) for t in (u, delta, B, C))
        of_A, of_start = torch.zeros_like(A), torch.empty_like(of_last)
        for r in in_rows:
            carried = of_last[r]  # gradient of a block's last state from all that follows
            for i, t in reversed(list(enumerate(in_time))):
                a, b = _coefficients(u[r, t], delta[r, t], A, B[r, t])
                h = _scan(a if a.shape[1] <= _CHUNK else a.clone(), b, begun[i, r])
                of_C[r, t] = (of_y[r, t].unsqueeze(2) @ h).squeeze(2)
                direct = of_y[r, t].unsqueeze(-1) * C[r, t].unsqueeze(2)
                direct[:, -1] += carried
                of_h = _scan_back(a, direct)
                carried = a[:, 0] * of_h[:, 0]
                of_fed = (of_h @ B[r, t].unsqueeze(-1)).squeeze(-1)
                of_B[r, t] = ((delta[r, t] * u[r, t]).unsqueeze(2) @ of_h).squeeze(2)
                of_rate = of_h.mul_(a)  # of delta A, once it has met the state before
                of_rate[:, 0] *= begun[i, r]
                of_rate[:, 1:] *= h[:, :-1]
                of_delta[r, t] = of_fed * u[r, t] + torch.mul(of_rate, A, out=h).sum(dim=-1)
                of_A += of_rate.mul_(delta[r, t].unsqueeze(-1)).sum(dim=(0, 1))
                of_u[r, t] = of_fed * delta[r, t]
            of_start[r] = carried
        return of_u, of_delta, of_A, of_B, of_C, of_start


def selective_scan(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None = None,
    initial_state: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scan over whole sequences.

    Parameters
    ----------
    u, delta : torch.Tensor, shape [batch, L, channels]
        Inputs and step sizes; ``delta`` is positive.
    A : torch.Tensor, shape [channels, states]
        Negative.
    B, C : torch.Tensor, shape [batch, L, states]
    D : torch.Tensor, shape [channels], optional
        Weight of the input in the output.
    initial_state : torch.Tensor, shape [batch, channels, states], optional
        h before the first step; zeros, if left out.

    Returns
    -------
    y : torch.Tensor, shape [batch, L, channels]
    last_state : torch.Tensor, shape [batch, channels, states]
    """
    if initial_state is None:
        initial_state = u.new_zeros(u.shape[0], *A.shape)
    if u.shape[0] == 0 or u.shape[1] == 0:
        return torch.zeros_like(u) + 0 * delta, initial_state
    y, last = _SelectiveScan.apply(u, delta, A, B, C, initial_state)
    return (y if D is None else y + D * u), last
