"""Operators that work on each element alone: indices that stand over each other live and die together."""

from __future__ import annotations

from functools import partial

from sapwood.ops.atoms import fixed_axis
from sapwood.ops.call import Call, TensorRef
from sapwood.ops.context import Context, rule
from sapwood.ops.facts import note

UNARY = """
abs alias bernoulli bitwise_not cbrt ceil celu clamp clamp_max clamp_min clone contiguous cos cosh detach dropout
elu empty_like erf exp expm1 fill floor full_like gelu hardshrink hardsigmoid hardswish hardtanh isinf isnan
leaky_relu lift lift_fresh log log10 log1p log2 log_sigmoid log_sigmoid_forward logical_not mish nan_to_num
native_dropout neg ones_like positive rand_like randn_like reciprocal relu relu6 round rsqrt selu sigmoid sign silu
sin sinh softplus softshrink softsign sqrt square tan tanh threshold to _to_copy trunc zero zeros_like
""".split()

BINARY = """
add addcdiv addcmul atan2 bitwise_and bitwise_or bitwise_xor copy div eq floor_divide fmod ge gt le lerp logical_and
logical_or logical_xor lt masked_fill maximum minimum mul ne pow remainder rsub sub where xlogy __and__ __or__
""".split()


_rule = partial(rule, spreads="each")


def _elementwise(context: Context, call: Call) -> None:
    joined = context.broadcast(call.tensor_inputs(), call)
    for output in call.tensor_outputs():
        pairs = zip(joined, output.shape, strict=True) if len(output.shape) == len(joined) else ()
        axes = [axis if len(axis) == size else fixed_axis(1) for axis, size in pairs if size in {len(axis), 1}]
        if len(axes) == len(output.shape):
            context.set(output, axes)


for _name in (*UNARY, *BINARY):
    _rule(_name, f"{_name}_")(_elementwise)
_rule("_prelu_kernel", "prelu")(_elementwise)


def _but_the_kept(call: Call) -> list[int]:
    """The dimensions over which a weight's norm is taken: all but one."""
    kept = int(call.args[2]) if len(call.args) > 2 else 0
    return [dim for dim in range(len(call.args[0].shape)) if dim != kept]


rule("_weight_norm_interface", pools=_but_the_kept)(_elementwise)

note("add", "add_", adds=True, in_place=True)
note("mul", scales="times")
note("div", scales="over")
note("empty", "empty_like", "alias", "detach", "lift_fresh", makes_nothing=True)
note("_to_copy", "clone", "detach", "alias", "contiguous", moves=True, in_place=True)
note("gt", "lt", "ge", "le", "eq", "ne", "floor", "ceil", "round", "_to_copy", chooses=True)
note("rand_like", "randn_like", "bernoulli", "bernoulli_", "native_dropout", "dropout", "dropout_", random=True)
note("zero", "zero_", "empty_like", "zeros_like", "ones_like", "full_like", constant=True)
note("copy", "copy_", "fill", "fill_", copies=True)


@_rule("glu")
def _glu(context: Context, call: Call) -> None:
    """Gated linear unit: the two halves are multiplied, so they lose the same indices."""
    source = call.args[0]
    dim = (call.args[1] if len(call.args) > 1 else -1) % len(source.shape)
    axes = context.axes(source)
    half = len(axes[dim]) // 2
    context.join(axes[dim][:half], axes[dim][half:], call)
    axes[dim] = axes[dim][:half]
    context.set(call.outputs[0], axes)


@_rule(
    "arange", "empty", "empty_strided", "full", "linspace", "new_empty", "new_full", "new_ones", "new_zeros", "ones",
    "rand", "randn", "scalar_tensor", "zeros", "eye", "tril_indices", "triu_indices",
)  # fmt: skip
def _factory(context: Context, call: Call) -> None:
    """A tensor made on the fly: its sizes follow those of the tensors that it meets."""
    for output in call.tensor_outputs():
        if not isinstance(output, TensorRef):
            continue
        context.set_fresh(output)


note("rand", "randn", random=True)


@_rule("tril", "triu")
def _positional(context: Context, call: Call) -> None:
    """What is kept depends on the positions, so these may not move."""
    for output in call.tensor_outputs():
        context.set(output, context.fix(context.axes(call.args[0]), call))


@_rule("_local_scalar_dense", "item", "equal", "_assert_async", "_assert_tensor_metadata", "sym_size")
def _read(context: Context, call: Call) -> None:
    """Reads values without making a tensor."""


note("_local_scalar_dense", chooses=True, reads_values=True)
