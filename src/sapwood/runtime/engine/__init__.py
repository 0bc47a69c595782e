"""The sparse CPU engine: networks whose weights are mostly zeros, run at the speed of those that are not."""

from sapwood.runtime.engine.compiled import CompiledModel, compile, load
from sapwood.runtime.engine.library import instruction_set, set_instruction_set
from sapwood.runtime.engine.planning import Step
from sapwood.runtime.engine.sparse_conv import SparseConv2d

__all__ = [
    "CompiledModel",
    "SparseConv2d",
    "Step",
    "compile",
    "instruction_set",
    "load",
    "set_instruction_set",
]
