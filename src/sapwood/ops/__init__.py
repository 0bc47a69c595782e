"""How each family of operators ties the indices of its inputs and outputs; one file a family."""

from sapwood.ops import contraction, convolution, elementwise, indexing, normalization, pooling, reduction, reshaping
from sapwood.ops.atoms import ALWAYS, Atoms, Axis, fixed_axis
from sapwood.ops.call import Call, Graph, TensorRef, same_op
from sapwood.ops.context import NEVER_CHANNELS, RULES, Context, EqualParts, Rule, apply_rule, rule

__all__ = [
    "ALWAYS",
    "NEVER_CHANNELS",
    "RULES",
    "Atoms",
    "Axis",
    "Call",
    "Context",
    "EqualParts",
    "Graph",
    "Rule",
    "TensorRef",
    "apply_rule",
    "contraction",
    "convolution",
    "elementwise",
    "fixed_axis",
    "indexing",
    "normalization",
    "pooling",
    "reduction",
    "reshaping",
    "rule",
    "same_op",
]
