"""Matrices that are taken as a whole: inverses, factors, roots. Dimensions in front of them pass, as do right sides."""

from __future__ import annotations

from collections.abc import Sequence

from sapwood.ops.atoms import Axis, fixed_axis
from sapwood.ops.call import Call, TensorRef
from sapwood.ops.context import Context, bound, rule


def _matrix(call: Call) -> range:
    """Rows and columns."""
    rank = len(call.args[0].shape)
    return range(rank - 2, rank)


@rule(
    "linalg_inv_ex", "_linalg_det", "_linalg_slogdet", "linalg_matrix_exp", "linalg_cholesky_ex", "linalg_qr",
    "_linalg_svd", "_linalg_eigh", "linalg_eig", "linalg_lu", "linalg_lu_factor_ex", "linalg_pinv", "geqrf",
    "linalg_householder_product", "_linalg_eigvals", "linalg_ldl_factor_ex", "cholesky_inverse", "lu_unpack",
    pools=_matrix, uncounted=True,
)  # fmt: skip
def _of_matrices(context: Context, call: Call) -> None:
    """Every number of a matrix makes every other, for each of a batch of matrices."""
    axes = context.axes(call.args[0])
    context.fix(axes[-2:], call)
    for other in call.tensor_inputs()[1:]:
        _pass_beside(context, call, axes[:-2], context.axes(other))
    for output in call.tensor_outputs():
        _set_behind(context, output, axes[:-2])


def _pass_beside(context: Context, call: Call, batch: Sequence[Axis], axes: Sequence[Axis]) -> None:
    """What belongs to a batch of matrices, as their pivots do, stands over it; the rest is read by position."""
    for axis, own in zip(batch, axes, strict=False):
        if len(axis) == len(own):
            context.join(axis, own, call)
    context.fix(axes[len(batch) :], call)


def _set_behind(context: Context, output: TensorRef, batch: Sequence[Axis]) -> None:
    """What is made for each matrix of a batch; of no matrix, where it is left out."""
    fits = output.shape[: len(batch)] == tuple(len(axis) for axis in batch)
    front = batch if fits else ()
    context.set(output, [*front, *(fixed_axis(size) for size in output.shape[len(front) :])])


@rule("trace", pools=_matrix)
def _trace(context: Context, call: Call) -> None:
    """The sum of a diagonal."""
    context.fix(context.axes(call.args[0]), call)
    context.set(call.outputs[0], [])


SIDES = {"aten.linalg_lstsq": (0, 1), "aten.cholesky_solve": (1, 0), "aten.linalg_lu_solve": (0, 2)}
"""Where the matrix and the right side stand among the arguments, where not in this order."""


def _solved(call: Call) -> list[int]:
    """The dimensions of the first tensor that the solution reads together."""
    first = len(call.args[0].shape)
    return [first - 2, first - 1] if SIDES.get(call.name, (0, 1))[0] == 0 else [first - 2]


@rule(
    "_linalg_solve_ex", "linalg_solve_triangular", "linalg_lstsq", "cholesky_solve", "linalg_lu_solve",
    pools=_solved, uncounted=True,
)  # fmt: skip
def _solution(context: Context, call: Call) -> None:
    """Each column of a right side is solved for alone, or each row where the matrix stands on the right of it."""
    matrix, side = (call.args[place] for place in SIDES.get(call.name, (0, 1)))
    own, right = context.axes(matrix), context.axes(side)
    context.fix(own[-2:], call)
    for other in call.tensor_inputs():
        if other not in {matrix, side}:
            _pass_beside(context, call, own[:-2], context.axes(other))
    vectors = len(right) < 2 or len(right) == len(own) - 1
    alone = None if vectors else -1 if bound(call).get("left", True) else -2
    context.fix([axis for dim, axis in enumerate(right, -len(right)) if dim >= -2 + vectors and dim != alone], call)
    found, *rest = call.tensor_outputs()
    tail = len(found.shape) - (1 if vectors else 2)
    batch = context.broadcast_axes([own[:-2], right[: -1 if vectors else -2]], call)
    axes = [*batch, *(fixed_axis(size) for size in found.shape[tail:])]
    if alone is not None:
        axes[alone] = right[alone]
    context.set(found, axes)
    for output in rest:
        _set_behind(context, output, own[:-2])


def _three(call: Call) -> list[int]:
    return [int(bound(call)["dim"])]  # type: ignore[call-overload]


@rule("linalg_cross", pools=_three)
def _cross(context: Context, call: Call) -> None:
    """Vectors of three numbers, along one dimension; the others are those of pairs of such."""
    joined = context.broadcast(call.tensor_inputs(), call)
    dim = _three(call)[0] % len(joined)
    joined[dim] = context.fix([joined[dim]], call)[0]
    context.set(call.outputs[0], joined)
