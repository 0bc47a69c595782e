"""What a program has to know to use an exported file, inside of the file: how a picture goes in, what comes out.

Values are JSON in text, under the same names in ONNX's metadata and, below ``sapwood``, in OpenVINO's ``rt_info``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sapwood import __version__
from sapwood.export.packages import require
from sapwood.types import AnchorFreeHead, TaskSpec, YoloHead

GROUP = "sapwood"
"""Where OpenVINO keeps them."""


def metadata_of(
    task: TaskSpec, names: Sequence[str], sizes: Sequence[Sequence[int | None]], inputs: Sequence[str]
) -> dict[str, str]:
    """Describes a file.

    Args:
        task: What the model is for.
        names: Its outputs.
        sizes: The shape of each output; None for what may be anything.
        inputs: Its inputs, the pictures first.

    Returns:
        ``task``, ``names`` (of the classes), ``input`` (size, layout, colours, normalisation), and ``outputs``: of each
        how it is read, with strides and anchors in pixels of the input.
    """
    found: dict[str, Any] = {"sapwood": __version__, "task": task.kind}
    if task.kind != "none":
        found["names"] = list(task.class_names)
        found["input"] = {
            "name": inputs[0] if inputs else "",
            "size": list(task.input_size),
            "layout": "NCHW, (height, width)",
            "colours": "RGB",
            "resize": task.resize,
            "scale": 1 / 255,
            "mean": list(task.mean),
            "std": list(task.std),
        }
        found["outputs"] = _outputs(task, names, sizes)
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def with_metadata(data: bytes, task: TaskSpec | None, inputs: Sequence[str]) -> bytes:
    """An ONNX file with what is to be known of it; as it is where nobody said what it is for."""
    if task is None:
        return data
    onnx = require("onnx")
    model = onnx.load_from_string(data)
    sizes = [[_size(dim) for dim in one.type.tensor_type.shape.dim] for one in model.graph.output]
    names = [one.name for one in model.graph.output]
    onnx.helper.set_model_props(model, metadata_of(task, names, sizes, inputs))
    found: bytes = model.SerializeToString()
    return found


def metadata_in(data: bytes) -> dict[str, str]:
    """What an ONNX file says of itself."""
    return {one.key: one.value for one in require("onnx").load_from_string(data).metadata_props}


def set_rt_info(model: Any, told: Mapping[str, str]) -> None:
    """Puts what is known of a file into an OpenVINO model."""
    for name, value in told.items():
        model.set_rt_info(value, [GROUP, name])


def _outputs(task: TaskSpec, names: Sequence[str], sizes: Sequence[Sequence[int | None]]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = [{"name": name} for name in names]
    for number, head in enumerate(task.heads):
        if isinstance(head, YoloHead) and number < len(told):
            told[number] |= _of_anchors(head, task.input_size, sizes[number])
    if task.heads and isinstance(task.heads[0], AnchorFreeHead):
        head = task.heads[0]
        parts: tuple[dict[str, Any], ...] = ({"kind": "distances", "bins": head.bins}, {"kind": "class logits"})
        for one, part in zip(told, parts, strict=False):
            one |= {**part, "strides": list(head.strides), "num_classes": head.num_classes, "nms": head.overlapping}
    if task.kind == "classification" and told:
        told[0]["kind"] = task.outputs
    return told


def _of_anchors(head: YoloHead, input_size: tuple[int, int], shape: Sequence[int | None]) -> dict[str, Any]:
    """How a map of anchors is read; the stride is unknown where the map may be of any size."""
    height, width = (shape[2], shape[3]) if len(shape) == 4 else (None, None)
    stride = [input_size[0] / height, input_size[1] / width] if height and width else None
    cells = head.kind == "region" and stride is not None
    anchors = [[one[0] * stride[1], one[1] * stride[0]] if cells and stride else list(one) for one in head.anchors]
    return {
        "kind": head.kind,
        "stride": stride,
        "anchors": anchors,
        "num_classes": head.num_classes,
        "scale_x_y": head.scale_x_y,
        "new_coords": head.new_coords,
        "softmax": head.softmax,
    }


def _size(dim: Any) -> int | None:
    return int(dim.dim_value) if dim.HasField("dim_value") else None
