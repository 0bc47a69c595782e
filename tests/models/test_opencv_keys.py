"""What OpenCV's reader of Darknet files makes of each key: the table of docs/models.md, and the export's warning."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sapwood
from sapwood.export import export_darknet
from sapwood.models import opencv_misreads
from sapwood.models.darknet import DarknetNetwork, parse_cfg, write_cfg, write_weights
from sapwood.models.darknet.opencv import MISREADINGS

NET = "[net]\nchannels=3\nheight=16\nwidth=16\n"
CONV = "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nstride=1\nactivation=leaky\n"
POINT = "[convolutional]\nfilters={}\nsize=1\nstride=1\nactivation=logistic\n"

MISREAD = {
    "dilation": CONV + "dilation=2\n",
    "stride_x": CONV + "stride_x=2\n",
    "stride_y": CONV + "[maxpool]\nsize=2\nstride=1\nstride_x=2\nstride_y=2\n",
    "xnor": CONV + "xnor=1\n",
    "activation": "[convolutional]\nfilters=4\nsize=3\nstride=1\n",
    "activation of connected": CONV + "[connected]\noutput=5\n",
    "connected batch_normalize": CONV + "[connected]\noutput=5\nactivation=leaky\nbatch_normalize=1\n",
    "several from": CONV * 3 + "[shortcut]\nfrom=-2,-3\nactivation=linear\n",
    "weights_type": CONV * 2 + "[shortcut]\nfrom=-2\nweights_type=per_channel\n" + CONV,
    "scale": CONV + "[upsample]\nstride=2\nscale=0.5\n",
    "upsample stride": CONV + "[upsample]\n",
    "reorg stride": CONV + "[reorg]\n",
    "maxpool of nothing": CONV + "[maxpool]\n",
    "temperature": CONV + "[avgpool]\n[softmax]\ngroups=1\ntemperature=2\n",
    "softmax of maps": CONV + "[softmax]\ngroups=1\n",
}

READ = {
    "convolutional": CONV,
    "no norm": "[convolutional]\nfilters=4\nsize=3\npadding=2\nstride=2\nactivation=mish\n",
    "groups": CONV + CONV + "groups=2\n",
    "one dilation": CONV + "dilation=1\nstride_x=1\nstride_y=1\nxnor=0\n",
    "maxpool": CONV + "[maxpool]\nsize=3\nstride=2\npadding=1\n",
    "maxpool without size": CONV + "[maxpool]\nstride=2\n",
    "shortcut": CONV * 2 + "[shortcut]\nfrom=-2\n",
    "wider shortcut": CONV.replace("=8", "=12") + CONV + "[shortcut]\nfrom=-2\nactivation=leaky\n",
    "route": CONV * 2 + "[route]\nlayers=-1,-2\n" + CONV,
    "route of a part": CONV + "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" + CONV,
    "upsample": CONV + "[upsample]\nstride=3\n",
    "reorg": CONV + "[reorg]\nstride=2\n",
    "softmax": CONV + "[avgpool]\n[softmax]\ntemperature=1\n",
    "connected": CONV + "[connected]\noutput=5\nactivation=linear\n",
    "sam": CONV + POINT.format(8) + "[sam]\nfrom=-2\n",
    "scale_channels": CONV + "[avgpool]\n" + POINT.format(8) + "[scale_channels]\nfrom=-3\n",
    "dropout": CONV + "[dropout]\nprobability=0.5\n" + CONV,
}


def network(text: str, eps: float = 1e-6) -> DarknetNetwork:
    """Random weights, far from where two readings would agree."""
    torch.manual_seed(1)
    made = DarknetNetwork(parse_cfg(NET + text)).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.eps = eps
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0, 0.3)
    return made


def agrees(made: DarknetNetwork, folder: Path) -> bool:
    """Whether OpenCV computes the same of the network's files, to the rounding of float32."""
    cv2: Any = pytest.importorskip("cv2", reason="no OpenCV to compare with")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip("this OpenCV reads no Darknet files; opencv-python-headless<5 does")
    (folder / "a.cfg").write_text(write_cfg(made.cfg))
    write_weights(folder / "a.weights", made)
    x = torch.rand(1, 3, 16, 16)
    other = cv2.dnn.readNetFromDarknet(str(folder / "a.cfg"), str(folder / "a.weights"))
    other.setInput(x.numpy())
    with torch.no_grad():
        theirs, own = other.forward(), made(x).numpy()
    return theirs.size == own.size and bool(np.abs(theirs.reshape(own.shape) - own).max() < 1e-5 * np.abs(own).max())


