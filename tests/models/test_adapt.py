"""A cfg is changed for other classes, sizes and anchors, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sapwood.errors import CfgError
from sapwood.models.darknet import DarknetNetwork, parse_cfg, write_cfg
from sapwood.models.darknet.adapt import adapt_anchors, adapt_classes, adapt_input_size, head_layers, num_anchors

DETECTOR = """[net]
width=64
height=64
channels=3

[convolutional]
filters=21 # three times 5 + 2
size=1
stride=2
activation=linear

[yolo]
mask = 2,3,4
anchors = 10,14,  23,27,  37,58,  81,82,  135,169
classes=2
num=5

[route]
layers=-3

[convolutional]
filters=14
size=1
stride=1
activation=linear

[yolo]
mask = 1,2
anchors = 10,14,  23,27,  37,58,  81,82,  135,169
classes=2
num=5
"""


def changed_lines(before: str, after: str) -> list[str]:
    return [b for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]


def test_classes_change_the_heads_and_the_convolutions_before_them() -> None:
    adapted = write_cfg(adapt_classes(parse_cfg(DETECTOR), 7))
    assert changed_lines(DETECTOR, adapted) == [
        "filters=36 # three times 5 + 2",
        "classes=7",
        "filters=24",
        "classes=7",
    ]


def test_the_input_size_is_height_then_width() -> None:
    adapted = write_cfg(adapt_input_size(parse_cfg(DETECTOR), (96, 128)))
    assert changed_lines(DETECTOR, adapted) == ["width=128", "height=96"]


def test_the_smallest_anchors_go_where_the_smallest_were() -> None:
    cfg = parse_cfg(DETECTOR)
    assert num_anchors(cfg) == 5
    adapted = adapt_anchors(cfg, [(1, 2), (3, 4.5), (5, 6), (7, 8), (9, 10)])
    coarse, fine = (adapted.layers[index] for index in head_layers(adapted))
    assert coarse.integers("mask") == (2, 3, 4)
    assert fine.integers("mask") == (0, 1)
    for head in (coarse, fine):
        assert head.numbers("anchors") == (1, 2, 3, 4.5, 5, 6, 7, 8, 9, 10)
        assert head.integer("num") == 5


def test_bad_changes_are_named() -> None:
    cfg = parse_cfg(DETECTOR)
    with pytest.raises(CfgError, match=r"0 classes wanted; expected at least 1"):
        adapt_classes(cfg, 0)
    with pytest.raises(CfgError, match=r"4 anchors came for heads that use 5"):
        adapt_anchors(cfg, [(1, 1)] * 4)
    with pytest.raises(CfgError, match=r"no \[yolo\] or \[region\] section; expected a detector"):
        adapt_classes(parse_cfg("[net]\n[softmax]\n"), 3)
    with pytest.raises(CfgError, match=r":3: \[yolo\]: expected a \[convolutional\] section before it"):
        adapt_classes(parse_cfg("[net]\n[maxpool]\n[yolo]\nclasses=2\n"), 3)
    with pytest.raises(CfgError, match=r"expected \[yolo\] heads, whose anchors are in input pixels"):
        adapt_anchors(parse_cfg("[net]\n[convolutional]\n[region]\nnum=1\n"), [(1, 1)])


@pytest.mark.parametrize(
    "name",
    ["yolov3.cfg", "yolov4.cfg", "yolov4-tiny-3l.cfg", "yolov3-tiny-prn.cfg", "yolov2-tiny-voc.cfg", "yolov7.cfg"],
)
def test_real_detectors_build_with_other_classes(data_dir: Path, name: str) -> None:
    adapted = adapt_classes(parse_cfg(data_dir / "darknet_cfgs" / name), 3)
    with torch.device("meta"):
        network = DarknetNetwork(adapted, initialize=False)
    assert {head.num_classes for head in network.heads} == {3}
    assert parse_cfg(write_cfg(adapted)) == adapted
