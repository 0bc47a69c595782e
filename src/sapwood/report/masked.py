"""The page of `sapwood mask`: which parameters have zeros now, and what those are good for."""

from __future__ import annotations

from sapwood.report import formats
from sapwood.report.answers import FASTER, GET, LOST, PLACE, SURE, Answer, get_commands, where_text
from sapwood.report.console import masking_table
from sapwood.report.findings import Finding
from sapwood.report.names import runtime_name
from sapwood.report.plots.layers import LayerBar, LayerPlot, layer_bar
from sapwood.report.records import Masking, ModelZeros
from sapwood.report.recovery import recovery_table
from sapwood.report.sheet import Sheet, SheetPart
from sapwood.report.sparsity import sparsity_table


def masking_sheet(record: Masking) -> Sheet:
    """The page of masks."""
    now = record.masked
    filled = [one for one in now.tensors if one.num_zeros]
    told = (
        f"{formats.percent(now.sparsity)} of {formats.count(now.num_params)} numbers are zero, in {len(filled)} of "
        f"{len(now.tensors)} parameters."
    )
    sections = [
        SheetPart(
            "zeros",
            "Where the zeros are",
            "A bar a parameter, in the order of the network, as high as its share of zeros; the line is at half.",
            layers=_plot(now),
        ),
        SheetPart("figures", "In numbers", table=masking_table(record.before, now, record.after_remove)),
    ]
    if record.mask_latency is not None:
        sections.append(SheetPart("time", "Where the time goes", table=sparsity_table(record.mask_latency)))
    if record.recovery is not None:
        sections.append(SheetPart("recovery", "Recovery", table=recovery_table(record.recovery)))
    if record.remarks:
        sections.append(SheetPart("remarks", "To be known", lines=record.remarks))
    subject = " · ".join(part for part in (record.model, str(record.case.get("method", ""))) if part)
    return Sheet("mask", subject, Finding("Zeros", told), _answers(record), tuple(sections))


def _answers(record: Masking) -> tuple[Answer, ...]:
    latency, now, machine = record.mask_latency, record.masked, record.made.machine if record.made else {}
    if latency is None:
        fast = Answer(FASTER, "not measured", "zeros make nothing smaller or faster by themselves")
        place = Answer(PLACE, "Sapwood's engine", "skips single zeros (sapwood compile); whole filters go by compact")
    else:
        took = f"{formats.milliseconds(latency.pruned_ms)} instead of {formats.milliseconds(latency.dense_ms)} a call"
        fast = Answer(FASTER, f"{1.0 / latency.ratio:.1f}×", took, tone="good" if latency.met else "bad")
        where = {"cpu": machine.get("cpu"), **latency.conditions}
        place = Answer(PLACE, runtime_name(str(latency.conditions.get("runtime", "sapwood"))), where_text(where))
    masks = f"{now.num_live} live mask{'' if now.num_live == 1 else 's'}"
    same = record.after_remove.num_zeros == now.num_zeros
    return (
        fast,
        place,
        Answer(LOST, "not measured", f"accuracy: sapwood eval measures it; {_zeros(record)}"),
        Answer(SURE, "counted", f"{masks}; after remove {'as many zeros' if same else 'other zeros'} in plain weights"),
        Answer(GET, "", "", get_commands(record.made, record.saved)),
    )


def _zeros(record: Masking) -> str:
    """How many zeros there are, and from what the other weights took over, if they did."""
    zeros, recovery = f"{formats.count(record.masked.num_zeros)} zeros", record.recovery
    if recovery is None:
        return zeros
    pictures = f"{recovery.num_pictures} picture{'' if recovery.num_pictures == 1 else 's'}"
    return f"{zeros}, the weights that stay adapted to them with {pictures} without labels"


def _plot(state: ModelZeros) -> LayerPlot:
    tensors = [one for one in state.tensors if one.num_params]
    bars: list[LayerBar] = [
        layer_bar(place, len(tensors), name=one.name, kind=one.kind, sparsity=one.sparsity, numel=one.num_params)
        for place, one in enumerate(tensors)
    ]
    filled = [one for one in tensors if one.num_zeros]
    if not filled:
        return LayerPlot("all parameters", tuple(bars), "no zeros", formats.percent(state.sparsity))
    low, high = min(filled, key=lambda one: one.sparsity), max(filled, key=lambda one: one.sparsity)
    told = f"from {formats.percent(low.sparsity)} ({low.name}) to {formats.percent(high.sparsity)} ({high.name})"
    return LayerPlot("all parameters", tuple(bars), told, formats.percent(state.sparsity))
