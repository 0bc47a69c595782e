"""Norms that pool over channels: removing channels changes their statistics, whatever the channels held."""

from __future__ import annotations

from collections.abc import Iterator

from sapwood.graph import Analysis
from sapwood.ops import Call
from sapwood.removal.widths import Expectation


def pooled_norms(analysis: Analysis, expectation: Expectation) -> tuple[str, ...]:
    """Names of the modules that take statistics over channels of which some go, in the order they run.

    A weight that is divided by a product of weights, as spectral normalisation does it, is one of them: its module.
    """
    changed = [(call.index, call.module) for call in analysis.graph.calls if _changes(call, expectation)]
    return tuple(dict.fromkeys(name for _, name in sorted([*changed, *_divided_weights(analysis, expectation)])))


def _changes(call: Call, expectation: Expectation) -> bool:
    if not call.facts.statistics:
        return False
    rows, norm = expectation.rows(call.args[0]), call.facts.norm
    if norm is not None and norm.kind == "group":
        kept = rows[1].reshape(int(call.args[call.facts.groups_at or 0]), -1)
        return bool((kept.any(axis=1) & ~kept.all(axis=1)).any())
    return not all(rows[dim].all() for dim in call.facts.pooled_dims(call))


def _divided_weights(analysis: Analysis, expectation: Expectation) -> Iterator[tuple[int, str]]:
    """Calls that divide a weight by what products of weights summed up over indices of which some go."""
    graph = analysis.graph
    made_of = {number: names[0] for number, names in {**graph.buffers, **graph.parameters}.items()}
    summed: set[int] = set()
    for call in graph.calls:
        read = [tensor.id for tensor in call.tensor_inputs()]
        if not read or not made_of.keys() >= set(read):
            continue
        if call.facts.scales == "over" and summed.intersection(read[1:]):
            yield call.index, made_of[read[0]].rpartition(".")[0].partition(".parametrizations")[0]
        product = call.facts.sum if call.facts.is_product else None
        loses = product is not None and not expectation.rows(call.args[product.source])[-1].all()
        for output in call.tensor_outputs():
            made_of.setdefault(output.id, made_of[read[0]])
            if loses or summed.intersection(read):
                summed.add(output.id)
