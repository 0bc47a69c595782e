"""Pooling and resampling: channels pass, spatial dimensions are read by position."""

from __future__ import annotations

from sapwood.ops.atoms import fixed_axis, merge
from sapwood.ops.call import Call
from sapwood.ops.context import Context, Rule, bound, rule

SPATIAL_RANK = {
    1: """
    upsample_nearest1d upsample_linear1d _upsample_nearest_exact1d reflection_pad1d replication_pad1d
    """,
    2: """
    avg_pool2d max_pool2d max_pool2d_with_indices mkldnn_max_pool2d _adaptive_avg_pool2d
    adaptive_max_pool2d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa
    _upsample_bicubic2d_aa
    _upsample_nearest_exact2d reflection_pad2d replication_pad2d
    """,
    3: """
    adaptive_max_pool3d avg_pool3d max_pool3d_with_indices mkldnn_max_pool3d _adaptive_avg_pool3d
    upsample_nearest3d upsample_trilinear3d reflection_pad3d replication_pad3d
    """,
}
"""Number of spatial dimensions -> operators."""


def _pool(rank: int) -> Rule:
    """The rule of an operator over the last ``rank`` dimensions."""

    def apply(context: Context, call: Call) -> None:
        axes = context.axes(call.args[0])
        first = len(axes) - rank
        through = {first + dim for dim in _untouched(call, rank)}
        context.positions([axis for dim, axis in enumerate(axes[first:], first) if dim not in through], call)
        for output in call.tensor_outputs():
            sizes = enumerate(output.shape)
            context.set(output, [axes[n] if n < first or n in through else fixed_axis(size) for n, size in sizes])

    return apply


def _untouched(call: Call, rank: int) -> list[int]:
    """The spatial dimensions along which a window is one wide and goes on by one: every index keeps to itself."""
    values = bound(call)
    if "kernel_size" not in values:
        return []
    given = [values["kernel_size"], values.get("stride") or values["kernel_size"], values.get("padding")]
    kernel, stride, padding = ([one] * rank if isinstance(one, int) else list(one) for one in given)  # type: ignore[call-overload]
    windows = [own * rank if len(own) == 1 else own for own in (kernel, stride, padding)]
    return [dim for dim, own in enumerate(zip(*windows, strict=True)) if own == (1, 1, 0)]


for _rank, _names in SPATIAL_RANK.items():
    rule(*_names.split(), spreads="moved", windows=_rank)(_pool(_rank))


def _behind_channels(call: Call) -> range:
    """As many dimensions as there are sizes of a window."""
    rank = len(call.args[0].shape)
    return range(rank - len(call.args[1]), rank)


@rule("fractional_max_pool2d", "fractional_max_pool3d", pools=_behind_channels)
def _fractional_pool(context: Context, call: Call) -> None:
    """Windows at places that follow from random numbers, of which each channel of each picture has its own."""
    axes, samples = context.axes(call.args[0]), context.axes(call.args[3])
    rank = len(call.args[1])
    context.positions(axes[-rank:], call)
    context.never_channels(samples[2:])
    for axis, own in zip(reversed(axes[:-rank]), reversed(samples[:2]), strict=False):
        context.join(axis, own, call)
    for output in call.tensor_outputs():
        context.set(output, [*axes[:-rank], *(fixed_axis(size) for size in output.shape[-rank:])])


def _spatial(call: Call) -> range:
    """Rows and columns of the map, and its depth."""
    return range(2, len(call.args[0].shape))


@rule("grid_sampler_2d", "grid_sampler_3d", pools=_spatial)
def _grid_sampler(context: Context, call: Call) -> None:
    """A map read at the places of a grid (N, H, W, 2): its last dimension is x and y (and z), others are places."""
    axes, grid = context.axes(call.args[0]), context.axes(call.args[1])
    context.positions(axes[2:], call)
    context.never_channels(grid[1:])
    context.join(axes[0], grid[0], call)
    context.set(call.outputs[0], [*axes[:2], *(fixed_axis(size) for size in call.outputs[0].shape[2:])])


@rule("affine_grid_generator")
def _affine_grid(context: Context, call: Call) -> None:
    """A grid of places, moved by a matrix (N, 2, 3) that says how."""
    matrices = context.axes(call.args[0])
    context.fix(matrices[1:], call)
    context.set(call.outputs[0], [matrices[0], *(fixed_axis(size) for size in call.outputs[0].shape[1:])])


@rule("torchvision.roi_align", "torchvision.ps_roi_align", "torchvision.roi_pool", pools=_spatial)
def _roi_align(context: Context, call: Call) -> None:
    """Regions of a map: one output a region, channels pass. Position-sensitive pooling reads channels by position."""
    axes = context.axes(call.args[0])
    regions = context.axes(call.args[1])
    context.positions(axes[2:], call)
    context.never_channels([regions[1]])
    for output in call.tensor_outputs():
        if len(axes[1]) != output.shape[1]:
            context.fix([axes[1]], call)
            context.set_fixed(output)
        else:
            context.set(output, [regions[0], axes[1], *(fixed_axis(size) for size in output.shape[2:])])


@rule("pixel_shuffle", "pixel_unshuffle", spreads="moved")
def _pixel_shuffle(context: Context, call: Call) -> None:
    """Channels are (channel, row, column of the block); only whole channels go."""
    axes = context.axes(call.args[0])
    factor = int(call.args[1])
    *batch, channels, _, _ = axes
    output = call.outputs[0]
    spatial = [fixed_axis(size) for size in output.shape[-2:]]
    context.positions(axes[-2:], call)
    if call.name == "aten.pixel_shuffle":
        outer, rows, columns = context.atoms.split(channels, (len(channels) // factor**2, factor, factor))
        context.freeze([rows, columns], f"is a position inside a pixel block of {call}")
        context.set(output, [*batch, outer, *spatial])
    else:
        blocks = [fixed_axis(factor), fixed_axis(factor)]
        context.set(output, [*batch, merge([channels, *blocks]), *spatial])
