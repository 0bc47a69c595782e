"""Ways to run a model: one file a runtime; what each gives can be called, checked and timed layer by layer."""

from sapwood.runtime import onnxruntime as onnxruntime
from sapwood.runtime import openvino as openvino
from sapwood.runtime import torch_compile as torch_compile
from sapwood.runtime import torch_eager as torch_eager
from sapwood.runtime.allocator import give_back, kept_memory
from sapwood.runtime.base import OVERHEAD, RUNTIME, RUNTIMES, Runtime, Session
from sapwood.runtime.calling import model_call
from sapwood.runtime.check import check_session

__all__ = [
    "OVERHEAD",
    "RUNTIME",
    "RUNTIMES",
    "Runtime",
    "Session",
    "check_session",
    "give_back",
    "kept_memory",
    "model_call",
]
