"""Where the zeros are: a small plot a case, with a bar for each layer's weights."""

from __future__ import annotations

from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.records import CaseResult, Comparison

KIND_LABELS = {"conv": "convolution", "bn": "BatchNorm", "linear": "linear", "other": "other"}


@dataclass(frozen=True)
class LayerBar:
    """One parameter: where its bar starts and how wide and high it is, in percent of the plot."""

    x: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True)
class LayerPlot:
    """One case: its bars from the input to the output, and a line in words."""

    name: str
    bars: tuple[LayerBar, ...]
    summary: str
    overall: str


def layer_plots(comparison: Comparison) -> tuple[LayerPlot, ...]:
    """Places the sparsity of every parameter that any case put zeros into; a case without zeros has no plot."""
    touched = touched_layers(comparison)
    if not touched:
        return ()
    shown = (case for case in comparison.candidates if case.done and any(layer.zeros for layer in case.layers))
    return tuple(_plot(case, touched) for case in shown)


def touched_layers(comparison: Comparison) -> list[str]:
    """Returns the names of the parameters in which some case has more zeros than the unpruned network, in order."""
    dense = {layer.name: layer.zeros for layer in comparison.baseline.layers}
    names: dict[str, None] = {}
    for case in comparison.candidates:
        names |= {layer.name: None for layer in case.layers if layer.zeros > dense.get(layer.name, 0)}
    order = [layer.name for layer in comparison.baseline.layers]
    known = [name for name in order if name in names]
    return known + [name for name in names if name not in dense]


def used_kinds(comparison: Comparison) -> list[tuple[str, str]]:
    """Returns the kinds of layer that the plots show, each with its label."""
    touched = set(touched_layers(comparison))
    present = {layer.kind for case in comparison.cases for layer in case.layers if layer.name in touched}
    return [(kind, label) for kind, label in KIND_LABELS.items() if kind in present]


def _plot(case: CaseResult, touched: list[str]) -> LayerPlot:
    layers = {layer.name: layer for layer in case.layers}
    bars = tuple(
        layer_bar(place, len(touched), name=name, kind=layer.kind, sparsity=layer.sparsity, numel=layer.numel)
        for place, name in enumerate(touched)
        if (layer := layers.get(name)) is not None
    )
    return LayerPlot(case.name, bars, _summary(case, touched), formats.percent(case.sparsity))


def layer_bar(place: int, num_bars: int, *, name: str, kind: str, sparsity: float, numel: int) -> LayerBar:
    """The bar of one of so many parameters, as high as it has zeros; a gap parts them where there is room.

    Examples:
        >>> layer_bar(1, 4, name="fc.weight", kind="linear", sparsity=0.5, numel=1200)
        LayerBar(x=27.5, width=20.0, height=50.0, kind='linear', title='fc.weight: 50 % of 1.20 k')
    """
    step = 100.0 / num_bars
    gap = 0.2 * step if num_bars <= 120 else 0.0
    return LayerBar(
        x=round(place * step + gap / 2, 3),
        width=round(step - gap, 3),
        height=round(100.0 * sparsity, 2),
        kind=kind if kind in KIND_LABELS else "other",
        title=f"{name}: {formats.percent(sparsity)} of {formats.count(numel)}",
    )


def _summary(case: CaseResult, touched: list[str]) -> str:
    layers = [layer for layer in case.layers if layer.name in set(touched) and layer.zeros]
    if not layers:
        return "no zeros"
    low, high = min(layers, key=lambda layer: layer.sparsity), max(layers, key=lambda layer: layer.sparsity)
    return (
        f"{len(layers)} of {len(touched)} parameters have zeros, from {formats.percent(low.sparsity)} ({low.name}) "
        f"to {formats.percent(high.sparsity)} ({high.name})"
    )
