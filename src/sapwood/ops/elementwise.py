"""Operators that work on each element alone: indices that stand over each other live and die together."""

from __future__ import annotations

from functools import partial

from sapwood.ops.atoms import fixed_axis
from sapwood.ops.call import Call, TensorRef
from sapwood.ops.context import Context, bound, rule
from sapwood.ops.facts import note

UNARY = """
abs acos acosh asin asinh atan atanh bernoulli bitwise_not ceil celu clamp clamp_max clamp_min cos cosh deg2rad detach
digamma elu erf erfc erfinv exp exp2 expm1 fill floor frac gelu hardsigmoid hardswish hardtanh i0 leaky_relu lgamma log
log10 log1p log2 logical_not logit mish mvlgamma nan_to_num neg polygamma rad2deg reciprocal relu round rsqrt sgn
sigmoid sign silu sin sinc sinh sqrt tan tanh threshold trunc zero
""".split()

BINARY = """
add addcdiv addcmul atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copy copysign div eq
floor_divide fmod gcd ge gt heaviside hypot igamma igammac lcm ldexp le lerp logical_and logical_or logical_xor lt
masked_fill mul ne nextafter pow remainder sub xlogy
""".split()

NEVER_IN_PLACE = """
alias clone empty_like fmax fmin frexp full_like hardshrink isinf isnan lift lift_fresh log_sigmoid_forward logaddexp
logaddexp2 maximum minimum native_dropout ones_like polar rand_like
randint_like randn_like rsub softplus softshrink where _to_copy
zeros_like _prelu_kernel __lshift__ __rshift__
isneginf isposinf signbit special_entr special_erfcx special_i0e special_i1 special_i1e
special_log_ndtr special_ndtri special_xlog1py special_zeta
special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1 special_modified_bessel_i0
special_modified_bessel_i1 special_modified_bessel_k0 special_modified_bessel_k1 special_scaled_modified_bessel_k0
special_scaled_modified_bessel_k1 special_spherical_bessel_j0
special_chebyshev_polynomial_t special_chebyshev_polynomial_u special_chebyshev_polynomial_v
special_chebyshev_polynomial_w special_hermite_polynomial_h special_hermite_polynomial_he special_laguerre_polynomial_l
special_legendre_polynomial_p special_shifted_chebyshev_polynomial_t special_shifted_chebyshev_polynomial_u
special_shifted_chebyshev_polynomial_v special_shifted_chebyshev_polynomial_w
""".split()
"""Operators that have no form that writes into its first argument."""

GRADIENTS = """
elu_backward gelu_backward hardsigmoid_backward hardswish_backward hardtanh_backward leaky_relu_backward
logit_backward mish_backward sigmoid_backward silu_backward softplus_backward tanh_backward
threshold_backward
""".split()
"""Of activations, where code takes gradients itself: forces are those of an energy, images those of a score."""


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
_rule(*NEVER_IN_PLACE, *GRADIENTS)(_elementwise)


def _but_the_kept(call: Call) -> list[int]:
    """The dimensions over which a weight's norm is taken: all but one."""
    kept = int(call.args[2]) if len(call.args) > 2 else 0
    return [dim for dim in range(len(call.args[0].shape)) if dim != kept]


rule("_weight_norm_interface", pools=_but_the_kept, gain=1)(_elementwise)

note("add", "add_", adds=True, in_place=True)
note("relu", "relu_", rectifies=True)
note("mul", "mul_", scales="times")
note("div", "div_", scales="over")
note("mul", "mul_", homogeneous="either")
note("div", "div_", "neg", "neg_", "abs", "relu", "relu_", "leaky_relu", "_prelu_kernel", homogeneous="first")
note("clone", "detach", "alias", "_to_copy", homogeneous="first")
note("add", "add_", "sub", "sub_", "maximum", "minimum", homogeneous="all")
note("empty", "empty_like", "alias", "detach", "lift_fresh", makes_nothing=True)
note("_to_copy", "clone", "detach", "alias", moves=True, in_place=True)
note(
    "gt", "lt", "ge", "le", "eq", "ne", "floor", "ceil", "round", "trunc", "sign", "sgn", "frac", "heaviside",
    "copysign", "_to_copy", "frexp", "nextafter", "nextafter_", chooses=True,
)  # fmt: skip
note("rand_like", "randint_like", "randn_like", "bernoulli", "bernoulli_", "native_dropout", random=True)
note("zero", "zero_", "empty_like", "zeros_like", "ones_like", "full_like", constant=True)
note("zero", "zero_", "zeros_like", zeros=True)
note("copy", "copy_", "fill", "fill_", copies=True)


