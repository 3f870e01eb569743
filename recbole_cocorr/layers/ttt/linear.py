"""TTT-Linear: a recurrent layer whose hidden state is a linear model, trained on the clicks it reads.

"Learning to (Learn at Test Time)", arXiv 2407.04620, as the SCN of CoCorrRec uses it (eqs. 1-11).
One set of weights serves three forms of the same arithmetic: the dual form (a mini-batch of K clicks at
once; training and re-reading a history), the primal form (click by click) and a single :meth:`TTTLinear.step`.

Inside, tensors are [H, B, ...]: with heads first, a matrix product with the shared initial weights W0 is
one product per head instead of one per sequence and head.
"""

import torch
import torch.nn.functional as F
from torch import nn

from recbole_cocorr.layers.gcn import Correction, CorrectionFusion
from recbole_cocorr.layers.ttt.inner_gradient import NORM_EPS, inner_gradient
from recbole_cocorr.layers.ttt.rope import rope_table, rotate
from recbole_cocorr.layers.ttt.short import last_of_one_mini_batch
from recbole_cocorr.layers.ttt.state import TTTState

# Clicks of all rows whose keys, values and queries are made at once where the sequence is longer than a mini-batch.
_CLICKS_AT_ONCE = 2560


class TTTLinear(nn.Module):
    """The TTT-Linear layer.

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
    ):
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
        self._constants: dict[tuple, tuple[torch.Tensor, ...] | torch.Tensor] = {}

    def extra_repr(self) -> str:
        return f"{self.hidden_size}, num_heads={self.num_heads}, mini_batch_size={self.mini_batch_size}"

    # -- the parts -------------------------------------------------------------------------------

    def _tables(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """RoPE's cosines and sines [K, f / 2], 1 / i [K], and the lower triangle [K, K]."""
        key = (like.dtype, like.device)
        if key not in self._constants:
            size = self.mini_batch_size
            # Also where the first use is inference: what that mode makes cannot be trained with later.
            with torch.inference_mode(False), torch.no_grad():
                cos, sin = rope_table(size, self.head_width, self.rope_base)
                share = 1.0 / torch.arange(1, size + 1, dtype=torch.float64)
                lower = torch.ones(size, size, dtype=torch.bool, device=like.device).tril()
                made = [t.to(dtype=like.dtype, device=like.device) for t in (cos, sin, share)]
            self._constants[key] = (*made, lower)
        return self._constants[key]

    def turns(self, like: torch.Tensor) -> torch.Tensor:
        """RoPE's rotations as complex numbers [K, f / 2] of the precision of ``like``."""
        key = (like.dtype, like.device, "turns")
        if key not in self._constants:
            with torch.inference_mode(False), torch.no_grad():
                self._constants[key] = torch.complex(*self._tables(like)[:2])
        return self._constants[key]

    def token_steps(self, like: torch.Tensor) -> torch.Tensor:
        """tau_i = max(0, 1/i + p_i) for i = 1 .. K; shape [K], of the type of ``like``."""
        return (self._tables(like)[2] + self.token_scale).clamp_min(0)

    def _heads(self, x: torch.Tensor, *projections: nn.Linear) -> torch.Tensor:
        """Projections of x [B, L, d] by heads: [P, H, B, L, f], float32 at least.

        The inner model sums and divides small numbers, where half precision loses them and float16 overflows.
        """
        weight = projections[0].weight if len(projections) == 1 else torch.cat([p.weight for p in projections])
        return (
            self._whole(F.linear(x, weight))
            .unflatten(-1, (len(projections), self.num_heads, -1))
            .permute(2, 3, 0, 1, 4)
        )

    def _rates(self, x: torch.Tensor) -> torch.Tensor:
        """Inner learning rates lr_t of x [B, L, d]: [H, B, L, 1]."""
        gate = self._whole(F.linear(x, self.inner_lr_weight))
        gate = torch.sigmoid(gate + self.inner_lr_bias.to(gate.dtype))
        return (gate * (self.inner_lr / self.head_width)).permute(2, 0, 1).unsqueeze(-1)

    @staticmethod
    def _whole(x: torch.Tensor) -> torch.Tensor:
        return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x

    def _rotate(self, x: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """RoPE of [..., B, L, f] at ``slots`` [L] or [B, L], each click's place inside its mini-batch."""
        cos, sin = self._tables(x)[:2]
        return rotate(x, cos[slots], sin[slots])

    def _project(self, x: torch.Tensor, slots: torch.Tensor):
        """Queries, keys, values [H, B, L, f] and inner learning rates [H, B, L, 1]."""
        queries, keys = self._rotate(self._heads(x, self.q_proj, self.k_proj), slots).unbind(0)
        return queries, keys, self._heads(x, self.v_proj).squeeze(0), self._rates(x)

    def _inner_norm(self, x: torch.Tensor) -> torch.Tensor:
        """LN_h of [H, ..., f]."""
        shape = (self.num_heads, *[1] * (x.dim() - 2), self.head_width)
        normed = F.layer_norm(x, (self.head_width,), eps=NORM_EPS)
        return normed * self.inner_norm_weight.view(shape) + self.inner_norm_bias.view(shape)

    def _gradient(self, keys: torch.Tensor, values: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
        shape = (self.num_heads, *[1] * (keys.dim() - 2), self.head_width)
        return inner_gradient(
            keys, values, prediction, self.inner_norm_weight.view(shape), self.inner_norm_bias.view(shape)
        )

    def _output(self, heads: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """[H, B, L, f] or [H, B, f] to the block's output (eq. 11)."""
        return self._finish(heads.movedim(0, -2), like)

    def _finish(self, heads: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """[..., H, f] to the block's output."""
        return self.o_proj(self.post_norm(heads.flatten(-2).to(like.dtype)))

    def _mix(self, queries, keys, scaled, read, start, steps, correction, fusion):
        """Zbar of one mini-batch: [H, B, R, f] from its keys and lr * G, both [H, B, R, f] (eqs. 6-7, 15).

        ``read`` = Q W; ``start`` = b; ``steps`` = tau [R, 1].
        """
        size = queries.shape[2]
        lower = self._tables(queries)[3][:size, :size]
        attention = queries @ keys.transpose(-1, -2)
        if correction is None:
            # eta * A and eta act on the same gradients: one product with A + 1.
            return read + start - steps * (((attention + 1) * lower) @ scaled)
        bias = start - steps * scaled.cumsum(dim=2)
        attention = fusion.fuse_attention(attention, correction.attention[:, :, :size, :size].transpose(0, 1), lower)
        bias = fusion.fuse_bias(bias, correction.bias[:, :, :size].transpose(0, 1))
        return read - steps * (attention @ scaled) + bias

    # -- the forms -------------------------------------------------------------------------------

    def forward(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor | None = None,
        state: TTTState | None = None,
        correction: Correction | None = None,
        fusion: CorrectionFusion | None = None,
        return_state: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, TTTState]:
        """The dual form: K clicks at a time, the only loop is over mini-batches.

        Parameters
        ----------
        x : torch.Tensor, shape [B, L, d]
            X, padding at the end. Any L, also 0.
        lengths : torch.Tensor of int64, shape [B], optional
            Real clicks per row; all L, if left out. Read for the returned state only: the layer is
            causal, so padding at the end changes no real position.
        state : TTTState, optional
            Where to go on from; the initial state, if left out. Rows may stand anywhere inside their
            mini-batch.
        correction : Correction, optional
            What the cloud sent; needs ``fusion``.
        fusion : CorrectionFusion, optional
        return_state : bool
            Also return each row's state after its own ``lengths`` clicks.

        Returns
        -------
        torch.Tensor, shape [B, L, d], or (torch.Tensor, TTTState)

        Raises
        ------
        ValueError
            For shapes that do not fit, or a correction without ``fusion``.
        """
        self._check(x, state, correction, fusion)
        if state is None and not return_state:
            return self._dual(x, correction, fusion)
        output, after = self._dual_from(x, lengths, state, correction, fusion)
        return (output, after) if return_state else output

    def _mini_batches(self, x: torch.Tensor, with_queries: bool):
        """Yield queries (or None), keys, values [H, B, R, f] and rates [H, B, R, 1] of one mini-batch after another.

        Some mini-batches are projected together: enough that the products are large, few enough that what is made
        of them is still in the cache when it is used.
        """
        size = self.mini_batch_size
        for segment in x.split(size * max(1, _CLICKS_AT_ONCE // max(1, x.shape[0] * size)), dim=1):
            slots = torch.arange(segment.shape[1], device=x.device) % size
            queries = None
            if with_queries:
                queries, *others = self._project(segment, slots)
            else:
                keys = self._rotate(self._heads(segment, self.k_proj).squeeze(0), slots)
                others = keys, self._heads(segment, self.v_proj).squeeze(0), self._rates(segment)
            # split, not slices: the backward of a slice fills zeros of the whole
            others = [t.split(size, dim=2) for t in others]
            yield from zip(
                queries.split(size, dim=2) if with_queries else [None] * len(others[0]), *others, strict=True
            )

    def _start(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """W0 [H, f, f] and b0 [H, 1, 1, f] of the type of ``like``, shared by all rows."""
        return self.W0.to(like.dtype), self.b0.to(like.dtype)[:, None, None, :]

    @staticmethod
    def _learn(W: torch.Tensor, b: torch.Tensor, k: torch.Tensor, scaled: torch.Tensor, step: torch.Tensor):
        """W' and b' of a whole mini-batch, with the step tau_K of its last click; scaled is lr * G."""
        W = W if W.dim() == 4 else W[:, None]
        return W - step * (k.transpose(-1, -2) @ scaled), b - step * scaled.sum(dim=2, keepdim=True)

    def _dual(self, x: torch.Tensor, correction: Correction | None, fusion: CorrectionFusion | None) -> torch.Tensor:
        if x.shape[1] == 0:
            return self._output(self._heads(x, self.q_proj).squeeze(0), x)
        W, outputs, left = None, [], x.shape[1]
        for q, k, v, rates in self._mini_batches(x, with_queries=True):
            with torch.autocast(x.device.type, enabled=False):
                if W is None:
                    steps = self.token_steps(k)[:, None]
                    W, b = self._start(k)
                scaled = rates * self._gradient(k, v, self._product(k, W) + b)
                mixed = self._mix(q, k, scaled, self._product(q, W), b, steps[: q.shape[2]], correction, fusion)
                outputs.append(q + self._inner_norm(mixed))
                left -= q.shape[2]
                if left:
                    W, b = self._learn(W, b, k, scaled, steps[-1])
        return self._output(outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2), x)

    def forward_last(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor,
        correction: Correction | None = None,
        fusion: CorrectionFusion | None = None,
    ) -> torch.Tensor:
        """What :meth:`forward` gives at each row's last real position, and nothing else.

        Every click is learned from, but only one query a row is asked: no [K, K] matrix, and
        the projections, norms and products behind the queries are those of one position.

        Parameters
        ----------
        x : torch.Tensor, shape [B, L, d]
            X, padding at the end; L at least 1.
        lengths : torch.Tensor of int64, shape [B]
            Real clicks per row; a row without any gives its first, padded position.
        correction, fusion
            As for :meth:`forward`.

        Returns
        -------
        torch.Tensor, shape [B, d]
        """
        self._check(x, None, correction, fusion)
        if x.shape[1] == 0:
            raise ValueError("x has no position; forward_last needs at least one")
        size, rows = self.mini_batch_size, x.shape[0]
        last = (lengths - 1).clamp_min(0)
        # Reading a number stops a GPU's queue, and breaks a compiled graph.
        look = rows > 0 and not x.is_cuda and not torch.compiler.is_compiling()
        if look:
            x = x[:, : int(last.max()) + 1]
            if x.shape[1] <= size and x.device.type == "cpu":
                return self._finish(last_of_one_mini_batch(self, x, last, correction, fusion), x)
        slot, chunk_of = last % size, last // size
        at_last = x.gather(1, last.view(-1, 1, 1).expand(-1, 1, x.shape[2]))
        q = self._rotate(self._heads(at_last, self.q_proj).squeeze(0), slot[:, None])  # [H, B, 1, f]
        steps = self.token_steps(q)
        step = steps[slot].view(-1, 1, 1)
        W, b = self._start(q)
        ends = set(chunk_of.tolist()) if look else None
        place = torch.arange(size, device=x.device)
        mixed, left = None, x.shape[1]
        for chunk, (_, k, v, rates) in enumerate(self._mini_batches(x, with_queries=False)):
            with torch.autocast(x.device.type, enabled=False):
                scaled = rates * self._gradient(k, v, self._product(k, W) + b)
                if ends is None or chunk in ends:
                    seen = (place[: k.shape[2]] <= slot[:, None]).unsqueeze(1)  # [B, 1, R]
                    here = self._mix_last(q, k, scaled, self._product(q, W), b, step, seen, slot, correction, fusion)
                    mixed = here if mixed is None else torch.where((chunk_of == chunk).view(-1, 1, 1), here, mixed)
                left -= k.shape[2]
                if left:
                    W, b = self._learn(W, b, k, scaled, steps[-1])
        with torch.autocast(x.device.type, enabled=False):
            answer = (q + self._inner_norm(mixed)).squeeze(2)
        return self._output(answer, x)

    @staticmethod
    def _product(x: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
        """x [H, B, R, f] times W [H, B, f, f], or [H, f, f] where all rows share it: one product per head then."""
        return x @ W if W.dim() == 4 else (x.flatten(1, 2) @ W).view(x.shape)

    @staticmethod
    def _mix_last(q, k, scaled, read, start, step, seen, slot, correction, fusion):
        """:meth:`_mix` for one query a row, which stands at ``slot`` [B] and may read what is ``seen`` [B, 1, R]."""
        attention = q @ k.transpose(-1, -2)
        if correction is None:
            return read + start - step * (((attention + 1) * seen) @ scaled)
        size, place = k.shape[2], slot.view(-1, 1, 1, 1)
        sent, sent_bias = (c.gather(2, place.expand(-1, c.shape[1], 1, c.shape[3])).transpose(0, 1) for c in correction)
        bias = start - step * (seen.to(scaled.dtype) @ scaled)
        attention = fusion.fuse_attention(attention, sent[..., :size], seen)
        return read - step * (attention @ scaled) + fusion.fuse_bias(bias, sent_bias)

    def _dual_from(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor | None,
        state: TTTState | None,
        correction: Correction | None,
        fusion: CorrectionFusion | None,
    ) -> tuple[torch.Tensor, TTTState]:
        """The dual form that takes a state and returns one.

        The clicks are laid on a grid of whole mini-batches, each row shifted by its place in its current
        mini-batch; the slots before that are filled from the state. What is no real click of a row learns
        nothing (its scaled gradient is 0).
        """
        rows, length = x.shape[:2]
        size, device = self.mini_batch_size, x.device
        if state is None:
            state = self.initial_state(rows)
        if lengths is None:
            lengths = torch.full((rows,), length, dtype=torch.int64, device=device)
        offset = state.position
        chunks = max(1, -(-int((offset + lengths).max()) // size)) if rows else 1
        chunks = max(chunks, -(-int((offset + length).max()) // size)) if rows else chunks
        click = torch.arange(chunks * size, device=device) - offset[:, None]  # [B, grid]
        real = (click >= 0) & (click < lengths[:, None])
        laid = torch.arange(rows, device=device)[:, None], click.clamp(0, max(length - 1, 0))
        on_grid = x[laid] if length else x.new_zeros(rows, chunks * size, x.shape[2])
        slots = torch.arange(chunks * size, device=device) % size
        queries, keys, values, rates = self._project(on_grid, slots)
        rates = rates * real[None, :, :, None]
        keys = keys * real[None, :, :, None]
        steps = self.token_steps(queries)[:, None]
        W, b, S_W, S_b, held_keys, held = (
            t.transpose(0, 1) for t in (state.W, state.b, state.S_W, state.S_b, state.keys, state.scaled_grads)
        )
        b = b.unsqueeze(2)
        position, outputs = offset, []
        with torch.autocast(device.type, enabled=False):
            parts = (t.split(size, dim=2) for t in (queries, keys, values, rates))
            for chunk, (q, k, v, rate) in enumerate(zip(*parts, strict=True)):
                scaled = rate * self._gradient(k, v, k @ W + b)
                if chunk == 0:  # what the state holds stands before the new clicks
                    k, scaled = k + held_keys, scaled + held
                mixed = self._mix(q, k, scaled, q @ W, b, steps, correction, fusion)
                outputs.append(q + self._inner_norm(mixed))
                filled = (offset + lengths - chunk * size).clamp(0, size)
                learned_W, learned_b = k.transpose(-1, -2) @ scaled, scaled.sum(dim=2)

                def where(rows_: torch.Tensor, new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
                    return torch.where(rows_.view(1, -1, *[1] * (new.dim() - 2)), new, old)

                full, begun = filled == size, (filled > 0) & (filled < size)
                W = where(full, W - steps[-1] * learned_W, W)
                b = where(full, b - steps[-1] * learned_b.unsqueeze(2), b)
                zero_W, zero_b, zero_k = (torch.zeros_like(t) for t in (S_W, S_b, held_keys))
                S_W = where(full, zero_W, where(begun, learned_W, S_W))
                S_b = where(full, zero_b, where(begun, learned_b, S_b))
                held_keys = where(full, zero_k, where(begun, k, held_keys))
                held = where(full, zero_k, where(begun, scaled, held))
                position = torch.where(full, 0, torch.where(begun, filled, position))
        joined = torch.cat(outputs, dim=2)
        back = (offset[:, None] + torch.arange(length, device=device))[None, :, :, None]
        joined = joined.gather(2, back.expand(self.num_heads, -1, -1, self.head_width))
        after = TTTState(
            W=W.transpose(0, 1),
            b=b.squeeze(2).transpose(0, 1),
            S_W=S_W.transpose(0, 1),
            S_b=S_b.transpose(0, 1),
            position=position,
            keys=held_keys.transpose(0, 1),
            scaled_grads=held.transpose(0, 1),
        )
        return self._output(joined, x), after

    def initial_state(self, batch_size: int) -> TTTState:
        """The state before the first click: the learned W0 and b0."""
        heads, size, width = self.num_heads, self.mini_batch_size, self.head_width
        half = self.W0.dtype in (torch.float16, torch.bfloat16)
        W0, b0 = (self.W0.float(), self.b0.float()) if half else (self.W0, self.b0)
        return TTTState(
            W=W0.expand(batch_size, -1, -1, -1),
            b=b0.expand(batch_size, -1, -1),
            S_W=W0.new_zeros(batch_size, heads, width, width),
            S_b=W0.new_zeros(batch_size, heads, width),
            position=torch.zeros(batch_size, dtype=torch.int64, device=W0.device),
            keys=W0.new_zeros(batch_size, heads, size, width),
            scaled_grads=W0.new_zeros(batch_size, heads, size, width),
        )

    def step(
        self,
        x_t: torch.Tensor,
        state: TTTState,
        correction: Correction | None = None,
        fusion: CorrectionFusion | None = None,
    ) -> tuple[torch.Tensor, TTTState]:
        """One click: the primal form, at a cost that does not depend on the history.

        Parameters
        ----------
        x_t : torch.Tensor, shape [B, d]
            X of the new click.
        state : TTTState
            Left as it is.
        correction, fusion
            As for :meth:`forward`.

        Returns
        -------
        tuple of torch.Tensor [B, d] and TTTState
        """
        self._check(x_t[:, None], state, correction, fusion)
        position = state.position
        queries, keys, values, rates = self._project(x_t[:, None], position[:, None])
        q, k, v, rate = (t.transpose(0, 1).squeeze(2) for t in (queries, keys, values, rates))  # [B, H, f]
        slot = torch.arange(self.mini_batch_size, device=x_t.device)
        here = (slot == position[:, None])[:, None, :, None]
        step = self.token_steps(q)[position][:, None, None]
        with torch.autocast(x_t.device.type, enabled=False):
            predicted = torch.einsum("bhf,bhfg->bhg", k, state.W) + state.b
            gradient = self._gradient(*(t.transpose(0, 1) for t in (k, v, predicted))).transpose(0, 1)
            scaled = rate * gradient
            S_W = state.S_W + k[..., None] * scaled[..., None, :]
            S_b = state.S_b + scaled
            held_keys = torch.where(here, k.unsqueeze(2), state.keys)
            held = torch.where(here, scaled.unsqueeze(2), state.scaled_grads)
            W_t = state.W - step[..., None] * S_W
            b_t = state.b - step * S_b
            if correction is None:
                mixed = torch.einsum("bhf,bhfg->bhg", q, W_t) + b_t
            else:
                seen = (slot <= position[:, None])[:, None, :]  # [B, 1, K]
                place = position[:, None, None, None]
                heads, width = self.num_heads, self.head_width
                sent_row = correction.attention.gather(2, place.expand(-1, heads, 1, self.mini_batch_size))
                sent_bias = correction.bias.gather(2, place.expand(-1, heads, 1, width))
                row = torch.einsum("bhf,bhkf->bhk", q, held_keys)
                row = fusion.fuse_attention(row, sent_row.squeeze(2), seen)
                read = torch.einsum("bhf,bhfg->bhg", q, state.W)
                mixed = read - step * torch.einsum("bhk,bhkg->bhg", row, held)
                mixed = mixed + fusion.fuse_bias(b_t, sent_bias.squeeze(2))
            output = q.transpose(0, 1) + self._inner_norm(mixed.transpose(0, 1))
            full = position + 1 == self.mini_batch_size
            whole, flat = full[:, None, None, None], full[:, None, None]
            after = TTTState(
                W=torch.where(whole, W_t, state.W),
                b=torch.where(flat, b_t, state.b),
                S_W=torch.where(whole, torch.zeros_like(S_W), S_W),
                S_b=torch.where(flat, torch.zeros_like(S_b), S_b),
                position=torch.where(full, 0, position + 1),
                keys=torch.where(whole, torch.zeros_like(held_keys), held_keys),
                scaled_grads=torch.where(whole, torch.zeros_like(held), held),
            )
        return self._output(output, x_t), after

    def primal(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor | None = None,
        state: TTTState | None = None,
        correction: Correction | None = None,
        fusion: CorrectionFusion | None = None,
    ) -> tuple[torch.Tensor, TTTState]:
        """Click by click through :meth:`step`; equals :meth:`forward` with ``return_state=True``.

        A row whose ``lengths`` clicks are over keeps its state; its further outputs go on from there.
        """
        self._check(x, state, correction, fusion)
        state = self.initial_state(x.shape[0]) if state is None else state
        outputs = []
        running = state
        for t in range(x.shape[1]):
            output, running = self.step(x[:, t], running, correction, fusion)
            outputs.append(output)
            if lengths is None:
                state = running
                continue
            going = t < lengths
            old, new = state.to_dict(), running.to_dict()
            state = TTTState(**{n: torch.where(going.view(-1, *[1] * (new[n].dim() - 1)), new[n], old[n]) for n in new})
        return (torch.stack(outputs, dim=1) if outputs else x), state

    def _check(
        self,
        x: torch.Tensor,
        state: TTTState | None,
        correction: Correction | None,
        fusion: CorrectionFusion | None,
    ) -> None:
        heads, size, width = self.num_heads, self.mini_batch_size, self.head_width
        if x.dim() != 3 or x.shape[2] != self.hidden_size:
            raise ValueError(f"x has shape {tuple(x.shape)}; it must be [B, L, {self.hidden_size}]")
        rows = x.shape[0]
        if state is not None and state.keys.shape != (rows, heads, size, width):
            raise ValueError(
                f"the state's keys have shape {tuple(state.keys.shape)}; for this x and layer they must be "
                f"{(rows, heads, size, width)}"
            )
        if correction is None:
            return
        if fusion is None:
            raise ValueError("a correction needs the fusion that holds alpha and beta")
        for name, sent, shape in (
            ("attention", correction.attention, (rows, heads, size, size)),
            ("bias", correction.bias, (rows, heads, size, width)),
        ):
            if sent.shape != shape:
                raise ValueError(f"{name} of the correction has shape {tuple(sent.shape)}; it must be {shape}")
