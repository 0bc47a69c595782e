"""Kernels that know no float64: formulas that make the same of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sapwood.ops.call import name_of


def grouped_mm(
    source: Tensor,
    weight: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """``aten._grouped_mm``: products of the parts into which ``offs``, where each ends, cuts a dimension.

    Examples:
        >>> a, b = torch.ones(3, 2, dtype=torch.float64), torch.ones(2, 2, 1, dtype=torch.float64)
        >>> grouped_mm(a, b, torch.tensor([1, 3], dtype=torch.int32)).flatten().tolist()
        [2.0, 2.0, 2.0]
    """
    del out_dtype
    if offs is None:
        made = torch.bmm(source, weight)
    elif source.is_meta:
        made = _shape_of(source, weight, offs)
    else:
        ends = offs.tolist()
        parts = list(zip([0, *ends[:-1]], ends, strict=True))
        if source.dim() == 2 and weight.dim() == 2:
            made = torch.stack([source[:, start:end] @ weight[start:end] for start, end in parts])
        elif source.dim() == 2:
            made = source.new_zeros(len(source), weight.shape[2])
            for (start, end), own in zip(parts, weight, strict=True):
                made[start:end] = source[start:end] @ own
        else:
            made = source.new_zeros(source.shape[1], weight.shape[1])
            for (start, end), own in zip(parts, source, strict=True):
                made[:, start:end] = own @ weight[:, start:end]
    return made if bias is None else made + bias


def _shape_of(source: Tensor, weight: Tensor, offs: Tensor) -> Tensor:
    if source.shape[-1] != weight.shape[-2]:
        raise RuntimeError(f"a product of {tuple(source.shape)} and {tuple(weight.shape)}")
    both = source.dim() == weight.dim() == 2
    return source.new_empty(*([len(offs)] if both else []), source.shape[-2], weight.shape[-1])


def int8_mm(source: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """``aten._weight_int8pack_mm``: whole numbers for weights, with a scale for each row of them.

    Examples:
        >>> x, scales = torch.ones(1, 2, dtype=torch.float64), torch.tensor([0.5, 2.0], dtype=torch.float64)
        >>> int8_mm(x, torch.tensor([[1, 2], [3, 4]], dtype=torch.int8), scales).tolist()
        [[1.5, 14.0]]
    """
    return source @ weight.to(source.dtype).T * scales


def int4_mm(source: Tensor, packed: Tensor, group_size: int, scales_and_zeros: Tensor) -> Tensor:
    """``aten._weight_int4pack_mm_for_cpu``: the kernel itself says, in float32, what the packed weights are."""
    if source.is_meta:
        return source.new_empty(*source.shape[:-1], scales_and_zeros.shape[1])
    ones = torch.eye(source.shape[-1], dtype=torch.float32)
    kernel = torch.ops.aten._weight_int4pack_mm_for_cpu
    plain: Tensor = kernel(ones, packed, group_size, scales_and_zeros.float())
    return source @ plain.to(source.dtype)


def scaled_mm(  # noqa: PLR0917  # as the operator takes them
    source: Tensor,
    weight: Tensor,
    scale_a: Tensor,
    scale_b: Tensor,
    bias: Tensor | None = None,
    scale_result: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    use_fast_accum: bool = False,
) -> Tensor:
    """``aten._scaled_mm``: a product of short numbers, each with a scale for all, a row or a column.

    Raises:
        RuntimeError: If scales are of blocks, or the result is to be scaled.

    Examples:
        >>> a, two = torch.ones(1, 2).to(torch.float8_e4m3fn), torch.tensor(2.0)
        >>> scaled_mm(a, a.T, two, two).tolist()
        [[8.0]]
    """
    del out_dtype, use_fast_accum
    rows, columns = len(source), weight.shape[1]
    of_rows = scale_a.numel() == 1 or scale_a.shape == (rows, 1)
    if scale_result is not None or not (of_rows and (scale_b.numel() == 1 or scale_b.shape == (1, columns))):
        raise RuntimeError("aten._scaled_mm with scales of blocks or of its result has no float64 form")
    made = (source.double() * scale_a.double()) @ (weight.double() * scale_b.double())
    return made if bias is None else made + bias


FORMULAS: dict[str, Callable[..., Any]] = {
    "aten._grouped_mm": grouped_mm,
    "aten._scaled_mm": scaled_mm,
    "aten._weight_int4pack_mm_for_cpu": int4_mm,
    "aten._weight_int8pack_mm": int8_mm,
}
"""Name of an operator -> what makes the same in float64."""


def in_double(op: Any) -> Callable[..., Any] | None:
    """What makes in float64 what ``op``, whose kernel knows no float64, makes in other types; None if it knows it."""
    return FORMULAS.get(name_of(op)) if isinstance(op, torch._ops.OpOverload) else None


LARGEST_WINDOW = 49
"""Positions of a window, up to which its products are made one position after the other."""

COLUMNS = 1 << 21
"""Numbers that a convolution of float64 lays out as a matrix at once; of all positions it would be gigabytes."""


def made_sooner(op: Any, args: Any) -> Tensor | None:
    """What ``op`` makes, by an equal formula where its kernel is slow in float64; None where it is not.

    PyTorch convolves channels of float64 that are groups of their own by one small product of matrices for each, and
    others by one product for all positions, for which it lays out every window.

    Examples:
        >>> x, weight = torch.ones(1, 2, 3, 3, dtype=torch.float64), torch.ones(2, 1, 3, 3, dtype=torch.float64)
        >>> numbers = ([2, 2], [1, 1], [1, 1], False, [0, 0], 2)
        >>> made_sooner(torch.ops.aten.convolution.default, (x, weight, None, *numbers))[0, 0]
        tensor([[4., 4.],
                [4., 4.]], dtype=torch.float64)
    """
    if name_of(op) != "aten.convolution" or len(args) != 9:
        return None
    source, weight, bias, stride, padding, dilation, transposed, _, groups = args
    plain = source.dtype is weight.dtype is torch.float64 and source.device.type == "cpu"
    if not plain or transposed or source.dim() != 4:
        return None
    in_order = source.is_contiguous()
    if not in_order and (groups == 1 or not source.is_contiguous(memory_format=torch.channels_last)):
        return None
    windows = _Windows(tuple(weight.shape[2:]), *(_each_way(numbers) for numbers in (stride, padding, dilation)))
    if groups == 1:
        return _in_strips(source, weight, bias, windows)
    alone = weight.shape[:2] == (groups, 1) and source.shape[1] == groups
    return _one_by_one(source, weight, bias, windows) if alone and weight[0].numel() <= LARGEST_WINDOW else None


def _each_way(numbers: Sequence[int]) -> tuple[int, ...]:
    """A number for rows and one for columns; one stands for both (``padding="valid"``)."""
    return tuple(numbers) * (1 if len(numbers) == 2 else 2)


class _Windows(NamedTuple):
    """The windows of a convolution; a number for rows and one for columns."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def positions(self, sizes: Sequence[int]) -> list[int]:
        """How many there are in each direction of a map."""
        return [
            (size + 2 * pad - step * (window - 1) - 1) // stride + 1
            for size, window, stride, pad, step in zip(sizes, *self, strict=True)
        ]


