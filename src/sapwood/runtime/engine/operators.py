"""The operators of PyTorch that a saved network may name: those that make tensors from tensors, and nothing else.

None of them takes a path, reads or writes a file, draws a random number, or gives memory another meaning without
looking at its bounds. Some trust what they are given, as PyTorch's public functions check it before; here that is
checked again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from sapwood.errors import EngineError

Arguments: TypeAlias = Mapping[str, Any]
"""What a call is given, by the name of the parameter; tensors may be without numbers."""

NAMES = frozenset(
    (
        # parts and orders
        "alias as_strided cat chunk clone constant_pad_nd contiguous copy_ detach diagonal diagonal_scatter expand "
        "flatten flip gather "
        "im2col col2im index index_fill index_select lift_fresh masked_fill movedim narrow permute pixel_shuffle "
        "pixel_unshuffle channel_shuffle reflection_pad1d reflection_pad2d repeat replication_pad1d "
        "replication_pad2d reshape roll rot90 scatter select select_scatter slice slice_scatter split "
        "split_with_sizes squeeze stack t "
        "transpose tril triu unbind unfold unsafe_split unsqueeze view _unsafe_view where _to_copy "
        # numbers one by one
        "abs add addcdiv addcmul atan atan2 bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp "
        "clamp_max clamp_min complex cos cosh cumprod cumsum div elu eq erf erfc exp exp2 expm1 fill floor "
        "floor_divide fmod frac ge gelu glu gt hardshrink hardsigmoid hardswish hardtanh imag isfinite isinf "
        "isnan le leaky_relu lerp log log10 log1p log2 log_sigmoid_forward logical_and logical_not logical_or "
        "logical_xor lt maximum minimum mish mul nan_to_num ne neg pow _prelu_kernel real reciprocal relu "
        "remainder round rsqrt rsub sgn sigmoid sign silu sin sinh softplus softshrink sqrt square sub tan tanh "
        "threshold trunc view_as_complex view_as_real zero "
        # several at once
        "all amax amin any argmax argmin linalg_vector_norm _log_softmax logsumexp max mean min norm prod "
        "_safe_softmax _softmax sort std std_mean sum topk var var_mean "
        # products, norms, windows
        "addmm baddbmm bmm convolution _convolution embedding _euclidean_dist linear matmul mm _trilinear "
        "native_batch_norm _native_batch_norm_legit_no_training native_group_norm native_layer_norm "
        "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool2d adaptive_max_pool2d adaptive_max_pool3d "
        "avg_pool2d avg_pool3d max_pool2d max_pool2d_with_indices max_pool3d_with_indices grid_sampler_2d "
        "grid_sampler_3d _fft_c2c _fft_c2r _fft_r2c upsample_linear1d upsample_bilinear2d upsample_trilinear3d "
        "upsample_bicubic2d upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_bilinear2d_aa "
        "_upsample_bicubic2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d "
    ).split()
)
"""Operators of ATen, each as it is and with ``_``, which changes its first argument."""

TEXTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("gelu", "approximate"): ("none", "tanh"),
    ("div", "rounding_mode"): ("floor", "trunc"),
    ("floor_divide", "rounding_mode"): ("floor", "trunc"),
}
"""Parameters that take a text, by operator, and what they take."""


def operator(name: str) -> torch._ops.OpOverload:
    """The operator of a name such as ``aten.add.Tensor``.

    Raises:
        EngineError: If a saved network may not name it.

    Examples:
        >>> operator("aten.relu.default")
        <OpOverload(op='aten.relu', overload='default')>
        >>> operator("aten.from_file.default")
        Traceback (most recent call last):
        ...
        sapwood.errors.EngineError: 'aten.from_file.default' is no operation on tensors that a saved network may name
    """
    parts = name.split(".") if isinstance(name, str) else []
    known = len(parts) == 3 and parts[0] == "aten" and (parts[1] in NAMES or parts[1].removesuffix("_") in NAMES)
    packet = getattr(torch.ops.aten, parts[1], None) if known else None
    if packet is None or parts[2] not in packet.overloads():
        raise EngineError(f"{name!r} is no operation on tensors that a saved network may name")
    found: torch._ops.OpOverload = getattr(packet, parts[2])
    takes, makes = ([str(one.type) for one in side] for side in (found._schema.arguments, found._schema.returns))
    if not any("Tensor" in kind for kind in takes) or not all("Tensor" in kind for kind in makes):
        raise EngineError(f"{name!r} is no operation on tensors that a saved network may name")
    written = [one.alias_info is not None and one.alias_info.is_write for one in found._schema.arguments]
    if any(written[1:]):
        raise EngineError(f"{name!r} changes other tensors than its first; a saved network may not name it")
    return found


def check_call(op: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Checks what a call is given.

    Args:
        op: What :func:`operator` found.
        args: Positional arguments; tensors may be without numbers.
        kwargs: Keyword arguments.

    Raises:
        EngineError: If an argument is missing, not known, or of a kind that the operator does not look at.
    """
    schema = op._schema.arguments
    names = [one.name for one in schema]
    unknown = [name for name in kwargs if name not in names[len(args) :]]
    if len(args) > len(names) or unknown:
        raise EngineError(f"{op} takes {names}; given are {len(args)} and {sorted(kwargs)}")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    packet = op._schema.name.removeprefix("aten::").removesuffix("_")
    for name, value in given.items():
        for leaf in tree_leaves(value, is_leaf=lambda one: isinstance(one, torch.Size)):
            _check_leaf(op, packet, name, leaf)
    for start, check in _CHECKS.items():
        if packet.startswith(start):
            check(given)


