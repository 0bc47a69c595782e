"""Which operators are no multiply-accumulate work by convention; what is not found here is reported as uncounted.

Whether an operator that has a rule is work stands in its facts; this file names others, which no rule knows.
"""

from __future__ import annotations

from typing import Any

import torch

from sapwood.ops.facts import FACTS

_MAKING = """
exponential normal randint randperm uniform
"""
_MOVING = """
_index_put_impl _unsafe_index_put _unsafe_masked_index bucketize masked_scatter
resize searchsorted set split_with_sizes_copy
"""
_REDUCING = """
_cummax_helper _cummin_helper argsort
"""
_NORMALISING = """
_masked_softmax batch_norm_with_update miopen_batch_norm
"""
_POOLING = """
_upsample_bicubic2d_aa _upsample_nearest_exact3d avg_pool1d
"""
_ACTIVATING = """
relu6 rrelu selu
"""  # element-wise, but PyTorch 2.4 does not say so
_CHECKING = "_assert_scalar _functional_assert_async is_same_size sym_numel sym_size sym_storage_offset"

FREE_ATEN = frozenset(" ".join((_MAKING, _MOVING, _REDUCING, _NORMALISING, _ACTIVATING, _POOLING, _CHECKING)).split())
"""ATen operators that move, reduce, normalise, pool or make values, without the ``_`` of their in-place forms."""

FREE_OTHERS = frozenset({"torchvision.ps_roi_pool", "prim.device"})


def is_free(func: Any) -> bool:
    """Tells whether an operator is free by convention: no sum by its facts, element-wise, a view, or named here.

    Args:
        func: An operator with overload, as ``torch.ops.aten.relu.default``, or a higher-order one, which never is.

    Examples:
        >>> aten = torch.ops.aten
        >>> is_free(aten.relu_.default), is_free(aten.cat.default), is_free(aten.mm.default)
        (True, True, False)
    """
    if not isinstance(func, torch._ops.OpOverload):
        return False
    full_name = str(func._overloadpacket)
    if full_name in FACTS:
        return FACTS[full_name].sum is None and not FACTS[full_name].uncounted
    if torch.Tag.pointwise in func.tags or func.is_view:
        return True
    namespace, _, name = full_name.partition(".")
    if namespace == "aten":
        return name.removesuffix("_") in FREE_ATEN
    return full_name in FREE_OTHERS
