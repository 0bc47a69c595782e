"""Where each mark of each plot stands, in percent of its plot: data for the template, which draws SVG from it."""

from sapwood.report.plots.accuracy import AccuracyPlot, accuracy_plots
from sapwood.report.plots.attempts import AttemptPlot, attempt_plot
from sapwood.report.plots.latency import LatencyPlot, latency_plot
from sapwood.report.plots.layer_times import LayerTimePlot, layer_time_plot
from sapwood.report.plots.layers import LayerPlot, layer_plots
from sapwood.report.plots.network import NetworkPlot, ZeroMap, compared_network, pruned_network, zero_maps
from sapwood.report.plots.pictures import PictureRow, picture_rows
from sapwood.report.plots.sensitivity import SensitivityPlot, sensitivity_plot
from sapwood.report.plots.tradeoff import TradeoffPlot, tradeoff_plot
from sapwood.report.plots.waterfall import Waterfall, waterfall

__all__ = [
    "AccuracyPlot",
    "AttemptPlot",
    "LatencyPlot",
    "LayerPlot",
    "LayerTimePlot",
    "NetworkPlot",
    "PictureRow",
    "SensitivityPlot",
    "TradeoffPlot",
    "Waterfall",
    "ZeroMap",
    "accuracy_plots",
    "attempt_plot",
    "compared_network",
    "latency_plot",
    "layer_plots",
    "layer_time_plot",
    "picture_rows",
    "pruned_network",
    "sensitivity_plot",
    "tradeoff_plot",
    "waterfall",
    "zero_maps",
]
