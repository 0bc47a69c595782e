"""Ways to run a model: one file a runtime; what each gives can be called, checked and timed layer by layer."""

from sapwood.runtime import int8 as int8
from sapwood.runtime import onnxruntime as onnxruntime
from sapwood.runtime import openvino as openvino
from sapwood.runtime import sparse_engine as sparse_engine
from sapwood.runtime import torch_compile as torch_compile
from sapwood.runtime import torch_eager as torch_eager
from sapwood.runtime.allocator import give_back, kept_memory
from sapwood.runtime.base import (
    OVERHEAD,
    RUNTIME,
    RUNTIMES,
    Calibrated,
    LayerTimes,
    OpenSession,
    Reopens,
    Runtime,
    Session,
    is_exact,
)
from sapwood.runtime.calling import eval_mode, model_call, run
from sapwood.runtime.check import check_session
from sapwood.runtime.cores import available_cores
from sapwood.runtime.engine import CompiledModel, SparseConv2d, compile, instruction_set, load
from sapwood.runtime.int8 import Int8Session, int8_session, opened_int8
from sapwood.runtime.standing_in import running_on

__all__ = [
    "OVERHEAD",
    "RUNTIME",
    "RUNTIMES",
    "Calibrated",
    "CompiledModel",
    "Int8Session",
    "LayerTimes",
    "OpenSession",
    "Reopens",
    "Runtime",
    "Session",
    "SparseConv2d",
    "available_cores",
    "check_session",
    "compile",
    "eval_mode",
    "give_back",
    "instruction_set",
    "int8_session",
    "is_exact",
    "kept_memory",
    "load",
    "model_call",
    "opened_int8",
    "run",
    "running_on",
]
