"""FLOPs of each model worked out by hand, from the sizes alone; the counter is held to them to the last one.

Symbols: L clicks, d width, C candidates, H heads of width f = d / H, and each model's own below. Products and the rest
are kept apart, under the convention of :mod:`recbole_cocorr.experiments.cost.operations`: an [m, k] by [k, n] product
is 2 m k n; LayerNorm is 7 a number, RMSNorm 4 (and 2 a vector), GELU 5, softmax 5, a bias 1.

The formulas follow what runs, not the least that would do: GRU4Rec's dense layer reads all L positions, as RecBole
has it, and for L <= K the TTT layer multiplies with one block-diagonal [d, d] matrix in place of H small ones.
"""

import math
from collections.abc import Callable
from itertools import pairwise

from torch import nn

from recbole_cocorr.experiments.cost.flops import Flops

# Hidden width of the cloud's MLPs, which no setting changes.
MLP = 64


def dot_products(C: int, d: int, bias: bool = False) -> Flops:
    """Scores u . v of C candidates, and BERT4Rec's bias for each."""
    return Flops(2 * C * d, C if bias else 0)


def gru4rec(L: int, d: int, h: int, layers: int = 1) -> Flops:
    """Three gates from the input and three from the hidden state h at each click; a dense layer h -> d at each.

    Beside the products: 2 sums, 2 sigmoids, and 3 for the candidate (reset, sum, tanh) and 3 for the mixture, each of
    width h; RecBole's GRU has no bias, its dense layer has.
    """
    gates = sum(2 * 3 * h * (width + h) for width in [d] + [h] * (layers - 1))
    return Flops(L * (gates + 2 * h * d), L * (10 * h * layers + d))


def transformer_layer(L: int, d: int, inner: int, heads: int) -> Flops:
    """Q, K, V and output projections; Q K^T and its product with V; a feed-forward network d -> inner -> d.

    Beside the products: 6 biases, GELU, 2 residuals and 2 LayerNorms; for each of heads L^2 the scale, the mask and
    the softmax.
    """
    products = 4 * 2 * L * d * d + 2 * 2 * L * L * d + 2 * 2 * L * d * inner
    return Flops(products, L * ((4 + 1 + 2 + 14) * d + (1 + 5) * inner) + heads * L * L * (1 + 1 + 5))


def sasrec(L: int, d: int, inner: int, heads: int, layers: int) -> Flops:
    """Position added to item and a LayerNorm, then the layers, over all L positions."""
    return _times(layers, transformer_layer(L, d, inner, heads)) + Flops(0, L * 8 * d)


def bert4rec(L: int, d: int, inner: int, heads: int, layers: int) -> Flops:
    """The same (the mask takes the oldest click's place), and d -> d, GELU and LayerNorm at each position."""
    return sasrec(L, d, inner, heads, layers) + Flops(2 * L * d * d, L * (1 + 5 + 7) * d)


def din(L: int, d: int, attention: list[int], mlp: list[int], C: int) -> Flops:
    """For each candidate: an MLP 4 d -> attention -> 1 at each click, the weighted sum, an MLP 3 d -> mlp -> 1.

    Beside the products: difference and product with the candidate, bias and sigmoid of each unit, and the scale;
    in the second MLP bias, batch norm (4) and Dice (6) of each unit, and the final sigmoid.
    """

    def through(widths: list[int]) -> int:
        return sum(2 * a * b for a, b in pairwise(widths))

    at_click = Flops(through([4 * d, *attention, 1]) + 2 * d, 2 * d + 2 * sum(attention) + 2)
    after = Flops(through([3 * d, *mlp, 1]), d + (1 + 4 + 6) * sum(mlp) + 2)
    return _times(C, _times(L, at_click) + after)


def mamba4rec(L: int, d: int, N: int, taps: int, expand: int = 2, layers: int = 1, step: bool = False) -> Flops:
    """With D = expand d channels, N states and step sizes of rank R = ceil(d / 16), at each click:

    input projection d -> 2 D; D -> R + 2 N; R -> D; the product of the states with C; output projection D -> d; the
    feed-forward network d -> 4 d -> d. Beside the products: the LayerNorm of the embedding; the convolution (2 for each
    tap) and silu; bias and softplus of the step sizes; the scan; D u; the gate and its silu; two LayerNorms, the
    biases, GELU and residual. A = -exp(A_log) once. A ``step`` adds the convolution's bias to a sum, so D more.
    """
    D, R = expand * d, math.ceil(d / 16)
    products = 2 * (d * 2 * D + D * (R + 2 * N) + R * D + D * N + D * d + 8 * d * d)
    rest = (2 * taps + 2 + 4 + 2 + 3) * D + (7 + 4 + 20 + 1 + 1 + 7) * d + (d if layers > 1 else 0)
    scanned = Flops(0, 2 * D * N) + (Flops(0, 2 * D + 5 * D * N) if step else scan(L, D, N))
    return _times(layers, Flops(L * products, L * rest) + scanned) + Flops(0, L * 7 * d)


