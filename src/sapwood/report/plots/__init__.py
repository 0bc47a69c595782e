"""Where each mark of each plot stands, in percent of its plot: data for the template, which draws SVG from it."""

from sapwood.report.plots.accuracy import AccuracyPlot, accuracy_plot
from sapwood.report.plots.attempts import AttemptPlot, attempt_plot
from sapwood.report.plots.latency import LatencyPlot, latency_plot
from sapwood.report.plots.layer_times import LayerTimePlot, layer_time_plot
from sapwood.report.plots.layers import LayerPlot, layer_plots
from sapwood.report.plots.pictures import PictureRow, picture_rows
from sapwood.report.plots.sensitivity import SensitivityPlot, sensitivity_plot
from sapwood.report.plots.widths import WidthPlot, width_plot

__all__ = [
    "AccuracyPlot",
    "AttemptPlot",
    "LatencyPlot",
    "LayerPlot",
    "LayerTimePlot",
    "PictureRow",
    "SensitivityPlot",
    "WidthPlot",
    "accuracy_plot",
    "attempt_plot",
    "latency_plot",
    "layer_plots",
    "layer_time_plot",
    "picture_rows",
    "sensitivity_plot",
    "width_plot",
]
