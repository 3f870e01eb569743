"""TTT-Linear the slow, obvious way: one click of one head of one row at a time, no matrix of a mini-batch.

The inner gradient comes from autograd, not from a closed form. Only the layer's parameters are used, none of
its methods.
"""

import math

import torch
from torch import Tensor

from recbole_cocorr.layers import Correction, CorrectionFusion, TTTLinear, TTTState


def layer_norm(z: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return (z - z.mean()) / torch.sqrt(z.var(correction=0) + 1e-6) * gamma + beta


def rope(vector: Tensor, position: int) -> Tensor:
    """Turn the pairs (x0, x1), (x2, x3), ... by position * 10000 ** (-2 p / f)."""
    turned = []
    for p in range(len(vector) // 2):
        angle = position * 10000.0 ** (-2 * p / len(vector))
        first, second = vector[2 * p], vector[2 * p + 1]
        turned.append(first * math.cos(angle) - second * math.sin(angle))
        turned.append(first * math.sin(angle) + second * math.cos(angle))
    return torch.stack(turned)


def normalise(sent: Tensor, like: Tensor) -> Tensor:
    """Eq. 14: ``sent`` with the mean and the (n - 1) deviation of ``like``; one number deviates by 0."""

    def deviation(row: Tensor) -> Tensor:
        return row.std(correction=1) if len(row) > 1 else torch.zeros_like(row[0])

    return (sent - sent.mean()) / (deviation(sent) + 1e-6) * deviation(like) + like.mean()


def read_head(layer: TTTLinear, h: int, x: Tensor, start: tuple, sent: tuple | None) -> tuple[list[Tensor], tuple]:
    """Read the clicks x [n, d] with head ``h``.

    ``start`` is (W, b, S_W, S_b, i, keys, lr * G of those keys); ``sent`` is (A^ [K, K], B^ [K, f], alpha, beta).
    Returns the n outputs [f] and the state after them.
    """
    f, K = layer.head_width, layer.mini_batch_size
    columns = slice(h * f, (h + 1) * f)
    gamma, beta_h = layer.inner_norm_weight[h], layer.inner_norm_bias[h]
    W, b, S_W, S_b, i, keys, gradients = start
    outputs = []
    for x_t in x:
        q = rope(layer.q_proj.weight[columns] @ x_t, i)
        k = rope(layer.k_proj.weight[columns] @ x_t, i)
        v = layer.v_proj.weight[columns] @ x_t
        lr = layer.inner_lr / f * torch.sigmoid(x_t @ layer.inner_lr_weight[h] + layer.inner_lr_bias[h])

        z = k @ W + b
        loss = 0.5 * (layer_norm(z, gamma, beta_h) - (v - k)).square().sum()
        (G,) = torch.autograd.grad(loss, z, create_graph=True)

        S_W = S_W + lr * torch.outer(k, G)
        S_b = S_b + lr * G
        keys, gradients = [*keys, k], [*gradients, lr * G]
        i = i + 1
        tau = torch.clamp(1 / i + layer.token_scale[i - 1], min=0)
        W_t, b_t = W - tau * S_W, b - tau * S_b
        if sent is None:
            mixed = q @ W_t + b_t
        else:
            A_hat, B_hat, alpha, beta = sent
            A = torch.stack([q @ key for key in keys])  # row i of A has i entries
            A = A + alpha * normalise(A_hat[i - 1, :i], A)
            bbar = b_t + beta * normalise(B_hat[i - 1], b_t)
            mixed = q @ W - tau * sum(a * g for a, g in zip(A, gradients, strict=True)) + bbar
        outputs.append(q + layer_norm(mixed, gamma, beta_h))
        if i == K:
            W, b = W_t, b_t
            S_W, S_b, i, keys, gradients = torch.zeros_like(W), torch.zeros_like(b), 0, [], []
    return outputs, (W, b, S_W, S_b, i, keys, gradients)


def naive_ttt(
    layer: TTTLinear,
    x: Tensor,
    lengths: Tensor | None = None,
    state: TTTState | None = None,
    correction: Correction | None = None,
    fusion: CorrectionFusion | None = None,
) -> tuple[list[Tensor], TTTState]:
    """Outputs of each row's real clicks, [length, d] each, and the state after them."""
    f, K = layer.head_width, layer.mini_batch_size
    rows_out, rows_after = [], []
    for row in range(len(x)):
        clicks = x[row] if lengths is None else x[row, : int(lengths[row])]
        by_head, after = [], []
        for h in range(layer.num_heads):
            if state is None:
                start = (layer.W0[h], layer.b0[h], x.new_zeros(f, f), x.new_zeros(f), 0, [], [])
            else:
                i = int(state.position[row])
                held = list(state.keys[row, h, :i]), list(state.scaled_grads[row, h, :i])
                start = (*(t[row, h] for t in (state.W, state.b, state.S_W, state.S_b)), i, *held)
            sent = None
            if correction is not None:
                sent = correction.attention[row, h], correction.bias[row, h], fusion.alpha, fusion.beta
            outputs, end = read_head(layer, h, clicks, start, sent)
            by_head.append(outputs)
            after.append(end)
        joined = [torch.cat(heads) for heads in zip(*by_head, strict=True)]
        normed = [layer_norm(o, layer.post_norm.weight, layer.post_norm.bias) for o in joined]
        rows_out.append(
            torch.stack([layer.o_proj.weight @ o for o in normed]) if normed else x.new_zeros(0, x.shape[2])
        )
        rows_after.append(after)

    def stacked(part: int) -> Tensor:
        return torch.stack([torch.stack([end[part] for end in after]) for after in rows_after])

    def padded(part: int) -> Tensor:
        fill = [x.new_zeros(f)] * K
        return torch.stack(
            [torch.stack([torch.stack([*end[part], *fill][:K]) for end in after]) for after in rows_after]
        )

    position = torch.tensor([after[0][4] for after in rows_after])
    return rows_out, TTTState(stacked(0), stacked(1), stacked(2), stacked(3), position, padded(5), padded(6))