def _in_strips(source: Tensor, weight: Tensor, bias: Tensor | None, windows: _Windows) -> Tensor | None:
    """A convolution of some rows at a time, where the matrix of all windows would be large."""
    sizes = windows.positions(source.shape[2:])
    a_row = weight[0].numel() * sizes[1]
    fits = source.shape[1] == weight.shape[1] and min(sizes) >= 1 and max(windows.size) > 1
    if not fits or len(source) * a_row * sizes[0] <= COLUMNS:
        return None
    made: Tensor = source.new_empty(len(source), len(weight), *sizes)
    rows = max(COLUMNS // a_row, 1)
    reach = windows.dilation[0] * (windows.size[0] - 1) + 1
    for number, one in enumerate(source[:, None]):
        for begin in range(0, sizes[0], rows):
            end = min(begin + rows, sizes[0])
            top = begin * windows.stride[0] - windows.padding[0]
            bottom = (end - 1) * windows.stride[0] - windows.padding[0] + reach
            strip = one[:, :, max(top, 0) : max(bottom, 0)]
            above = min(max(-top, 0), bottom - top)
            strip = torch.nn.functional.pad(strip, (0, 0, above, bottom - top - above - strip.shape[2]))
            around = (0, windows.padding[1])
            made[number, :, begin:end] = torch.conv2d(strip, weight, bias, windows.stride, around, windows.dilation)[0]
    return made


NARROW = 6
"""Columns of a map that are worth no loop of their own."""


def _one_by_one(source: Tensor, weight: Tensor, bias: Tensor | None, windows: _Windows) -> Tensor | None:
    """A convolution of channels that are groups of their own, one position of the window after the other.

    Where a map is a few columns wide, all channels of a position lie side by side meanwhile: what is added up at once
    is then a longer piece of memory. Where they did before, as in networks that turn their maps for norms and linear
    layers, they do in the result as well.
    """
    sizes = windows.positions(source.shape[2:])
    if min(sizes) < 1:  # the kernel says what is wrong
        return None
    (height, width), (down, right) = windows.padding, windows.stride
    stays = torch.contiguous_format if source.is_contiguous() else torch.channels_last
    last = stays is torch.channels_last or sizes[1] <= NARROW < source.shape[1]
    around = (0, 0, width, width, height, height) if last else (width, width, height, height)
    padded = torch.nn.functional.pad(source.movedim(1, -1).contiguous() if last else source, around)
    padded = padded.movedim(-1, 1) if last else padded
    sample, channel, *steps = padded.stride()
    strides = (sample, channel, steps[0] * down, steps[1] * right)
    made: Tensor | None = None
    for number, factors in enumerate(weight.reshape(-1, 1, 1, windows.size[0] * windows.size[1]).unbind(-1)):
        row, column = divmod(number, windows.size[1])
        begin = row * windows.dilation[0] * steps[0] + column * windows.dilation[1] * steps[1]
        met = padded.as_strided((*source.shape[:2], *sizes), strides, padded.storage_offset() + begin)
        made = met * factors if made is None else made.addcmul_(met, factors)
    if bias is not None and made is not None:
        made += bias.reshape(-1, 1, 1)
    return None if made is None else made.contiguous(memory_format=stays)
