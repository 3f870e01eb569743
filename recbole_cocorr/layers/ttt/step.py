"""The primal form: one click at a time, at a cost that does not depend on the history."""

import torch

from recbole_cocorr.layers.correction import Correction, CorrectionFusion
from recbole_cocorr.layers.ttt.equations import InnerModel, descend
from recbole_cocorr.layers.ttt.state import TTTState
from recbole_cocorr.layers.ttt.weights import TTTWeights


def step(
    weights: TTTWeights,
    x_t: torch.Tensor,
    state: TTTState,
    correction: Correction | None,
    fusion: CorrectionFusion | None,
) -> tuple[torch.Tensor, TTTState]:
    """O [B, d] of one click x_t [B, d] after ``state``, and the state after it."""
    position = state.position
    click = weights.project(x_t[:, None], position[:, None]).transposed()
    q, k = click.queries, click.keys  # [B, H, 1, f]
    slot = torch.arange(weights.mini_batch_size, device=x_t.device)
    here = (slot == position[:, None])[:, None, :, None]
    tau = weights.token_steps(q)[position].view(-1, 1, 1, 1)
    with torch.autocast(x_t.device.type, enabled=False):
        start = InnerModel(state.W, state.b.unsqueeze(2))
        heads_first = (t.transpose(0, 1) for t in (k, click.values, start.predict(k)))
        gradient = click.rates * weights.inner_gradient(*heads_first).transpose(0, 1)
        S_W = state.S_W + k.transpose(-1, -2) * gradient
        S_b = state.S_b + gradient.squeeze(2)
        keys = torch.where(here, k, state.keys)
        gradients = torch.where(here, gradient, state.scaled_grads)
        now = InnerModel(descend(state.W, tau, S_W), descend(state.b, tau.squeeze(3), S_b).unsqueeze(2))
        if correction is None:
            mixed = now.predict(q)
        else:
            seen = (slot <= position[:, None])[:, None, None, :]
            row, bbar = fusion.fuse(q @ keys.transpose(-1, -2), now.b, correction.at(position), seen)
            # einsum, not a matrix product: of a lone click (K = 1) it multiplies and sums nothing.
            mixed = descend(start.read(q), tau, torch.einsum("bhqk,bhkf->bhqf", row, gradients)) + bbar
        heads = weights.read_out(q.transpose(0, 1), mixed.transpose(0, 1)).squeeze(2)
        full = position + 1 == weights.mini_batch_size

        def fold(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
            return torch.where(full.view(-1, *[1] * (new.dim() - 1)), new, old)

        after = TTTState(
            W=fold(now.W, state.W),
            b=fold(now.b.squeeze(2), state.b),
            S_W=fold(torch.zeros_like(S_W), S_W),
            S_b=fold(torch.zeros_like(S_b), S_b),
            position=torch.where(full, 0, position + 1),
            keys=fold(torch.zeros_like(keys), keys),
            scaled_grads=fold(torch.zeros_like(gradients), gradients),
        )
    return weights.join_heads(heads.movedim(0, -2), x_t), after


def primal(
    weights: TTTWeights,
    x: torch.Tensor,
    lengths: torch.Tensor | None,
    state: TTTState,
    correction: Correction | None,
    fusion: CorrectionFusion | None,
) -> tuple[torch.Tensor, TTTState]:
    """O [B, L, d] of x [B, L, d] by :func:`step` after ``state``, and the state after each row's ``lengths`` clicks."""
    outputs, running = [], state
    for t in range(x.shape[1]):
        output, running = step(weights, x[:, t], running, correction, fusion)
        outputs.append(output)
        state = running if lengths is None else running.where(t < lengths, state)
    return (torch.stack(outputs, dim=1) if outputs else x), state
