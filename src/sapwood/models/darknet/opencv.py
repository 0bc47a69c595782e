"""What OpenCV 4 computes otherwise than Darknet, without a word: its reader of Darknet files knows fewer keys.

Each line here was seen with opencv-python-headless 4; ``tests/models/test_opencv_keys.py`` sees it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from sapwood.models.darknet.cfg import Section
from sapwood.models.darknet.network import DarknetNetwork, LayerRow

ADDED = 1e-6
"""What OpenCV adds to a variance before it takes the root; Darknet's forks, and Sapwood, add 1e-5."""
SAME = 1.01
"""Scales of a channel of up to this ratio count as one."""


@dataclass(frozen=True)
class Misreading:
    """A way in which OpenCV takes a section for another one.

    Attributes:
        sections: The names of the sections.
        key: The key that it is about.
        applies: Whether it happens in a section, which reads maps as the row says.
        what: What OpenCV does.
    """

    sections: tuple[str, ...]
    key: str
    applies: Callable[[Section, LayerRow], bool]
    what: str


def _other_stride(section: Section, row: LayerRow) -> bool:
    del row
    plain = section.integer("stride", 1)
    return any(section.integer(key, plain) != plain for key in ("stride_x", "stride_y"))


def _whole_map(section: Section, row: LayerRow) -> bool:
    del section
    return len(row.input_shape) == 3 and row.input_shape[1:] != (1, 1)


MISREADINGS = (
    Misreading(("convolutional",), "dilation", lambda s, _: s.integer("dilation", 1) > 1, "takes it for 1"),
    Misreading(("convolutional", "maxpool"), "stride_x", _other_stride, "reads stride= only"),
    Misreading(("convolutional",), "xnor", lambda s, _: s.flag("xnor"), "multiplies by the weights, not their signs"),
    Misreading(
        ("convolutional", "connected"),
        "activation",
        lambda s, _: "activation" not in s,
        "takes a missing one for linear; Darknet for logistic",
    ),
    Misreading(("connected",), "batch_normalize", lambda s, _: s.flag("batch_normalize"), "reads the weights amiss"),
    Misreading(("shortcut",), "from", lambda s, _: len(s.integers("from")) > 1, "adds the first layer only"),
    Misreading(
        ("shortcut",),
        "weights_type",
        lambda s, _: s.text("weights_type", "none") != "none",
        "reads no weights of it, and those of later layers from the wrong place",
    ),
    Misreading(("upsample",), "scale", lambda s, _: s.number("scale", 1.0) != 1.0, "does not multiply by it"),
    Misreading(("upsample",), "stride", lambda s, _: "stride" not in s, "takes a missing one for 1; Darknet for 2"),
    Misreading(("reorg",), "stride", lambda s, _: "stride" not in s, "takes a missing one for 2; Darknet for 1"),
    Misreading(
        ("maxpool",), "stride", lambda s, _: not {"stride", "size"} & set(s.keys), "takes both for 2; Darknet for 1"
    ),
    Misreading(("softmax",), "temperature", lambda s, _: s.number("temperature", 1.0) != 1.0, "does not divide by it"),
    Misreading(("softmax",), "groups", _whole_map, "sums over the channels of each place, Darknet over all values"),
)


def _small_variances(layer: nn.Module) -> str | None:
    """What OpenCV makes of a layer whose BatchNorm has channels of hardly any variance, as dead ones do."""
    for norm in layer.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None:
            variance = norm.running_var.double()
            ratio = ((variance + norm.eps) / (variance + ADDED)).sqrt()
            other = (ratio > SAME) & (norm.weight != 0)
            if other.any():
                channels = f"{int(other.sum())} of {len(ratio)} channels"
                return (
                    f"adds {ADDED:g} to variances, Darknet {norm.eps:g}: {channels} have hardly any, "
                    f"and become up to {float(ratio[other].max()):.3g} times as large"
                )
    return None


def opencv_misreads(network: DarknetNetwork) -> Iterator[str]:
    """Tells where OpenCV's reader makes another network of the files of ``network``, a line each.

    Examples:
        >>> from sapwood.models.darknet import parse_cfg
        >>> text = "[net]\\nchannels=3\\nheight=8\\nwidth=8\\n[convolutional]\\nfilters=4\\nsize=3\\ndilation=2\\n"
        >>> for line in opencv_misreads(DarknetNetwork(parse_cfg(text))):
        ...     print(line)
        layer 0 [convolutional] dilation=2: takes it for 1
        layer 0 [convolutional] activation=: takes a missing one for linear; Darknet for logistic
    """
    for row, section in zip(network.summary(), network.cfg.layers, strict=True):
        for one in MISREADINGS:
            if section.name in one.sections and one.applies(section, row):
                value = section.text(one.key, "")
                yield f"layer {row.index} [{section.written_name}] {one.key}={value}: {one.what}"
        if section.name == "convolutional" and (what := _small_variances(network.layers[row.index])):
            yield f"layer {row.index} [{section.written_name}] batch_normalize=1: {what}"