@_rule("rrelu_with_noise", "rrelu_with_noise_")
def _drawn_slopes(context: Context, call: Call) -> None:
    """A ReLU whose slope is the middle of a range; in training each element draws its own, so that all stay there."""
    if bound(call)["training"]:
        axes = [axis for tensor in call.tensor_inputs() for axis in context.axes(tensor)]
        context.freeze(axes, f"draws a slope for each element in {call}")
    _elementwise(context, call)


@_rule("glu", gates=True)
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
    "empty", "empty_strided", "full", "new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros", "ones",
    "scalar_tensor", "zeros", "tril_indices", "triu_indices",
)  # fmt: skip
def _factory(context: Context, call: Call) -> None:
    """A tensor made on the fly: its sizes follow those of the tensors that it meets."""
    for output in call.tensor_outputs():
        if not isinstance(output, TensorRef):
            continue
        context.set_fresh(output)


note("zeros", "new_zeros", zeros=True)
note("empty_strided", "new_empty", "new_empty_strided", makes_nothing=True)
note("new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros", constant=True)


@_rule("eye")
def _identity(context: Context, call: Call) -> None:
    """Ones where both indices are the same: they go together."""
    _factory(context, call)
    first, second = context.axes(call.outputs[0])
    if len(first) == len(second):
        context.join(first, second, call)
    else:
        context.fix([first, second], call)


@_rule("normal", random=True)
def _normal(context: Context, call: Call) -> None:
    """Drawn around means, with deviations, or of a size."""
    (_elementwise if call.tensor_inputs() else _factory)(context, call)


_rule("poisson", "binomial", "_standard_gamma", random=True)(_elementwise)
_rule("rand", "randn", "randint", "randperm", random=True)(_factory)
_rule(
    "normal_", "uniform_", "exponential_", "log_normal_", "cauchy_", "geometric_", "random_",
    random=True,
)(_elementwise)  # fmt: skip


@_rule(
    "arange", "linspace", "logspace", "range", "hann_window", "hamming_window", "blackman_window", "bartlett_window",
    "kaiser_window", "fft_fftfreq", "fft_rfftfreq",
)  # fmt: skip
def _positions(context: Context, call: Call) -> None:
    """Numbers that count: fewer of them would be other numbers, so what they meet may not lose any."""
    for output in call.tensor_outputs():
        context.set_fresh(output)
        context.freeze(context.axes(output), f"meets values that count positions, in {call}")


@_rule("tril", "triu", "tril_", "triu_")
def _positional(context: Context, call: Call) -> None:
    """What is kept depends on which of two positions comes first: the same may go from both, or none.

    Beside a diagonal that is not the main one, on the side where that is kept, the distance counts as well.
    """
    axes = context.axes(call.args[0])
    diagonal = int(bound(call)["diagonal"])  # type: ignore[call-overload]
    if (
        len(axes[-2]) == len(axes[-1])
        and diagonal in {"aten.tril": (0, -1), "aten.triu": (0, 1)}[call.name.removesuffix("_")]
    ):
        context.join(axes[-2], axes[-1], call)
    else:
        axes[-2:] = context.fix(axes[-2:], call)
    context.set(call.outputs[0], axes)


@_rule("_local_scalar_dense", "equal", "allclose", "_assert_async", "_assert_tensor_metadata", "_linalg_check_errors")
def _read(context: Context, call: Call) -> None:
    """Reads values without making a tensor."""


note("_local_scalar_dense", "equal", "allclose", chooses=True, reads_values=True)
