"""Small networks as Darknet's ``.cfg``; the programs that try faults and damaged files run them as well."""

from __future__ import annotations

BRANCHED = """\
[net]
# a comment
width=32
height=32
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[route]
layers=-1
groups=2
group_id=1

[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=mish

[route]
layers=-1,-2

[convolutional]
filters=14
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=1,2
anchors=1,2,  3,4,  5,6
classes=2
num=3
scale_x_y=1.05
"""
"""A detector of one head, 2 classes, 32 x 32 pixels, with groups that are cut off and put beside others."""

CLASSIFIER = """\
[net]
width=8
height=8
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=relu

[maxpool]
size=2
stride=2

[connected]
batch_normalize=1
output=6
activation=leaky

[connected]
output=5
activation=linear

[softmax]
groups=1
"""
"""A classifier of 5 classes, 8 x 8 pixels, with ``[connected]`` layers."""


def plain_detector(first: int, second: int) -> str:
    """A detector of one head, 2 classes, 64 x 64 pixels: two convolutions of so many filters, one after the other."""
    return f"""[net]
width=64
height=64
channels=3

[convolutional]
batch_normalize=1
filters={first}
size=3
stride=2
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters={second}
size=3
stride=4
pad=1
activation=leaky

[convolutional]
filters=14
size=1
stride=1
activation=linear

[yolo]
mask=0,1
anchors=10,10, 30,30
classes=2
num=2
"""


CHAIN = """\
[net]
width=64
height=64
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky

[dropout]
probability=.2

[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky

[convolutional]
size=1
stride=1
pad=1
filters=30
activation=linear

[yolo]
mask=0,1
anchors=8,12,  20,30
classes=10
num=2
scale_x_y=1.05
"""
"""A detector of one head, 10 classes, 64 x 64 pixels, one layer behind the other, with dropout."""

JOINED = """\
[net]
channels=3
height=32
width=32
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=64
size=3
stride=1
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=64
size=3
stride=1
pad=1
activation=leaky
[route]
layers=-1,-2
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
anchors=4,4, 8,8
classes=2
num=2
"""
"""A detector of one head, 2 classes, 32 x 32 pixels, with two wide convolutions that are put beside each other."""

BINARY = """\
[net]
width=8
height=8
channels=3
[convolutional]
filters=48
size=3
pad=1
batch_normalize=1
activation=leaky
[convolutional]
filters=48
size=3
pad=1
batch_normalize=1
activation=leaky
[convolutional]
filters=48
size=3
pad=1
xnor=1
activation=leaky
[convolutional]
filters=48
size=3
pad=1
activation=leaky
[avgpool]
[connected]
output=40
activation=leaky
[connected]
output=5
activation=linear
"""
"""A classifier of 5 classes, 8 x 8 pixels, with convolutions and layers that are no plain ones among plain ones."""
