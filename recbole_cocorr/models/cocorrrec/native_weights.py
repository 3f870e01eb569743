"""CoCorrRec's weights in one file, as the native runtime maps them.

A header of 64 bytes: RCCNATIV, then little-endian uint32 version, d, H, K, L, layers and 1 for the gated block, float32
epsilons of the RMSNorms and of the LayerNorms; alpha and beta of a correction and uint32 1, or zeros for a model that
takes none; and zeros. Then float32 numbers, in the order of :func:`native_weights`
and :func:`_layer`. A matrix lies by its inputs, so that one input's products with all outputs stand side by side.
"""

import struct
from collections.abc import Iterator

import torch

from recbole_cocorr.layers.ttt.inner_gradient import NORM_EPS
from recbole_cocorr.models.cocorrrec.network import RMS_EPS, CoCorrRec, GatedBlock, PlainBlock

MAGIC, VERSION = b"RCCNATIV", 1
_HEADER = struct.Struct("<8s7I4fI8x")


def _layer(block: PlainBlock) -> Iterator[torch.Tensor]:
    ttt = block.ttt
    yield block.input_norm.weight
    # By input: all queries, keys and values, then the gates.
    weights = [ttt.q_proj.weight, ttt.k_proj.weight, ttt.v_proj.weight, ttt.inner_lr_weight]
    yield torch.cat(weights).T
    yield ttt.inner_lr_bias
    yield ttt.inner_norm_weight
    yield ttt.inner_norm_bias
    yield ttt.W0
    yield ttt.b0
    yield ttt.token_steps(ttt.W0) * ttt.base_rate
    yield ttt.post_norm.weight
    yield ttt.post_norm.bias
    yield ttt.o_proj.weight.T
    if isinstance(block, GatedBlock):
        yield block.gate_norm.weight
        yield torch.cat([block.gate_proj.weight, block.value_proj.weight]).T
        yield block.out_proj.weight.T


@torch.no_grad()
def native_weights(model: CoCorrRec) -> bytes:
    """The file's bytes."""
    ttt, gated = model.layers[0].ttt, isinstance(model.layers[0], GatedBlock)
    sizes = [model.hidden_size, ttt.num_heads, ttt.mini_batch_size, model.max_seq_length, len(model.layers), gated]
    parts = [model.embedding_norm.weight] if gated else []
    for block in model.layers:
        parts += _layer(block)
    tables = ttt.tables(ttt.W0)
    parts += [model.final_norm.weight, tables.cos, tables.sin]
    numbers = torch.cat([part.detach().float().flatten() for part in parts]).numpy()
    corrects = model.use_gcn and len(model.layers) == 1
    fusion = (float(model.fusion.alpha), float(model.fusion.beta)) if corrects else (0.0, 0.0)
    return _HEADER.pack(MAGIC, VERSION, *sizes, RMS_EPS, NORM_EPS, *fusion, corrects) + numbers.astype("<f4").tobytes()
