"""A padding of minus infinity in front of a MaxPool, as the pool's own: what ONNX can say and PyTorch cannot.

The pool gives the same bits, and the infinity is gone, which quantisers take for a value of the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sapwood.export.packages import require


def fold_padding(data: bytes) -> bytes:
    """Returns the bytes of an ONNX file whose paddings of minus infinity are ``pads`` of the pools that read them.

    A padding stays where anything but pools reads it, where it is as wide as a pool's window or cuts, or where its
    amounts are not known from the file.
    """
    if b"MaxPool" not in data or b"Pad" not in data:
        return data
    model = require("onnx").load_from_string(data)
    graph = model.graph
    found = [node for node in graph.node if node.op_type == "Pad" and _fold(model, node)]
    if not found:
        return data
    for node in found:
        graph.node.remove(node)
    _drop_unread(graph)
    folded: bytes = model.SerializeToString()
    return folded


def _fold(model: Any, pad: Any) -> bool:
    """Gives a padding to the pools that read it; whether it is of no more use."""
    graph, value = model.graph, pad.output[0]
    readers = [node for node in graph.node if value in node.input]
    amounts = _amounts(model, pad)
    if amounts is None or not readers or value in {one.name for one in graph.output}:
        return False
    widened = [_widened(reader, amounts) for reader in readers]
    if any(pads is None for pads in widened):
        return False
    for reader, pads in zip(readers, widened, strict=True):
        reader.input[0] = pad.input[0]
        kept = [attribute for attribute in reader.attribute if attribute.name != "pads"]
        del reader.attribute[:]
        reader.attribute.extend([*kept, require("onnx").helper.make_attribute("pads", pads)])
    return True


def _amounts(model: Any, pad: Any) -> list[int] | None:
    """Cells of minus infinity before and behind each spatial dimension; None if it pads anything else."""
    mode = next((one.s for one in pad.attribute if one.name == "mode"), b"constant")
    if mode != b"constant" or len(pad.input) < 3 or (len(pad.input) > 3 and pad.input[3]):
        return None
    fill, amounts = _constant(model, pad.input[2]), _constant(model, pad.input[1])
    if fill is None or amounts is None or float(fill.reshape(-1)[0]) != -float("inf"):
        return None
    rank = len(amounts) // 2
    begin, end = amounts[:rank].tolist(), amounts[rank:].tolist()
    if rank < 3 or any((*begin[:2], *end[:2])) or min((*begin, *end)) < 0:
        return None
    return [*map(int, begin[2:]), *map(int, end[2:])]


def _widened(pool: Any, amounts: Sequence[int]) -> list[int] | None:
    """A pool's padding with more in front of it; None if it is no pool that can take it."""
    given = {one.name: one for one in pool.attribute}
    if pool.op_type != "MaxPool" or len(pool.output) > 1 or ("ceil_mode" in given and given["ceil_mode"].i):
        return None
    if "auto_pad" in given and given["auto_pad"].s not in {b"", b"NOTSET"}:
        return None
    own = list(given["pads"].ints) if "pads" in given else [0] * len(amounts)
    pads = [one + more for one, more in zip(own, amounts, strict=True)]
    window = list(given["kernel_shape"].ints)
    return pads if all(one < size for one, size in zip(pads, [*window, *window], strict=True)) else None


def _constant(model: Any, name: str) -> np.ndarray[Any, Any] | None:
    """A value that the file holds, or that follows from what it holds; None if it depends on an input."""
    onnx, graph = require("onnx"), model.graph
    stored = {one.name: one for one in graph.initializer}
    if name in stored:
        return np.asarray(onnx.numpy_helper.to_array(stored[name]))
    producers = {value: node for node in graph.node for value in node.output}
    wanted, seen = [name], set()
    while wanted:
        value = wanted.pop()
        if value and value not in stored and value not in seen:
            if value not in producers:
                return None
            seen.add(value)
            wanted += producers[value].input
    nodes = [node for node in graph.node if seen.intersection(node.output)]
    held = [stored[one] for one in sorted(_read(nodes) & set(stored))]
    result = onnx.helper.make_empty_tensor_value_info(name)
    part = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "part", [], [result], held), opset_imports=model.opset_import
    )
    return np.asarray(require("onnx.reference").ReferenceEvaluator(part).run(None, {})[0])


def _read(nodes: Sequence[Any]) -> set[str]:
    return {value for node in nodes for value in node.input}


def _drop_unread(graph: Any) -> None:
    """Removes what nobody reads any more: nodes that made the amounts, and stored values."""
    outputs = {one.name for one in graph.output}
    while True:
        read = _read(graph.node) | outputs
        unread = [node for node in graph.node if not read.intersection(node.output)]
        if not unread:
            break
        for node in unread:
            graph.node.remove(node)
    kept = [one for one in graph.initializer if one.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