@pytest.mark.parametrize("name", MISREAD)
def test_what_opencv_misreads_is_told(name: str, tmp_path: Path) -> None:
    made = network(MISREAD[name])
    lines = [*opencv_misreads(made)]
    assert len(lines) == 1
    assert not agrees(made, tmp_path)


@pytest.mark.parametrize("name", READ)
def test_what_opencv_reads_is_not_warned_of(name: str, tmp_path: Path) -> None:
    made = network(READ[name])
    assert [*opencv_misreads(made)] == []
    assert agrees(made, tmp_path)


def test_every_misreading_has_a_case() -> None:
    told = {line.rpartition(": ")[2] for text in MISREAD.values() for line in opencv_misreads(network(text))}
    assert told == {one.what.rpartition(": ")[2] for one in MISREADINGS}


def test_opencv_adds_less_to_a_variance(tmp_path: Path) -> None:
    far = network(CONV, eps=1e-5)
    far.layers[0].bn.running_var[:3] = 1e-5
    assert not agrees(far, tmp_path)
    assert [*opencv_misreads(far)] == [
        "layer 0 [convolutional] batch_normalize=1: adds 1e-06 to variances, Darknet 1e-05: 3 of 8 channels have "
        "hardly any, and become up to 1.35 times as large"  # the root of 2e-5 over 1.1e-5
    ]
    far.layers[0].bn.eps = 1e-6
    assert agrees(far, tmp_path)
    assert [*opencv_misreads(far)] == []
    near = network(CONV, eps=1e-5)
    near.layers[0].bn.running_var[:3] = 1e-3  # the root of 1.01e-3 over 1.001e-3 is 1.0045
    nn.init.zeros_(near.layers[0].bn.weight[3:4])
    near.layers[0].bn.running_var[3] = 0.0  # a channel of nothing stays nothing
    assert [*opencv_misreads(near)] == []


def test_the_export_warns_by_name(tmp_path: Path) -> None:
    message = r"OpenCV would make another network of these files: layer 0 \[convolutional\] dilation=2: takes it for 1"
    with pytest.warns(UserWarning, match=message):
        export_darknet(network(MISREAD["dilation"], eps=1e-5), tmp_path / "net.cfg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_darknet(network(CONV, eps=1e-5), tmp_path / "other.cfg")


def test_comments_and_unknown_keys_are_written_as_they_were(tmp_path: Path) -> None:
    data = (NET + "max_epochs=3\n# 改\n" + CONV).encode("gbk")
    (tmp_path / "net.cfg").write_bytes(data)
    with pytest.warns(UserWarning, match=r"net.cfg:5: \[net\] max_epochs=3: unknown key, not used"):
        made = DarknetNetwork(parse_cfg(tmp_path / "net.cfg")).eval()
    export_darknet(made, tmp_path / "again.cfg")
    assert (tmp_path / "again.cfg").read_bytes() == data
    with pytest.warns(UserWarning, match="max_epochs=3"):
        bundle = sapwood.load_model(str(tmp_path / "net.cfg"))
    sapwood.save_model(bundle, tmp_path / "saved")
    assert (tmp_path / "saved" / "model.cfg").read_bytes() == data
    again = sapwood.load_saved(tmp_path / "saved").model
    assert write_cfg(again.cfg) == write_cfg(made.cfg)
