"""How wide each layer is after pruning: a bar a layer, from the input to the output."""

from __future__ import annotations

from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.records import LayerWidths, Pruning


@dataclass(frozen=True)
class WidthBar:
    """One layer: where its bar starts, how wide it is, and the share of its channels that stay, in percent."""

    x: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class WidthPlot:
    """The bars from the input to the output, and the plot in words."""

    bars: tuple[WidthBar, ...]
    summary: str


def width_plot(pruning: Pruning) -> WidthPlot | None:
    """Places the share of output channels that each layer with work keeps; None where no layer has any."""
    layers = [layer for layer in pruning.layers if layer.before.macs and layer.channels[0]]
    if not layers:
        return None
    step = 100.0 / len(layers)
    gap = 0.2 * step if len(layers) <= 120 else 0.0
    bars = tuple(
        WidthBar(
            x=round(index * step + gap / 2, 3),
            width=round(step - gap, 3),
            height=round(100.0 * min(1.0, _kept(layer)), 2),
            title=_title(layer),
        )
        for index, layer in enumerate(layers)
    )
    narrowest = min(layers, key=_kept)
    whole = sum(layer.channels[0] == layer.channels[1] for layer in layers)
    summary = (
        f"{whole} of {len(layers)} layers keep all of their output channels; {narrowest.name} keeps the fewest, "
        f"{narrowest.channels[1]} of {narrowest.channels[0]}"
    )
    return WidthPlot(bars, summary)


def _kept(layer: LayerWidths) -> float:
    return layer.channels[1] / layer.channels[0]


def _title(layer: LayerWidths) -> str:
    before, after = layer.channels
    return (
        f"{layer.name}: {after} of {before} channels, {formats.percent(layer.after.macs / layer.before.macs)} of MACs"
    )
