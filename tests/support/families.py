"""How operators are called, by the function that is their rule: what an argument of which name gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from support.scenes import (
    CHANNELS,
    Number,
    Scene,
    added,
    below_one,
    filled,
    half,
    halves,
    made,
    met,
    numbers,
    parameter,
    positive,
    read,
    several,
    shape,
    short,
    summed,
    wide,
)

Arguments: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """How the operators of one rule are called.

    Attributes:
        arguments: Argument name -> what it gets; a function gets the scene.
        cases: Arguments that differ, and whether the channels of the first layer can go then.
        layout: What the layers before make, a key of :data:`SHAPES`.
        own: Operator, with or without its overload -> arguments that differ.
        layouts: Operator -> another layout.
        reads: Operator, or "" for all -> what is done with the result.
        goes: Operator -> whether channels go where it is called without the arguments in which cases differ.
        own_cases: Operator -> other cases.
    """

    arguments: Arguments = field(default_factory=dict)
    cases: tuple[tuple[Arguments, bool], ...] = (({}, True),)
    layout: str = "map"
    own: Mapping[str, Arguments] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, Callable[[Scene, Any], Any]] = field(default_factory=dict)
    goes: Mapping[str, bool] = field(default_factory=dict)
    own_cases: Mapping[str, tuple[tuple[Arguments, bool], ...]] = field(default_factory=dict)


ANYWHERE: Arguments = {
    "self": made, "input": made, "other": made, "tensor": made, "dim": 1, "keepdim": True, "eps": 1e-5, "momentum": 0.1,
    "training": False, "train": False, "p": 0.5, "half_to_float": False, "value": 0.5,
    "dtype": torch.float64, "device": torch.device("cpu"), "stable": True,
}  # fmt: skip
"""What an argument of this name gets where no table says otherwise."""

_BITS = {"self": positive, "other": positive}
_WIDE: Arguments = {"bias": parameter("bias", CHANNELS), "weight": parameter("weight", CHANNELS)}
_AT = (({"dim": 1}, False), ({"dim": 2}, True))
"""Along channels, and along a spatial dimension."""


def both(scene: Scene) -> torch.Tensor:
    """Complex numbers of which both parts come from the layer before."""
    return torch.complex(made(scene), made(scene))


def _everywhere(scene: Scene, *places: int) -> Tensor:
    """The same places along dimension 1 in every row and channel of what a layer makes, as far as they go."""
    return torch.tensor(places)[:, None].expand_as(made(scene)[:, : len(places)])


_SPARSE = (torch.eye(6, dtype=torch.float64) + torch.eye(6).roll(1, 0)).to_sparse()
"""Rows that are added to others."""

_PLACES: tuple[tuple[Arguments, bool], ...] = (
    ({"indices": lambda scene: [None, torch.tensor([3, 1, 2])]}, False),
    ({"indices": lambda scene: [None, None, torch.tensor([3, 1, 2])]}, True),
    ({"indices": lambda scene: [None, None, torch.tensor([3, 1]), torch.tensor([0, 0])]}, True),
    ({"indices": lambda scene: [torch.tensor([1, 0]), None, torch.tensor([0, 0])]}, True),
)
_YES_OR_NO: tuple[tuple[Arguments, bool], ...] = (
    ({"indices": lambda scene: [torch.tensor([True, False])]}, True),
    ({"indices": lambda scene: [None, None, torch.eye(4) > 0.5]}, True),
    ({"indices": lambda scene: [None, torch.arange(CHANNELS) % 2 == 0]}, False),
    ({"indices": lambda scene: [made(scene)[..., 0, 0].mean(1) > 0]}, True),
    ({"indices": lambda scene: [torch.tensor([1, 0]), None, torch.arange(4) < 2]}, True),
)


def _first(result: Any) -> Tensor:
    return result if isinstance(result, Tensor) else result[0]  # type: ignore[no-any-return]


def summed_first(scene: Scene, result: Any) -> Any:
    return summed(scene, result[0])


def _square(scene: Scene) -> Any:
    return made(scene).square()


def _whole_numbers(scene: Scene) -> Tensor:
    return (2.0 * made(scene)).long()


def zeros(*sizes: int) -> Callable[[Scene], Tensor]:
    """What is written into."""
    return lambda scene: torch.zeros(sizes, dtype=scene.x.dtype)


def _fives(scene: Scene) -> Tensor:
    return torch.full_like(made(scene), 5.0)


def _samples(scene: Scene) -> Tensor:
    """Places of windows, for each channel of what a layer made and each direction of its map."""
    return torch.full((*scene.last.shape[:2], scene.last.dim() - 2), 0.4, dtype=scene.last.dtype)


def _vector_or_map(scene: Scene, result: Any) -> Tensor:
    """Reads what may lack its last dimension."""
    first = _first(result)
    return read(scene, first if first.dim() == 4 else first[..., None])


def _regular(scene: Scene) -> Tensor:
    """A symmetric matrix with a root for each channel."""
    rows = made(scene)
    return rows @ rows.mT + 5.0 * torch.eye(4, dtype=rows.dtype)


def _by_pivots(scene: Scene) -> Tensor:
    return torch.linalg.lu_factor_ex(_regular(scene))[1]


FAMILIES: Mapping[str, Family] = {
    "complex._apart": Family({"self": both}, reads={"": lambda scene, x: read(scene, x.prod(-1))}),
    "complex._together": Family(
        {"self": lambda scene: torch.view_as_real(both(scene)).clone()},
        reads={"": lambda scene, x: read(scene, x.real * x.imag)},
    ),
    "complex._of_two": Family(
        {"real": made, "imag": made}, reads={"": lambda scene, x: read(scene, x.real * x.imag)}
    ),
    "complex._each": Family({"self": both}, reads={"": lambda scene, x: read(scene, x.abs())}),
    "fourier._transform": Family(
        {
            "normalization": 0, "forward": True, "onesided": True, "last_dim_size": 4, "dim": [3],
        },
        (({"dim": [2, 3]}, True), ({"dim": [1]}, False)),
        own={"_fft_c2c": {"self": both}, "_fft_c2r": {"self": both}},
        own_cases={"_fft_c2r": (({"dim": [2, 3]}, True),)},
        reads={"": lambda scene, x: read(scene, x.abs())},
    ),
    "matrices._of_matrices": Family(
        {
            "A": _regular, "self": _regular, "input": made, "tau": lambda scene: 0.1 * made(scene)[..., 0],
            "LU_data": _regular, "LU_pivots": _by_pivots,
        },
        reads={
            "": lambda scene, result: read(scene, _first(result).real.abs() * made(scene)[..., :1]),
            "_linalg_det": lambda scene, result: read(scene, result[0][..., None, None] * made(scene)),
            "_linalg_slogdet": lambda scene, result: read(scene, result[1][..., None, None] * made(scene)),
            "_linalg_svd": lambda scene, result: read(scene, result[1][..., None] * made(scene)),
            "_linalg_eigh": lambda scene, result: read(scene, result[0][..., None] * made(scene)),
            "_linalg_eigvals": lambda scene, result: read(scene, result.abs()[..., None] * made(scene)),
            "linalg_eig": lambda scene, result: read(scene, result[0].abs().sum(-1)[..., None, None] * made(scene)),
        },
    ),
    "matrices._solution": Family(
        {"A": _regular, "self": _regular, "B": made, "b": made, "input2": _regular, "upper": False},
        (({}, True), ({"B": lambda scene: made(scene)[..., 0]}, True)),
        own={"cholesky_solve": {"self": made}, "linalg_lu_solve": {"LU": _regular, "pivots": _by_pivots}},
        own_cases={
            "linalg_lu_solve": (({}, True),),
            "linalg_solve_triangular": (({"left": True}, True), ({"left": False}, True)),
        },
        reads={"": _vector_or_map},
    ),
    "matrices._trace": Family({"self": lambda scene: made(scene)[0, :, 0]}, (({}, False),), reads={"": met}),
    "matrices._cross": Family(
        {"self": lambda scene: made(scene)[:, :, :3], "other": lambda scene: made(scene)[:, :, 1:]},
        (({"dim": 2}, True),),
    ),
    "losses._differences": Family(
        {"target": made, "beta": 0.5, "delta": 0.5},
        tuple(({"reduction": number}, True) for number in range(3)),
        own={name: {"self": below_one, "target": below_one} for name in (
            "binary_cross_entropy", "binary_cross_entropy_with_logits"
        )},
    ),
    "losses._of_classes": Family(
        {"target": numbers(1, 0, 2, 2, 1, 3), "reduction": 1, "ignore_index": -1, "weight": None},
        (({}, False),), layout="matrix", layouts={"nll_loss2d_forward": "map"},
        own={
            "nll_loss2d_forward": {"target": lambda scene: torch.zeros(2, 4, 4, dtype=torch.int64)},
            "multi_margin_loss": {"p": 1, "margin": 1.0},
            "multilabel_margin_loss_forward": {"target": lambda scene: torch.zeros_like(scene.last, dtype=torch.int64)},
            "_ctc_loss": {
                "log_probs": lambda scene: made(scene)[:, None].log_softmax(-1), "targets": numbers([1, 2]),
                "input_lengths": [6], "target_lengths": [2],
            },
            "_ctc_loss.Tensor": {"input_lengths": numbers(6), "target_lengths": numbers(2)},
        },
        reads={"": summed_first, "multi_margin_loss": summed},
    ),
    "scattering._masked_scatter": Family(
        {"source": lambda scene: 0.5 * made(scene)},
        (
            ({"mask": lambda scene: (torch.arange(6) % 2 == 0)[:, None].expand_as(scene.last)}, True),
            ({"mask": lambda scene: (torch.arange(6) % 2 == 0)[:, None]}, True),
            ({"mask": lambda scene: torch.arange(CHANNELS) % 2 == 0}, False),
        ),
        layout="matrix",
    ),
    "elementwise._elementwise": Family(
        {
            "min": 0.7, "max": 2.5, "exponent": made, "tensor1": made, "tensor2": made, "mask": positive, "end": made,
            "condition": positive, "src": made, "fill_value": 0.5, "threshold": 1.5, "weight": made, "decimals": 1,
            "rounding_mode": "floor", "grad_output": made, "output": made, "self_or_result": made, "is_result": False,
            "self_is_result": False, "alpha": 1.0, "scale": 1.0, "input_scale": 1.0, "negative_slope": 0.1, "beta": 1.0,
            "min_val": 0.7, "max_val": 2.5, "x": made, "n": Number(3), "q": made, "count": _fives, "prob": below_one,
            "abs": made, "angle": made,
        },
        own={
            **{f"mvlgamma{end}": {"self": lambda scene: made(scene) + 1.0, "p": 2} for end in ("", "_")},
            **{f"polygamma{end}": {"n": 1} for end in ("", "_")},
            **{f"{name}{end}": {"self": _whole_numbers, "other": _whole_numbers} for end in ("", "_") for name in (
                "bitwise_left_shift", "bitwise_right_shift", "gcd", "lcm"
            )},
            **{f"bitwise_{way}_shift.{form}": {name: 1} for way in ("left", "right") for form, name in (
                ("Tensor_Scalar", "other"), ("Scalar_Tensor", "self")
            )},
            **{f"bitwise_{way}_shift_.Tensor_Scalar": {"other": 1} for way in ("left", "right")},
            **{f"__{way}shift__": {"self": _whole_numbers, "other": _whole_numbers} for way in "lr"},
            **{f"__{way}shift__.Scalar": {"other": 1} for way in "lr"},
            "randint_like": {"high": Number(5), "low": 1},
            "special_zeta": {"self": lambda scene: made(scene) + 1.5, "other": made},
            "special_zeta.self_scalar": {"self": 2.5}, "special_zeta.other_scalar": {"other": 0.5},
            **{f"special_shifted_chebyshev_polynomial_{kind}.x_scalar": {"x": 0.7} for kind in "tuvw"},
            "logit_backward": {"self": below_one},
            **{f"{name}{end}": _BITS for end in ("", "_") for name in (
                "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"
            )},
            **{f"{name}{end}": {"value": Number(0.5)} for end in ("", "_") for name in ("fill", "masked_fill")},
            **{f"addc{name}{end}": {"value": 0.5} for end in ("", "_") for name in ("mul", "div")},
            "random_": {"from": 1, "to": 5},
            "poisson": {"self": _square},
            **{f"{name}{end}": {"self": below_one} for end in ("", "_") for name in (
                "acos", "asin", "atanh", "erfinv", "logit", "special_ndtri"
            )},
            **{f"acosh{end}": {"self": lambda scene: made(scene) + 1.0} for end in ("", "_")},
            **{f"heaviside{end}": {"values": made} for end in ("", "_")},
            **{f"bernoulli{end}": {"self": below_one, "p": below_one} for end in ("", "_")},
            "_prelu_kernel": {"weight": lambda scene: scene.parameter("slope", CHANNELS).view(1, -1, 1, 1)},
            "_weight_norm_interface": {
                "v": parameter("v", CHANNELS, 3, 1, 1), "g": parameter("g", CHANNELS, 1, 1, 1), "dim": 0,
            },
        },
        reads={
            "empty_like": filled, "polar": lambda scene, result: read(scene, result.real * result.imag),
            **dict.fromkeys(("zero", "zero_", "zeros_like"), added),
            **dict.fromkeys(("eq_", "logical_not_", "logical_xor_"), lambda scene, result: read(scene, result + 0.5)),
            "_weight_norm_interface": lambda scene, result: read(scene, F.conv2d(scene.x, result[0])),
        },
    ),
    "elementwise._drawn_slopes": Family(
        {"self": lambda scene: made(scene) - 1.5, "noise": lambda scene: torch.ones_like(scene.last)},
    ),
    "elementwise._glu": Family(cases=(({"dim": 1}, True), ({"dim": 2}, True))),
    "elementwise._factory": Family(
        {
            "size": shape, "stride": lambda scene: list(scene.last.stride()), "end": 4, "start": 0, "step": 1, "n": 4,
            "m": 4, "fill_value": 0.5, "s": 0.5, "row": 4, "col": 4, "high": 5, "low": 1,
        },
        reads={
            "": met, **dict.fromkeys(("zeros", "new_zeros"), added),
            **dict.fromkeys(("empty", "empty_strided", "new_empty", "new_empty_strided"), filled),
            **dict.fromkeys(("tril_indices", "triu_indices"), summed),
        },
    ),
    "elementwise._identity": Family({"n": 4, "m": 4}, reads={"": met}),
    "elementwise._normal": Family(
        {"mean": 0.5, "std": 0.5, "size": shape},
        own={
            "normal.Tensor_float": {"mean": made},
            "normal.float_Tensor": {"std": _square},
            "normal.Tensor_Tensor": {"mean": made, "std": _square},
        },
        reads={"": lambda scene, result: read(scene, result.to(scene.x.dtype))},
    ),
    "elementwise._positions": Family(
        {
            "end": 4, "start": 0, "step": 1, "steps": 4, "n": 4, "d": 1.0, "window_length": 4, "periodic": True,
            "alpha": 0.5, "beta": 6.0,
        },
        own={
            **{name: {"start": Number(1.0), "end": Number(2.0)} for name in ("linspace", "logspace")},
            "range": {"end": 3}, "fft_rfftfreq": {"n": 6},
        },
        reads={"": met},
    ),
    "elementwise._positional": Family(
        {"diagonal": 0},
        (({}, True), ({"diagonal": 2}, True), ({"self": lambda scene: made(scene).transpose(1, 3)}, False)),
    ),
    "elementwise._read": Family(
        {"a": made, "assert_msg": "no"},
        own={
            "_local_scalar_dense": {"self": lambda scene: made(scene).sum()},
            "_assert_async": {"self": lambda scene: (made(scene) > -1e9).all()},
            "_linalg_check_errors": {
                "info": lambda scene: (made(scene)[:, :, 0, 0] < -1e9).int(), "api_name": "linalg.inv",
                "is_matrix": False,
            },
        },
    ),
    "contraction._product": Family(
        {"mat2": parameter("factor", CHANNELS, 5)},
        layout="matrix",
        own={
            "bmm": {"mat2": parameter("factor", 2, CHANNELS, 5)},
            "mv": {"self": parameter("factor", 5, CHANNELS), "vec": made},
            "dot": {"tensor": parameter("factor", CHANNELS)},
            "vdot": {"other": parameter("factor", CHANNELS)},
        },
        layouts={"bmm": "rows", "mv": "vector", "dot": "vector", "vdot": "vector"},
        reads={"": lambda scene, result: result},
    ),
    "contraction._product_with_bias": Family(
        {"self": parameter("bias", 5), "mat1": made, "mat2": parameter("factor", CHANNELS, 5)},
        layout="matrix",
        own={
            "baddbmm": {
                "self": parameter("bias", 2, 6, 5), "batch1": made, "batch2": parameter("factor", 2, CHANNELS, 5)
            },
            "addmv": {"mat": parameter("factor", 5, CHANNELS), "vec": made},
            "addmm_": {"self": lambda scene: scene.parameter("bias", 6, 5).clone()},
            "baddbmm_": {"self": zeros(2, 6, 5), "batch1": made, "batch2": parameter("factor", 2, CHANNELS, 5)},
            "addmv_": {"self": zeros(5), "mat": parameter("factor", 5, CHANNELS), "vec": made},
            "_sparse_addmm": {
                "self": parameter("bias", 6, CHANNELS), "mat1": lambda scene: _SPARSE, "mat2": made,
            },
        },
        layouts={"baddbmm": "rows", "baddbmm_": "rows", "addmv": "vector", "addmv_": "vector"},
        reads={"": lambda scene, result: result, "_sparse_addmm": read},
    ),
    "contraction._sum_of_products": Family(
        {"self": parameter("bias", 6, 5), "batch1": made, "batch2": parameter("factor", 2, CHANNELS, 5)},
        own={"addbmm_": {"self": lambda scene: scene.parameter("bias", 6, 5).clone()}},
        layout="rows",
        reads={"": lambda scene, result: result},
    ),
    "contraction._grouped_product": Family(cases=()),
    "contraction._trilinear": Family(
        {
            "i1": made, "i2": parameter("factor", 5, CHANNELS, CHANNELS), "i3": made, "expand1": [1, 3], "expand2": [0],
            "expand3": [1, 2], "sumdim": [2, 3],
        },
        layout="matrix",
        reads={"": lambda scene, result: result},
    ),
    "contraction._outer": Family(
        {"self": parameter("bias", 5, CHANNELS), "vec1": parameter("rows", 5), "vec2": made}, layout="vector",
        own={"addr_": {"self": lambda scene: scene.parameter("bias", 5, CHANNELS).clone()}},
    ),
    "contraction._linear": Family(
        {"weight": parameter("weight", 5, CHANNELS), "bias": parameter("bias", 5)},
        layout="rows",
        reads={"": lambda scene, result: result},
    ),
    "contraction._attention": Family(
        {"query": made, "key": made, "value": made, "attn_bias": None, "compute_log_sumexp": False}, layout="heads"
    ),
    "convolution._convolution": Family(
        {
            "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "output_padding": [0, 0], "benchmark": False,
            "deterministic": False, "cudnn_enabled": False, "allow_tf32": False,
        },
        cases=tuple(
            (
                {
                    "weight": parameter("w", *size), "bias": parameter("b", width), "groups": groups,
                    "transposed": back,
                },
                True,
            )
            for size, width, groups, back in (
                ((5, CHANNELS, 3, 3), 5, 1, False),
                ((6, CHANNELS // 2, 1, 1), 6, 2, False),
                ((CHANNELS, 1, 3, 3), CHANNELS, wide, False),
                ((CHANNELS, 5, 2, 2), 5, 1, True),
                ((CHANNELS, 3, 2, 2), 6, 2, True),
            )
        ),
    ),
    "convolution._deformed": Family(
        {
            "weight": parameter("w", 5, CHANNELS, 3, 3), "bias": parameter("b", 5), "use_mask": True,
            **{f"{name}_{side}": 1 for name in ("stride", "dilation", "pad") for side in "hw"},
        },
        cases=tuple(
            (
                {
                    "weight": parameter("w", 4, CHANNELS // groups, 3, 3), "bias": parameter("b", 4), "groups": groups,
                    "offset": parameter("offset", 2, 18 * offsets, 4, 4), "offset_groups": offsets,
                    "mask": parameter("mask", 2, 9 * offsets, 4, 4),
                },
                True,
            )
            for groups, offsets in ((1, 1), (2, 1), (1, 2), (2, 2), (2, 4))
        ),
    ),
    "distance._distances": Family(
        {
            "x1": made, "x2": parameter("prototypes", 5, CHANNELS), "p": 2.0, "compute_mode": None,
        },
        layout="rows", layouts={"_euclidean_dist": "matrix"}, reads={"": lambda scene, result: result},
    ),
    "distance._among_themselves": Family({"p": 2.0}, layout="matrix", reads={"": summed}),
    "drawing._of_a_row": Family(
        {"num_samples": 2, "self": lambda scene: made(scene) + 0.5},
        (({}, False), ({"self": lambda scene: made(scene).mT + 0.5}, True)), layout="matrix",
        reads={"": summed},
    ),
    "distance._distance": Family(reads={"": met}),
    "unfolding._unfold": Family(
        {"kernel_size": [3, 2], "dilation": [1, 1], "padding": [1, 1], "stride": [1, 1]},
    ),
    "unfolding._windows_along": Family(
        {"dimension": 2, "size": 2, "step": 1}, (({"dimension": 1}, False), ({"step": 2}, True), ({}, True)),
    ),
    "unfolding._fold": Family(
        {
            "self": lambda scene: made(scene).view(2, -1, 4), "output_size": [4, 4], "kernel_size": [2, 2],
            "dilation": [1, 1], "padding": [0, 0], "stride": [2, 2],
        },
    ),
    "unfolding._unpool": Family(
        {
            "self": lambda scene: F.max_pool2d(made(scene), 2), "output_size": [4, 4], "stride": [2, 2, 2],
            "indices": lambda scene: F.max_pool2d(made(scene), 2, return_indices=True)[1], "padding": [0, 0, 0],
        },
        layouts={"max_unpool3d": "volume"},
        own={"max_unpool3d": {
            "self": lambda scene: F.max_pool3d(made(scene), 2), "output_size": [4, 4, 4],
            "indices": lambda scene: F.max_pool3d(made(scene), 2, return_indices=True)[1],
        }},
    ),
    "indexing._embedding": Family(
        {"weight": parameter("table", 11, CHANNELS), "indices": numbers([1, 2, 2], [4, 0, 10])}, layout="rows"
    ),
    "indexing._scaled_rows": Family(
        {"self": parameter("table", 11, CHANNELS), "indices": numbers(1, 2, 2, 4), "max_norm": 0.5, "norm_type": 2.0},
        layout="matrix",
    ),
    "indexing._block_diagonal": Family(
        {"tensors": several}, (({}, True), ({"tensors": lambda scene: [made(scene), made(scene)[0]]}, True)),
        layout="matrix",
    ),
    "indexing._select": Family({"index": 1}, (*_AT, ({"dim": 1, "index": 0}, True), ({"dim": 1, "index": -1}, True))),
    "indexing._slice": Family(
        {"start": 1, "end": 3, "step": 1},
        (*_AT, ({"dim": 1, "step": 2, "end": 7}, False), ({"dim": 1, "step": 2, "end": None}, True),
         ({"dim": 1, "start": 0, "end": half}, True)),
    ),
    "indexing._split": Family(
        {
            "self": lambda scene: torch.cat(several(scene), 1), "split_size": lambda scene: scene.last.shape[1],
            "split_sizes": lambda scene: [scene.last.shape[1]] * 2, "dim": 1,
        },
        reads={"": halves},
    ),
    "indexing._unbind": Family(cases=_AT, reads={"": halves}),
    "indexing._cat": Family({"tensors": several}, (({"dim": 0}, True), ({"dim": 1}, True), ({"dim": -1}, True))),
    "indexing._stack": Family(
        {"tensors": several}, (({"dim": 0}, True), ({"dim": -1}, True)),
        reads={"": lambda scene, result: read(scene, result.sum(-1 if result.shape[-1] == 2 else 0))},
    ),
    "indexing._index": Family(cases=(*_PLACES, *_YES_OR_NO), own_cases={"_unsafe_index": _PLACES}),
    "indexing._index_put": Family(
        {"values": lambda scene: made(scene)[:1], "indices": lambda scene: [torch.tensor([1])]},
        (
            ({}, True),
            (
                {
                    "indices": lambda scene: [None, None, torch.tensor([1, 3]), torch.tensor([2, 0])],
                    "values": lambda scene: made(scene)[:, :, 0, :2],
                },
                True,
            ),
            (
                {
                    "indices": lambda scene: [torch.tensor([0, 1]), None, torch.tensor([2, 0])],
                    "values": lambda scene: made(scene)[:, :, 0],
                },
                True,
            ),
            ({"indices": lambda scene: [torch.tensor([True, False])]}, True),
            ({"indices": lambda scene: [None, torch.tensor([1])], "values": lambda scene: made(scene)[:, :1]}, False),
        ),
    ),
    "indexing._index_select": Family({"index": numbers(3, 1, 2)}, _AT),
    "indexing._turn": Family({"k": 1}, (({"dims": [1, 2]}, False), ({"dims": [-2, -1]}, True))),
    "searching._bins": Family({"boundaries": numbers(0.5, 1.0, 1.5)}),
    "searching._in_list": Family(
        {"elements": made, "test_elements": numbers(0.5, 1.0), "test_element": 0.5, "element": 0.5},
        reads={"": lambda scene, result: met(scene, result + 0.5)},
    ),
    "searching._own_bins": Family({"sorted_sequence": numbers(0.5, 1.0, 1.5)}),
    "indexing._roll": Family({"shifts": [1]}, (({"dims": [1]}, False), ({"dims": [2]}, True))),
    "indexing._pad": Family(cases=(({"pad": [1, 1, 1, 0]}, True), ({"pad": [0, 0, 0, 0, 2, 2]}, False))),
    "scattering._gather": Family(
        {"index": lambda scene: _everywhere(scene, 3, 0, 1)}, layout="rows",
        cases=(({"dim": 1}, True), ({"dim": 2, "index": numbers([[1, 0]], [[3, 3]])}, False)),
    ),
    "scattering._scatter": Family(
        {
            "index": lambda scene: _everywhere(scene, 3, 0, 1, 1, 0, 5), "src": lambda scene: 0.5 * made(scene),
            "reduce": "multiply",
        },
        layout="rows",
        own={name: {"reduce": "amax"} for name in ("scatter_reduce", "scatter_reduce_")},
    ),
    "scattering._at_rows": Family(
        {
            "index": numbers(3, 0, 1, 1, 0, 5), "source": lambda scene: 0.5 * made(scene), "reduce": "amax",
            "value": Number(0.5),
        },
        (({"dim": 1}, True), ({"dim": 2, "index": numbers(3, 0, 1, 1, 0, 5, 2, 7)}, False)), layout="rows",
        own={name: {"index": numbers(3, 0, 1, 5, 4, 2)} for name in ("index_copy", "index_copy_")},
        own_cases=dict.fromkeys(("index_copy", "index_copy_"), (({"dim": 1}, True),)),
    ),
    "scattering._part_written": Family(
        {"index": 1, "start": 1, "end": 3},
        (({"dim": 2}, True), ({"dim": 1}, False)),
        own={
            "select_scatter": {"src": lambda scene: 0.5 * made(scene)[:, :, 0]},
            "slice_scatter": {"src": lambda scene: 0.5 * made(scene)[:, :, :2]},
        },
        own_cases=dict.fromkeys(("select_scatter", "slice_scatter"), (({"dim": 2}, True),)),
    ),
    "scattering._diagonal_written": Family(
        {"src": lambda scene: 0.5 * made(scene)[..., 0]}, (({"dim1": 2, "dim2": 3}, True),),
    ),
    "scattering._taken": Family({"index": numbers([1, 2], [0, 3])}, (({}, False),), layout="rows"),
    "scattering._put": Family(
        {"index": numbers(1, 2), "source": lambda scene: torch.ones(2, dtype=scene.x.dtype)}, (({}, False),),
        layout="rows",
    ),
    "scattering._segment_reduce": Family(
        {"data": made, "reduce": "sum", "lengths": numbers(2, 4), "axis": 0}, layout="matrix"
    ),
    "scattering._packed": Family(
        {"lengths": numbers(6, 3), "batch_first": True}, layout="rows",
    ),
    "scattering._embedding_bag": Family(
        {
            "weight": parameter("table", 11, CHANNELS), "indices": numbers(1, 2, 2, 4, 0, 10), "offsets": numbers(0, 2),
        },
        tuple(({"mode": mode}, True) for mode in range(3)), layout="rows",
    ),
    "normalization._batch_norm": Family(
        {
            **_WIDE, "running_mean": parameter("mean", CHANNELS), "running_var": parameter("variance", CHANNELS),
            "exponential_average_factor": 0.1, "epsilon": 1e-5,
        },
        cases=(({}, True), ({"training": True}, True)),
        own={"_native_batch_norm_legit.no_stats": {"training": True}},
    ),
    "normalization._layer_norm": Family(
        {**_WIDE, "normalized_shape": lambda scene: [scene.last.shape[-1]]}, layout="rows"
    ),
    "normalization._group_norm": Family(
        {
            **_WIDE, "N": 2, "C": lambda scene: scene.last.shape[1], "HxW": 16, "group": 2}
    ),
    "normalization._softmax": Family(cases=(({"dim": 1}, True), ({"dim": -1}, True))),
    "normalization._renorm": Family(
        {"p": 2, "maxnorm": 0.5}, (({"dim": 0}, True), ({"dim": 1}, True), ({"dim": 2}, True)),
    ),
    "normalization._cumulative": Family(cases=_AT),
    "normalization._ordered": Family(
        {"k": 3, "mask": positive}, _AT,
        own={
            "bincount": {"self": lambda scene: made(scene).long().abs().flatten(), "minlength": 10},
            "repeat_interleave": {
                "repeats": lambda scene: made(scene).long().abs().flatten(), "output_size": None,
            },
            "histc": {"bins": 4, "min": 0.0, "max": 4.0}, "histogram": {"bins": 4}, "nonzero_static": {"size": 3},
            "histogram.bins_tensor": {"bins": lambda scene: torch.arange(5.0, dtype=scene.x.dtype)},
            **{f"repeat_interleave.{form}": {
                "self": lambda scene: made(scene).cumsum(1), "dim": 1, "repeats": repeats, "output_size": None,
            } for form, repeats in (("self_int", 2), ("self_Tensor", numbers(1, 2, 1, 1, 1, 1, 1, 1)))},
        },
        goes=dict.fromkeys(
            (
                "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive", "nonzero", "nonzero_static",
                "masked_select", "bincount", "repeat_interleave", "histc", "histogram",
            ),
            False,
        ),
        reads={
            **dict.fromkeys(
                ("_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive", "histogram"), summed_first,
            ),
            **dict.fromkeys(
                ("nonzero", "nonzero_static", "masked_select", "bincount", "repeat_interleave", "histc"), summed,
            ),
        },
    ),
    "pooling._pool": Family(
        {
            "align_corners": False, "scale_factors": None,
        },
        own={f"{how}_pad{n}d": {"padding": [1] * 2 * n} for how in ("reflection", "replication") for n in (1, 2, 3)},
    ),
    "pooling._fractional_pool": Family(
        {"kernel_size": [2, 2], "output_size": [2, 2]},
        layouts={"fractional_max_pool3d": "volume"},
        own={
            "fractional_max_pool2d": {"random_samples": _samples},
            "fractional_max_pool3d": {
                "kernel_size": [2, 2, 2], "output_size": [2, 2, 2], "random_samples": _samples,
            },
        },
    ),
    "pooling._grid_sampler": Family(
        {
            "align_corners": False, "grid": lambda scene: scene.parameter("grid", 2, 3, 3, 2).tanh(),
            "interpolation_mode": 0, "padding_mode": 0,
        },
        layout="map",
        own={"grid_sampler_3d": {"grid": lambda scene: scene.parameter("grid", 2, 3, 3, 3, 3).tanh()}},
        layouts={"grid_sampler_3d": "volume"},
    ),
    "pooling._affine_grid": Family(
        {"theta": lambda scene: made(scene)[:, :2, 0, :3], "size": [2, 3, 4, 4], "align_corners": False},
    ),
    "pooling._roi_align": Family(
        {
            "rois": lambda scene: torch.tensor([[0, 0, 0, 3, 3], [1, 1, 0, 3, 2]], dtype=scene.x.dtype),
            "spatial_scale": 1.0, "pooled_height": 2, "pooled_width": 2, "sampling_ratio": 2, "aligned": False,
        },
        own_cases={"torchvision.ps_roi_align": (({}, False),)},
    ),
    "pooling._pixel_shuffle": Family({"upscale_factor": 2, "downscale_factor": 2}),
    "reduction._reduce": Family(
        {"dims": lambda scene: [1]},
        (({"dim": 1}, True), ({"dim": 2, "keepdim": False}, True), ({"dim": -1}, True)),
        own={f"_is_{which}_true": {"self": lambda scene: _square(scene) > -1.0} for which in ("all", "any")},
        reads=dict.fromkeys(("_is_all_true", "_is_any_true"), lambda scene, result: read(scene, scene.last * result)),
        goes={"argmax": False, "argmin": False, "median": False, "nanmedian": False},
        own_cases=dict.fromkeys(("argmax", "argmin", "median", "nanmedian"), _AT),
    ),
    "reshaping._view": Family(
        {"stride": lambda scene: [scene.last[0].numel(), 1], "dtype": torch.int64},
        (({"size": lambda scene: [2, -1]}, True), ({"size": lambda scene: [2, half(scene), -1, 4, 4]}, True)),
        own={
            "_reshape_alias.default": {"size": lambda scene: [2, scene.last[0].numel()]},
        },
    ),
    "reshaping._permute": Family(
        {"dim0": 2, "dim1": 3, "dims": [0, 1, 3, 2]},
        layouts=dict.fromkeys(("t", "t_"), "matrix"),
        reads=dict.fromkeys(("t", "t_"), lambda scene, result: read(scene, made(scene) @ result)),
    ),
    "reshaping._diagonal": Family(
        {"dim1": 2, "dim2": 3, "offset": 0},
        (({}, True), ({"offset": 1}, True), ({"dim1": 1}, False)),
    ),
    "reshaping._diag_embed": Family(
        {"self": lambda scene: made(scene)[..., 0]},
        (({"dim1": -2}, True), ({"offset": 1}, True)),
        reads={"": _vector_or_map},
    ),
    "reshaping._channel_shuffle": Family({"groups": 2}),
    "reshaping._unsqueeze": Family(cases=(({"dim": 2}, True), ({"dim": -1}, True))),
    "reshaping._squeeze": Family({"self": short}, (({"dim": 2}, True), ({"dim": [2]}, True))),
    "reshaping._expand": Family({"self": lambda scene: made(scene)[:1], "size": [2, -1, -1, -1]}),
    "reshaping._repeat": Family(cases=(({"repeats": [1, 1, 2, 1]}, True), ({"repeats": [1, 2, 1, 1]}, True))),
    "reshaping._as_strided": Family(
        {"size": lambda scene: list(scene.last.shape), "stride": lambda scene: list(scene.last.stride())},
        (
            ({}, True),
            ({"size": lambda scene: [2, scene.last[0].numel()], "stride": lambda s: [s.last[0].numel(), 1]}, False),
        ),
    ),
}  # fmt: skip
"""By the file and the name of the function that is the rule."""
