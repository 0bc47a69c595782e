"""How each family of operators ties the indices of its inputs and outputs; one file a family."""

from sapwood.nested import leaves, mapped
from sapwood.ops import (
    complex,
    contraction,
    convolution,
    distance,
    drawing,
    elementwise,
    fourier,
    indexing,
    losses,
    matrices,
    normalization,
    pooling,
    reduction,
    reshaping,
    scattering,
    searching,
    unfolding,
)
from sapwood.ops.atoms import ALWAYS, CUT, TWO_WAYS, Atoms, Axis, fixed_axis
from sapwood.ops.call import Call, Graph, TensorRef, copies, floats_of, hides_calls, looks, name_of, restrides, same_op
from sapwood.ops.context import NEVER_CHANNELS, RULES, Context, EqualParts, Rule, apply_rule, bound, is_expected, rule
from sapwood.ops.derived import Derived, Part, Turned, Way
from sapwood.ops.doubles import in_double, made_sooner
from sapwood.ops.facts import FACTS, UNKNOWN
from sapwood.ops.free import is_free
from sapwood.ops.indexing import leave_out, sliced
from sapwood.ops.modes import CallMode, nothing_compiled
from sapwood.ops.reshaping import moved, order_of
from sapwood.ops.shapes import ShapesOnly
from sapwood.ops.spans import spans
from sapwood.ops.work import flop_formulas

__all__ = [
    "ALWAYS",
    "CUT",
    "FACTS",
    "NEVER_CHANNELS",
    "RULES",
    "TWO_WAYS",
    "UNKNOWN",
    "Atoms",
    "Axis",
    "Call",
    "CallMode",
    "Context",
    "Derived",
    "EqualParts",
    "Graph",
    "Part",
    "Rule",
    "ShapesOnly",
    "TensorRef",
    "Turned",
    "Way",
    "apply_rule",
    "bound",
    "complex",
    "contraction",
    "convolution",
    "copies",
    "distance",
    "drawing",
    "elementwise",
    "fixed_axis",
    "floats_of",
    "flop_formulas",
    "fourier",
    "hides_calls",
    "in_double",
    "indexing",
    "is_expected",
    "is_free",
    "leave_out",
    "leaves",
    "looks",
    "losses",
    "made_sooner",
    "mapped",
    "matrices",
    "moved",
    "name_of",
    "normalization",
    "nothing_compiled",
    "order_of",
    "pooling",
    "reduction",
    "reshaping",
    "restrides",
    "rule",
    "same_op",
    "scattering",
    "searching",
    "sliced",
    "spans",
    "unfolding",
]
