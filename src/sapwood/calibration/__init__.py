"""Statistics of a model over a few hundred samples, by name, collected in one pass."""

from sapwood.calibration import gates, gradients, grams, inputs, movement
from sapwood.calibration.collect import collect
from sapwood.calibration.passes import Loss
from sapwood.calibration.patches import Geometry, convolution_patches, each_dimension
from sapwood.calibration.statistic import STATISTICS, Source, Statistic
from sapwood.calibration.statistics import Statistics
from sapwood.calibration.watch import CONSUMERS, consumers

__all__ = [
    "CONSUMERS",
    "STATISTICS",
    "Geometry",
    "Loss",
    "Source",
    "Statistic",
    "Statistics",
    "collect",
    "consumers",
    "convolution_patches",
    "each_dimension",
    "gates",
    "gradients",
    "grams",
    "inputs",
    "movement",
]
