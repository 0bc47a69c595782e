"""Size, work, latency and memory of a model, each figure with the conditions it holds under."""

from sapwood.measure.hardware import machine
from sapwood.measure.latency import LatencyRow, LatencyTable, measure_latency
from sapwood.measure.layers import ModelLayer, model_layers
from sapwood.measure.macs import MacCount, count_macs
from sapwood.measure.memory import peak_memory
from sapwood.measure.size import count_buffers, count_nonzeros, count_params, file_size_bytes
from sapwood.runtime.calling import model_call

__all__ = [
    "LatencyRow",
    "LatencyTable",
    "MacCount",
    "ModelLayer",
    "count_buffers",
    "count_macs",
    "count_nonzeros",
    "count_params",
    "file_size_bytes",
    "machine",
    "measure_latency",
    "model_call",
    "model_layers",
    "peak_memory",
]
