"""How ATen calls become the engine's nodes: one file an op family."""

from sapwood.runtime.engine.lowering import lower
from sapwood.runtime.engine.rules import contraction, normalization, pointwise, pooling, views

__all__ = ["contraction", "lower", "normalization", "pointwise", "pooling", "views"]
