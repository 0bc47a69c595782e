"""Size, work, latency and memory of a model, each figure with the conditions it holds under."""

from sapwood.measure.explain import LayerChange, explain, layers_alone
from sapwood.measure.hardware import machine
from sapwood.measure.latency import SPIN_DOWN, LatencyRow, LatencyTable, measure_latency, summarise, time_rounds
from sapwood.measure.layer_latency import STEPS, LatencyModel, LayerFit, Sample, fit_latency, sample_work
from sapwood.measure.layers import ModelLayer, model_layers
from sapwood.measure.macs import MacCount, count_macs, weight_uses
from sapwood.measure.memory import peak_memory
from sapwood.measure.size import count_buffers, count_nonzeros, count_params, file_size_bytes
from sapwood.measure.width_effects import (
    MULTIPLES,
    WORTH,
    WidthEffects,
    best_multiple,
    multiple_of,
    ratio_and_error,
    relative_times,
    told,
    uneven_width,
    width_effects,
)
from sapwood.measure.width_samples import width_samples

__all__ = [
    "MULTIPLES",
    "SPIN_DOWN",
    "STEPS",
    "WORTH",
    "LatencyModel",
    "LatencyRow",
    "LatencyTable",
    "LayerChange",
    "LayerFit",
    "MacCount",
    "ModelLayer",
    "Sample",
    "WidthEffects",
    "best_multiple",
    "count_buffers",
    "count_macs",
    "count_nonzeros",
    "count_params",
    "explain",
    "file_size_bytes",
    "fit_latency",
    "layers_alone",
    "machine",
    "measure_latency",
    "model_layers",
    "multiple_of",
    "peak_memory",
    "ratio_and_error",
    "relative_times",
    "sample_work",
    "summarise",
    "time_rounds",
    "told",
    "uneven_width",
    "weight_uses",
    "width_effects",
    "width_samples",
]
