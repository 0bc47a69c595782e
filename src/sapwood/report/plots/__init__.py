"""Where each mark of each plot stands, in percent of its plot: data for the template, which draws SVG from it."""

from sapwood.report.plots.accuracy import AccuracyPlot, accuracy_plot
from sapwood.report.plots.latency import LatencyPlot, latency_plot
from sapwood.report.plots.layers import LayerPlot, layer_plots
from sapwood.report.plots.pictures import PictureRow, picture_rows

__all__ = [
    "AccuracyPlot",
    "LatencyPlot",
    "LayerPlot",
    "PictureRow",
    "accuracy_plot",
    "latency_plot",
    "layer_plots",
    "picture_rows",
]
