"""A GRU for training on a CPU: the same weights and numbers as torch's, with its gradient in closed form.

torch records the small operations of every step and replays them. Here a step is nine in place going forward and a
dozen going back; what does not depend on the step before, the weights' gradients above all, is one product over all
steps. Where the rows' lengths are known, a step reads the rows that still have a click.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.autograd.function import FunctionCtx, once_differentiable


class Steps(NamedTuple):
    """The real steps of a batch, packed step after step, longest rows first.

    Attributes
    ----------
    index : torch.Tensor of int64, shape [N], or None
        Where each packed step stands in the batch's B * L positions; None where every position is real.
    rows : list of int, length T
        Rows of each step; never more than in the step before.
    last : torch.Tensor of int64, shape [B]
        Packed index of each row's last real step, in the batch's order.
    """

    index: torch.Tensor | None
    rows: list[int]
    last: torch.Tensor

    @classmethod
    def of(cls, lengths: torch.Tensor, width: int) -> "Steps":
        """The steps of rows of these ``lengths`` [B], padded to ``width``; a row without any has its first."""
        lengths = lengths.clamp(1, width)
        ordered, order = lengths.sort(descending=True, stable=True)
        time = torch.arange(int(ordered[0]), device=lengths.device)
        real = time[:, None] < ordered  # [T, B]
        rows = real.sum(dim=1)
        start = rows.cumsum(0) - rows
        index = (order * width + time[:, None])[real]
        last = torch.empty_like(order)
        last[order] = start[ordered - 1] + torch.arange(len(order), device=order.device)
        return cls(index, rows.tolist(), last)

    @classmethod
    def whole(cls, rows: int, width: int) -> "Steps":
        """Every step of every row."""
        return cls(None, [rows] * width, torch.arange(rows * (width - 1), rows * width))

    def pack(self, x: torch.Tensor) -> torch.Tensor:
        """The real steps [N, D] of a batch [B, L, D]."""
        if self.index is None:
            return x.transpose(0, 1).flatten(0, 1)
        return x.flatten(0, 1).index_select(0, self.index)  # x[index] would go back by a sort

    def unpack(self, packed: torch.Tensor, rows: int, width: int) -> torch.Tensor:
        """The batch [B, L, D] of packed steps, 0 on padding."""
        if self.index is None:
            return packed.view(width, rows, -1).transpose(0, 1)
        return packed.new_zeros(rows * width, packed.shape[1]).index_copy(0, self.index, packed).view(rows, width, -1)


class _Recurrence(torch.autograd.Function):
    """Hidden states [N, H] of one GRU layer over packed steps [N, D].

    What a step touches is small enough to stay in the processor's cache, so nothing is prepared for all steps at
    once but the products with the inputs.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: torch.Tensor,
        rows: list[int],
        w_ih: torch.Tensor,
        w_hh: torch.Tensor,
        b_ih: torch.Tensor | None,
        b_hh: torch.Tensor | None,
    ) -> torch.Tensor:
        width = w_hh.shape[1]
        split = [2 * width, width]
        (in_gates, in_new), (to_gates, to_new) = (w.t().split(split, dim=1) for w in (w_ih, w_hh))
        if b_ih is None:
            gates, new, pull = x @ in_gates, x @ in_new, x.new_empty(len(x), width)
        else:  # the gates add both biases
            gates = torch.addmm((b_ih + b_hh)[: 2 * width], x, in_gates)
            new, pull = torch.addmm(b_ih[2 * width :], x, in_new), b_hh[2 * width :].repeat(len(x), 1)
        hidden = x.new_empty(len(x), width)
        state = x.new_zeros(rows[0], width)
        for count, both, here, pulled, out in zip(
            rows, *(t.split(rows) for t in (gates, new, pull, hidden)), strict=True
        ):
            state = state[:count]
            both.addmm_(state, to_gates).sigmoid_()
            pulled.addmm_(state, to_new, beta=0 if b_hh is None else 1)  # W_hn h + b_hn
            # tanh(a) = 2 sigmoid(2 a) - 1: torch's sigmoid is several times as fast as its tanh.
            here.addcmul_(both[:, :width], pulled).mul_(2).sigmoid_().mul_(2).sub_(1)
            state = torch.lerp(here, state, both[:, width:], out=out)
        ctx.rows = rows
        ctx.save_for_backward(x, w_ih, w_hh, gates, new, pull, hidden)
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, w_ih, w_hh, gates, new, pull, hidden = ctx.saved_tensors
        rows, width = ctx.rows, w_hh.shape[1]
        through_sigmoid, through_tanh = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
        states = [hidden.new_zeros(rows[0], width)]
        states += [step[:then] for step, then in zip(hidden.split(rows), rows[1:], strict=False)]
        of_recur = hidden.new_empty(len(hidden), 3 * width)  # gradients of W_hh h + b_hh
        of_new = torch.empty_like(hidden)  # ... and of the candidate's W_in x + b_in; the gates' are the same
        carried = None
        steps = [states, *(t.split(rows) for t in (grad, gates, new, pull, of_recur, of_new))]
        for state, of_here, both, candidate, pulled, recur, inner in reversed(list(zip(*steps, strict=True))):
            if carried is not None:
                of_here = of_here.clone()
                of_here[: len(carried)] += carried
            reset, update = both.split(width, dim=1)
            of_state = of_here * update
            inner.copy_(through_tanh(of_here - of_state, candidate))
            recur[:, :width] = through_sigmoid(inner * pulled, reset)
            recur[:, width : 2 * width] = through_sigmoid((state - candidate).mul_(of_here), update)
            torch.mul(inner, reset, out=recur[:, 2 * width :])
            carried = of_state.addmm_(recur, w_hh)
        of_x = of_w_ih = of_w_hh = of_b_ih = of_b_hh = None
        if ctx.needs_input_grad[3]:
            of_w_hh = of_recur.t() @ torch.cat(states)
        if ctx.needs_input_grad[5]:
            of_b_hh = of_recur.sum(dim=0)
        of_inputs = of_recur
        of_inputs[:, 2 * width :] = of_new
        if ctx.needs_input_grad[0]:
            of_x = of_inputs @ w_ih
        if ctx.needs_input_grad[2]:
            of_w_ih = of_inputs.t() @ x
        if ctx.needs_input_grad[4]:
            of_b_ih = of_inputs.sum(dim=0)
        return of_x, None, of_w_ih, of_w_hh, of_b_ih, of_b_hh


