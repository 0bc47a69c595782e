"""How ATen calls become the engine's nodes: one file an op family."""

from sapwood.runtime.engine.lowering import lower, lower_run
from sapwood.runtime.engine.rules import attention, contraction, normalization, pointwise, pooling, tokens, views

__all__ = ["attention", "contraction", "lower", "lower_run", "normalization", "pointwise", "pooling", "tokens", "views"]