def scan(L: int, D: int, N: int, chunk: int = 16, block: int = 1 << 19) -> Flops:
    """The selective scan of one row, but for its product with C and D u; all of it is elementwise.

    exp(delta A): 2 for each of L D N; delta u: L D; times B: L D N. Then, for each block of positions that has no more
    than ``block`` numbers, the recurrence: a multiplication and an addition for each number where there is one chunk.
    Else the positions, whole chunks of s, take a multiplication and an addition, and one more multiplication for
    the products of a, at all but each chunk's first; then a multiplication and an addition carry the state over.
    """
    most, rest = max(1, min(L, block // (D * N))), 0
    for steps in [most] * (L // most) + [L % most]:
        if steps <= chunk:
            rest += 2 * steps * D * N
            continue
        size = max(chunk, math.isqrt(steps))
        chunks = -(-steps // size)
        rest += 3 * chunks * (size - 1) * D * N + 2 * chunks * size * D * N
    return Flops(0, 3 * L * D * N + L * D + rest)


# -- CoCorrRec, one layer ------------------------------------------------------------------------

# The closed form of G a number (5 for the norm, 2 for beta + k - v, 3 for the residual, 9 for its projection).
_GRADIENT = 19


def _match(n: int, rows: int, masked: bool) -> Flops:
    """``match_moments`` of n numbers in so many rows, and what it is added to with its weight (eqs. 14-15)."""
    if masked:
        return Flops(0, n * (1 + 2 * 6 + 5 + 2) + rows * 9 + 6)
    return Flops(0, n * (2 * 4 + 4 + 2) + rows * 7 + 4)


def cocorrrec_device(L: int, d: int, H: int, K: int, corrected: bool = False) -> Flops:
    """The SCN for the last position alone (``forward_last``): RMSNorm, TTT-Linear, RMSNorm.

    L <= K: keys, values and gates of each click (an even number of gates), RoPE of the key, its prediction k W0 with
    the block-diagonal W0, and G; q, q W0 and the output projection of the last position, where q K^T and the sum
    over the clicks are elementwise.

    L > K: keys, values, H gates, k W and G of each click; of each mini-batch before the last, W' and b' with
    K^T (lr G); of the last one, with R clicks, q K^T and its product with lr G, and with a correction the sum of
    lr G, which is a product with ones; q, q W and the output projection.
    """
    f, R = d // H, (L - 1) % K + 1
    once = 3 * d + 8 * d + 7 * d + (4 * d + 2) + 2 * K  # RoPE of q, its output, the norms behind it, the tau
    if L <= K:
        products = 2 * L * d * (2 * d + H + H % 2) + 2 * L * d * d + 3 * 2 * d * d
        each = (4 * d + 2) + 3 * d + d + _GRADIENT * d + 3 * H + 2 * d + 2 * d
        plain = Flops(products, L * (each + 2 * H) + once + d + 2 * d)
        if not corrected:
            return plain
        more = Flops(0, -H * L + 2 * L * d + 4 * d)  # the bias has a sum of its own
        return plain + more + _match(H * L, H, masked=True) + _match(d, H, masked=False)
    full = (L - R) // K
    products = 2 * L * d * (2 * d + H) + 2 * L * d * f + 2 * (L - R) * d * f + 2 * 2 * d * d
    products += 2 * d * f + 2 * d * R * (3 if corrected else 2)
    each = (4 * d + 2) + 3 * d + 3 * H + d + _GRADIENT * d + d
    rest = L * each + (L - R) * d + full * (2 * d * f + 2 * d) + once
    if not corrected:
        return Flops(products, rest + 2 * H * R + 3 * d)
    return Flops(products, rest + 5 * d) + _match(H * R, H, masked=True) + _match(d, H, masked=False)


def cocorrrec_device_click(d: int, H: int, K: int, corrected: bool = False) -> Flops:
    """One click in the primal form (``TTTLinear.step``), whatever L is.

    Q, K, V, H gates, k W, q W and the output projection. Beside the products: the outer product k^T (lr G), added to
    S_W, and W - tau S_W, 4 for each of d f. With a correction also q K^T and its product with the gradients of the
    mini-batch, over all K places; where K = 1 the second has one term, and torch multiplies without a matrix product.
    """
    f = d // H
    products = 2 * d * (3 * d + H) + 2 * 2 * d * f + 2 * d * d
    rest = (4 * d + 2) + 6 * d + 3 * H + 2 * K + d + _GRADIENT * d + d + 4 * d * f
    rest += d + 2 * d + d + 8 * d + 7 * d + (4 * d + 2)  # S_b, b_t, + b_t, the output, the norms behind it
    if not corrected:
        return Flops(products, rest)
    attended = Flops(2 * d * K + (2 * d * K if K > 1 else 0), 2 * d + (d if K == 1 else 0))
    return Flops(products, rest) + attended + _match(H * K, H, masked=True) + _match(d, H, masked=False)


def gated_block(L: int, d: int) -> Flops:
    """What a gated block adds to a plain one for L clicks read and the last one joined.

    The embedding's own RMSNorm of each click; of the last, a residual, an RMSNorm, W_g, W_v and W_o (inner width 2 d),
    the SiLU, a product and a residual.
    """
    return Flops(3 * 2 * d * 2 * d, L * (4 * d + 2) + d + (4 * d + 2) + 2 * 2 * d + 2 * d + d)


def cocorrrec_cloud(L: int, d: int, H: int, K: int) -> Flops:
    """The GCN: two GRUs d -> d with biases over L clicks, each with an MLP d -> 64 -> 64 -> H K K or H K f.

    A click that comes later costs what L = 1 does: the GRUs go on from their hidden states.
    """
    gru = Flops(L * 2 * 6 * d * d, L * 16 * d)
    mlp = Flops(2 * d * MLP + 2 * MLP * MLP, 2 * MLP)
    return _times(2, gru + mlp) + Flops(2 * MLP * (H * K * K + K * d), 0)


def target_mlp(C: int, d: int) -> Flops:
    """phi of C candidates on the spot: d -> d, tanh, d -> d, with biases."""
    return Flops(2 * 2 * C * d * d, 3 * C * d)


# -- from a model --------------------------------------------------------------------------------


def _times(n: int, flops: Flops) -> Flops:
    return Flops(n * flops.products, n * flops.elementwise)


def _transformer_sizes(model: nn.Module) -> tuple[int, int, int, int]:
    return model.hidden_size, model.inner_size, model.n_heads, model.n_layers


def _mamba(model: nn.Module, L: int, step: bool = False) -> Flops:
    block = model.layers[0].mamba
    return mamba4rec(L, model.hidden_size, block.d_state, block.d_conv, block.expand, len(model.layers), step)


def _cocorrrec(model: nn.Module, L: int | None) -> Flops | None:
    if len(model.layers) != 1:
        return None
    ttt, gcn = model.layers[0].ttt, model.use_gcn
    sizes = ttt.hidden_size, ttt.num_heads, ttt.mini_batch_size
    device = cocorrrec_device_click(*sizes, gcn) if L is None else cocorrrec_device(L, *sizes, gcn)
    if hasattr(model, "embedding_norm"):
        device = device + gated_block(1 if L is None else L, model.hidden_size)
    return device + cocorrrec_cloud(1 if L is None else L, *sizes) if gcn else device


_INFERENCE: dict[str, Callable[[nn.Module, int, int], Flops | None]] = {
    "DIN": lambda m, L, C: din(L, m.embedding_size, m.mlp_hidden_size, m.mlp_hidden_size, C),
    "GRU4Rec": lambda m, L, C: gru4rec(L, m.embedding_size, m.hidden_size, m.num_layers),
    "SASRec": lambda m, L, C: sasrec(L, *_transformer_sizes(m)),
    "BERT4Rec": lambda m, L, C: bert4rec(L, *_transformer_sizes(m)),
    "Mamba4Rec": lambda m, L, C: _mamba(m, L),
    "CoCorrRec": lambda m, L, C: _cocorrrec(m, L),
}
_CLICK: dict[str, Callable[[nn.Module], Flops | None]] = {
    "GRU4Rec": lambda m: gru4rec(1, m.embedding_size, m.hidden_size, m.num_layers),
    "Mamba4Rec": lambda m: _mamba(m, 1, step=True),
    "CoCorrRec": lambda m: _cocorrrec(m, None),
}


def inference(model: nn.Module, L: int, C: int) -> Flops | None:
    """FLOPs of one inference: L clicks to the scores of C candidates; None for a model without a formula."""
    name = type(model).__name__
    encode = _INFERENCE[name](model, L, C) if name in _INFERENCE else None
    if encode is None or name == "DIN":  # DIN's encoding is its scoring
        return encode
    return encode + dot_products(C, model.item_embedding.embedding_dim, bias=name == "BERT4Rec")


def click(model: nn.Module) -> Flops | None:
    """FLOPs of one new click up to the user vector; None for a model without a step, or without a formula."""
    name = type(model).__name__
    return _CLICK[name](model) if name in _CLICK else None
