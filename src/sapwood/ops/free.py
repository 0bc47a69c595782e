"""Which operators are no multiply-accumulate work by convention; what is not found here is reported as uncounted."""

from __future__ import annotations

from typing import Any

import torch

_MAKING = """
arange empty empty_like empty_strided eye fill full full_like linspace logspace new_empty new_empty_strided new_full
new_ones new_zeros ones ones_like scalar_tensor zero zeros zeros_like bernoulli exponential multinomial native_dropout
normal rand rand_like randint randint_like randn randn_like randperm uniform tril_indices triu_indices
"""
_MOVING = """
_embedding_bag _embedding_bag_forward_only _index_put_impl _local_scalar_dense _to_copy _unsafe_index
_unsafe_index_put _unsafe_masked_index _unsafe_view as_strided bucketize cat col2im constant_pad_nd copy embedding flip
gather im2col index index_add index_copy index_fill index_put index_select masked_scatter masked_select
native_channel_shuffle nonzero nonzero_static pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d
reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d resize roll scatter
scatter_add scatter_reduce searchsorted set split_with_sizes_copy stack take tril triu unsafe_split
unsafe_split_with_sizes
"""
_REDUCING = """
_cummax_helper _cummin_helper _unique2 all amax amin aminmax any argmax argmin argsort bincount count_nonzero cumprod
cumsum equal histc kthvalue linalg_vector_norm logcumsumexp logsumexp max mean median min mode nanmedian nansum norm
prod sort std std_mean sum topk unique_consecutive unique_dim var var_mean
"""
_NORMALISING = """
_fused_rms_norm _log_softmax _masked_softmax _native_batch_norm_legit _native_batch_norm_legit_no_training
_prelu_kernel _safe_softmax _softmax _weight_norm_interface batch_norm_with_update cudnn_batch_norm glu hardswish
miopen_batch_norm native_batch_norm native_group_norm native_layer_norm rrelu_with_noise
"""
_POOLING = """
_adaptive_avg_pool2d _adaptive_avg_pool3d _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d
_upsample_nearest_exact2d _upsample_nearest_exact3d adaptive_max_pool2d adaptive_max_pool3d avg_pool1d avg_pool2d
avg_pool3d fractional_max_pool2d fractional_max_pool3d grid_sampler_2d grid_sampler_3d max_pool2d_with_indices
max_pool3d_with_indices max_unpool2d max_unpool3d upsample_bicubic2d upsample_bilinear2d upsample_linear1d
upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d
"""
_ACTIVATING = """
celu elu hardshrink hardsigmoid hardtanh leaky_relu log_sigmoid_forward mish rad2deg relu6 rrelu selu softplus
softshrink threshold
"""  # element-wise, but PyTorch 2.4 does not say so
_CHECKING = "_assert_async _assert_scalar _functional_assert_async is_same_size sym_numel sym_size sym_storage_offset"

FREE_ATEN = frozenset(" ".join((_MAKING, _MOVING, _REDUCING, _NORMALISING, _ACTIVATING, _POOLING, _CHECKING)).split())
"""ATen operators that move, reduce, normalise, pool or make values, without the ``_`` of their in-place forms."""

FREE_OTHERS = frozenset(
    f"torchvision.{name}" for name in ("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")
) | {"prim.device"}


def is_free(func: Any) -> bool:
    """Tells whether an operator is free by convention: element-wise, a view, or named in this file.

    Args:
        func: An operator with overload, as ``torch.ops.aten.relu.default``, or a higher-order one, which never is.

    Examples:
        >>> aten = torch.ops.aten
        >>> is_free(aten.relu_.default), is_free(aten.cat.default), is_free(aten.mm.default)
        (True, True, False)
    """
    if not isinstance(func, torch._ops.OpOverload):
        return False
    if torch.Tag.pointwise in func.tags or func.is_view:
        return True
    namespace, _, name = str(func._overloadpacket).partition(".")
    if namespace == "aten":
        return name.removesuffix("_") in FREE_ATEN
    return f"{namespace}.{name}" in FREE_OTHERS