def recurrence(x: torch.Tensor, steps: Steps, gru: nn.GRU, layer: int = 0) -> torch.Tensor:
    """Hidden states of one layer of a GRU.

    Parameters
    ----------
    x : torch.Tensor, shape [N, D]
        The packed inputs: of a batch [B, L, D], ``steps.pack(x)``.
    steps : Steps
    gru : torch.nn.GRU
    layer : int

    Returns
    -------
    torch.Tensor, shape [N, H]
    """
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [getattr(gru, f"{name}_l{layer}", None) for name in names]
    with torch.autocast("cpu", enabled=False):
        return _Recurrence.apply(x.to(weights[0].dtype), steps.rows, *weights)


def is_fast(gru: nn.GRU, x: torch.Tensor) -> bool:
    """Whether :func:`recurrence` can stand in for ``gru`` on ``x`` [B, L, D] and is the faster one."""
    return (
        x.device.type == "cpu"
        and x.dim() == 3
        and min(x.shape[:2]) > 0
        and gru.batch_first
        and not gru.bidirectional
        and not gru.proj_size
        and not torch.compiler.is_compiling()
        and (torch.is_grad_enabled() or len(x) >= _INFERENCE_ROWS)
    )


# Of fewer rows, torch's own forward pass has the fewer calls.
_INFERENCE_ROWS = 64


class GRU(nn.GRU):
    """torch's GRU, computed by :func:`recurrence` where that is faster and by torch where not (on a GPU, say).

    Inside :func:`known_lengths` it reads each row's real steps only: outputs on padding are 0, and the second
    result is the hidden state after the last real step.
    """

    lengths: torch.Tensor | None = None

    def forward(self, input: torch.Tensor, hx: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """As torch's."""
        if isinstance(input, torch.Tensor) and hx is None and is_fast(self, input):
            return self._fast(input)
        return super().forward(input, hx)

    def _fast(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, width = x.shape[:2]
        known = self.lengths is not None and len(self.lengths) == rows
        steps = Steps.of(self.lengths, width) if known else Steps.whole(rows, width)
        packed, last = steps.pack(x), []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                packed = nn.functional.dropout(packed, self.dropout, self.training)
            packed = recurrence(packed, steps, self, layer)
            last.append(packed.index_select(0, steps.last))
        return steps.unpack(packed, rows, width), torch.stack(last)


@contextmanager
def known_lengths(model: nn.Module, lengths: torch.Tensor) -> Iterator[None]:
    """Inside, every :class:`GRU` of ``model`` reads ``lengths`` [B] real steps a row."""
    grus = [module for module in model.modules() if isinstance(module, GRU)]
    for gru in grus:
        gru.lengths = lengths
    try:
        yield
    finally:
        for gru in grus:
            gru.lengths = None
