"""Of a map that 1 x 1 convolutions read with a stride, only the values that they read are brought together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from sapwood.runtime.engine.nodes import Conv, Network, Node, Pool, Value
from sapwood.runtime.engine.packing import PlaneGeometry

ONE = (1, 1)


def picked(network: Network) -> Network:
    """Such convolutions read without a stride what a pooling with windows of one value leaves.

    Where others read the same phases, or nobody reads the map itself, all phases are made anyway.
    """
    readers: dict[Value, list[Node]] = defaultdict(list)
    for node in network.nodes:
        for value in node.inputs:
            readers[value].append(node)
    returned = {value for value, _ in network.outputs}
    found = Network(sizes=dict(network.sizes), outputs=network.outputs)
    small: dict[tuple[Value, tuple[int, int]], Value] = {}
    for node in network.nodes:
        if not isinstance(node, Conv) or not _picks(node, readers[node.inputs[0]], node.inputs[0] in returned):
            found.nodes.append(node)
            continue
        source, stride = node.inputs[0], node.spec.geometry.stride
        if (source, stride) not in small:
            value = small[source, stride] = max(found.sizes) + 1
            channels, height, width = network.sizes[source]
            found.sizes[value] = (channels, -(-height // stride[0]), -(-width // stride[1]))
            found.nodes.append(Pool(value, (source,), node.label, "max", PlaneGeometry(ONE, stride)))
        spec = replace(node.spec, geometry=PlaneGeometry(ONE))
        found.nodes.append(replace(node, inputs=(small[source, stride], *node.inputs[1:]), spec=spec))
    return found


def _picks(conv: Conv, readers: Sequence[Node], returned: bool) -> bool:
    geometry = conv.spec.geometry
    if geometry.kernel != ONE or geometry.padding != (0, 0) or geometry.stride == ONE:
        return False
    strided = [one for one in readers if isinstance(one, Conv) and one.inputs[0] == conv.inputs[0]]
    same = [one for one in strided if one.spec.geometry.stride == geometry.stride]
    alone = len(same) == len(readers) and not returned
    return not alone and all(one.spec.geometry.kernel == ONE for one in same)
