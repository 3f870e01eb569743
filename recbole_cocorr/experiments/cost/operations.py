"""What one of torch's operations costs in floating-point operations, by a convention stated here alone.

Matrix products and convolutions are counted by torch's own table (``torch.utils.flop_counter``): a multiplication
and an addition are 2. All other arithmetic is counted per number:

* 1 for each addition, subtraction, multiplication, division, maximum, minimum, power or negation, and 1 for each
  exp, log, sqrt, rsqrt, sigmoid, tanh, erf, sin or cos, though a processor takes longer for these;
* what torch fuses is the sum of its parts: :data:`PER_OUTPUT` and :data:`PER_INPUT` say which;
* a sum or a mean over n numbers is n;
* a product of two complex numbers is 6, a sum 2;
* nothing for copies, look-ups, masks and choices (``where``, ``gather``, a comparison), sorting, changes of type, and
  arithmetic on whole numbers, such as positions.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from recbole_cocorr.base.errors import UserError

# Names as torch's dispatcher has them; in place or not is the same.
_ONE = """
    abs add clamp clamp_max clamp_min cos div erf exp expm1 leaky_relu log log1p maximum minimum mul neg pow reciprocal
    relu rsqrt rsub sigmoid sin sqrt square sub tanh
"""
_SUMS = "sum mean cumsum amax amin prod logsumexp"
_NOTHING = """
    _local_scalar_dense _reshape_alias _to_copy _unsafe_view alias any all arange argsort as_strided bitwise_and
    bitwise_not bitwise_or block_diag cat clone complex constant_pad_nd contiguous copy detach diagonal embedding empty
    empty_like empty_strided eq eye expand fill flip full full_like gather ge gt index index_copy index_fill index_put
    index_select isin isinf isnan le lift lift_fresh logical_and logical_not logical_or lt masked_fill masked_scatter
    masked_select narrow ne new_empty new_empty_strided new_full new_ones new_zeros nonzero ones ones_like permute
    randint repeat resize roll scalar_tensor scatter select select_scatter set slice slice_scatter sort split
    split_with_sizes squeeze stack t topk transpose tril triu unbind unfold unsafe_chunk unsafe_split
    unsafe_split_with_sizes unsqueeze view view_as_complex view_as_real where zero zeros zeros_like
"""
# FLOPs per number of the result.
PER_OUTPUT: dict[str, int] = {
    **dict.fromkeys(_ONE.split(), 1),
    "silu": 2,  # x * sigmoid(x)
    "addcmul": 2,
    "addcdiv": 2,
    "lerp": 3,  # a + w (b - a)
    "softplus": 3,  # log(1 + exp(x))
    "elu": 3,
    "gelu": 5,  # x * 0.5 * (1 + erf(x / sqrt(2)))
    "_softmax": 5,  # maximum, difference, exp, sum, division
    "_log_softmax": 5,
    "native_batch_norm": 4,  # with the running statistics: difference, division, scale, shift
}
# FLOPs per number of the first argument.
PER_INPUT: dict[str, int] = dict.fromkeys(_SUMS.split(), 1)
# FLOPs per complex number of the result.
COMPLEX: dict[str, int] = {"mul": 6, "add": 2, "sub": 2, "neg": 2}
FREE = frozenset(_NOTHING.split())


class UncountedOperation(UserError):
    """An operation that this table does not know; it is refused, because to leave it out would hide work."""


def _first(out: Any) -> Any:
    return out[0] if isinstance(out, (tuple, list)) else out


def _layer_norm(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # mean; difference, square, sum; times 1 / sigma
    return args[0].numel() * (5 + sum(t is not None for t in args[2:4]))


def _rms_norm(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # square, sum; times 1 / rms; and for each vector eps and the root
    return args[0].numel() * (3 + (len(args) > 2 and args[2] is not None)) + 2 * out[1].numel()


def _layer_norm_backward(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """The gradient of the input alone: (y - mean(y) - xhat mean(y xhat)) / sigma with xhat = (x - mean) / sigma."""
    output_mask = args[7]
    if output_mask[1] or output_mask[2]:
        raise UncountedOperation("native_layer_norm_backward is counted for the gradient of its input alone")
    # xhat 2, mean(y) 1, mean(y xhat) 2, and two differences and two products
    return args[0].numel() * (9 + (args[5] is not None))


def _index_add(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return args[3].numel()


def _max_pool(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return out[0].numel() * math.prod(args[1])


def _norm(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return 2 * args[0].numel() + out.numel()


def _added(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """What ``addmm`` and its like add to the product."""
    return 0 if kwargs.get("beta", 1) == 0 else out.numel()


SPECIAL: dict[str, Callable[[Sequence[Any], Mapping[str, Any], Any], int]] = {
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _rms_norm,
    "native_layer_norm_backward": _layer_norm_backward,
    "index_add": _index_add,
    "scatter_add": _index_add,
    "linalg_vector_norm": _norm,  # square, sum; root
    "max_pool2d_with_indices": _max_pool,
    "addmm": _added,
    "baddbmm": _added,
    "addmv": _added,
}
# Products of vectors, which torch's table leaves out.
VECTOR_PRODUCTS: dict[str, Callable[[Sequence[Any]], int]] = {
    "mv": lambda args: 2 * args[0].numel(),
    "addmv": lambda args: 2 * args[1].numel(),
    "dot": lambda args: 2 * args[0].numel(),
    "vdot": lambda args: 2 * args[0].numel(),
}


def name_of(func: Any) -> str:
    """Name of an operation, the same for the form that works in place."""
    name = func._overloadpacket.__name__
    return name if name.startswith("__") else name.rstrip("_")


def _torch_table(func: Any) -> Callable[..., int] | None:
    return flop_registry.get(getattr(torch.ops.aten, name_of(func), func._overloadpacket))


def is_known(func: Any) -> bool:
    """Whether the table has an entry for the operation."""
    name = name_of(func)
    tables = (FREE, PER_OUTPUT, PER_INPUT, SPECIAL, VECTOR_PRODUCTS, ("max", "min"))
    return any(name in table for table in tables) or _torch_table(func) is not None


def products(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """FLOPs of a matrix product or convolution; 0 for any other operation."""
    if name_of(func) in VECTOR_PRODUCTS:
        return VECTOR_PRODUCTS[name_of(func)](args)
    counted = _torch_table(func)
    return 0 if counted is None else int(counted(*args, **kwargs, out_val=out))


def elementwise(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """FLOPs of an operation beside what :func:`products` says.

    Raises
    ------
    UncountedOperation
        If an operation has no entry.
    """
    name = name_of(func)
    if name in SPECIAL:
        return SPECIAL[name](args, kwargs, out)
    if name in FREE or name in VECTOR_PRODUCTS or _torch_table(func) is not None:
        return 0
    result = _first(out)
    source = args[0] if args and isinstance(args[0], torch.Tensor) else result
    if isinstance(result, torch.Tensor) and not (_real(result) or _real(source)):
        return 0  # arithmetic on positions and masks
    if name in PER_INPUT and isinstance(source, torch.Tensor):
        return PER_INPUT[name] * source.numel()
    if name in ("max", "min"):  # of two tensors, or over one
        return result.numel() if len(args) > 1 and isinstance(args[1], torch.Tensor) else source.numel()
    if name in PER_OUTPUT:
        numbers = math.prod(result.shape)
        if not result.is_complex():
            return PER_OUTPUT[name] * numbers
        if name in COMPLEX:
            return COMPLEX[name] * numbers
    raise UncountedOperation(
        f"the operation {func} has no entry in the table of operations, so this model's FLOPs cannot be counted"
    )


def _real(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