def _check_leaf(op: torch._ops.OpOverload, packet: str, name: str, leaf: Any) -> None:
    kinds = (Tensor, torch.dtype, torch.memory_format, bool, int, float)
    if leaf is None or isinstance(leaf, kinds) or leaf is torch.strided or leaf in (torch.device("cpu"), _META):
        return
    if not isinstance(leaf, str) or leaf not in TEXTS.get((packet, name), ()):
        raise EngineError(f"{op} is given {leaf!r} as {name}; expected tensors, numbers and types on the cpu")


_META = torch.device("meta")


def _batch_norm(given: Arguments) -> None:
    channels = given["input"].shape[1]
    for name in ("weight", "bias", "running_mean", "running_var"):
        if given.get(name) is not None and tuple(given[name].shape) != (channels,):
            raise EngineError(f"{name} of shape {tuple(given[name].shape)}; expected {(channels,)}")


def _group_norm(given: Arguments) -> None:
    shape = tuple(given["input"].shape)
    if (given["N"], given["C"], given["HxW"]) != (shape[0], shape[1], math.prod(shape[2:])):
        raise EngineError(f"sizes {(given['N'], given['C'], given['HxW'])} of a tensor of shape {shape}")
    if given["group"] < 1 or shape[1] % given["group"]:
        raise EngineError(f"{given['group']} groups of {shape[1]} channels; expected a divisor")
    _batch_norm(given)


def _fourier(given: Arguments) -> None:
    dims, ranks = list(given["dim"]), given["self"].dim()
    if not dims or len(set(dims)) != len(dims) or not all(0 <= dim < ranks for dim in dims):
        raise EngineError(f"dimensions {dims} of a tensor that has {ranks}")
    if given["normalization"] not in (0, 1, 2):
        raise EngineError(f"normalization {given['normalization']}; expected 0, 1 or 2")


def _grid(given: Arguments) -> None:
    if given["interpolation_mode"] not in (0, 1, 2) or given["padding_mode"] not in (0, 1, 2):
        raise EngineError("a way to sample a grid that PyTorch does not have; expected modes 0, 1 or 2")


def _upsample(given: Arguments) -> None:
    """Places that are read are computed from the scales, which may be left out, or must be those of the sizes."""
    source = given["input" if "input" in given else "self"].shape[2:]
    size = given.get("output_size")
    named = [given.get(name) for name in ("scales_d", "scales_h", "scales_w")]
    scales = list(given.get("scale_factors") or ([given["scales"]] if "scales" in given else named[-len(source) :]))
    for side, scale in enumerate(scales):
        wanted = source[side] * scale if scale is not None else 0.0
        if scale is None:
            continue
        if not (math.isfinite(wanted) and scale > 0.0) or (size is not None and abs(wanted - size[side]) > 1.0):
            raise EngineError(f"scales {scales} from {tuple(source)} to {size}; expected the sizes' own")


_CHECKS: Mapping[str, Callable[[Arguments], None]] = {
    "native_batch_norm": _batch_norm,
    "_native_batch_norm": _batch_norm,
    "native_group_norm": _group_norm,
    "_fft": _fourier,
    "grid_sampler": _grid,
    "upsample": _upsample,
    "_upsample": _upsample,
}
"""What operators of a name that starts so are trusted with."""
