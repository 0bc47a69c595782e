"""Networks from ``.cfg`` files: they build, run and give the shapes Darknet gives; what cannot be built is named."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import CfgError, ShapeError
from sapwood.models.darknet import Cfg, DarknetNetwork, parse_cfg
from sapwood.models.darknet.layers import BATCH_NORM_EPS, ConvolutionalLayer

RECURRENT = {
    "rnn": r"rnn.cfg:14: \[rnn\]: this kind of layer is not supported; expected one of: avgpool, ",
    "gru": r"gru.cfg:14: \[gru\]: this kind of layer is not supported",
    "lstm.train": r"lstm.train.cfg:15: \[lstm\]: this kind of layer is not supported",
    "crnn.train": r"crnn.train.cfg:20: \[crnn\]: this kind of layer is not supported",
    "yolov3-tiny_occlusion_track": r"yolov3-tiny_occlusion_track.cfg:112: \[crnn\]: this kind of layer is not",
}

# raw maps of each head as channels, height, width, at 64 x 64 pixels; what Darknet prints for that size
SMALL_DETECTORS = {
    "yolov4-tiny": [(255, 2, 2), (255, 4, 4)],
    "yolov3-tiny-prn": [(255, 2, 2), (255, 4, 4)],
    "yolov3-tiny_3l": [(21, 2, 2), (21, 4, 4), (21, 8, 8)],
    "tiny-yolo-voc": [(125, 2, 2)],
    "tiny-yolo_xnor": [(425, 2, 2)],
}


def smaller(cfg: Cfg, size: int) -> Cfg:
    """``cfg`` for pictures of ``size`` pixels a side, where no layer fixes the size."""
    if any(section.name in {"connected", "crop"} for section in cfg.layers):
        return cfg
    return cfg.with_option(-1, "height", size).with_option(-1, "width", size)


def run(network: DarknetNetwork) -> tuple[Tensor, ...]:
    with torch.no_grad():
        result = network.eval()(torch.rand(2, *network.input_shape))
    return result if isinstance(result, tuple) else (result,)


def shapes(maps: tuple[Tensor, ...]) -> list[tuple[int, ...]]:
    return [tuple(part.shape[1:]) for part in maps]


@pytest.mark.parametrize("name", SMALL_DETECTORS)
def test_small_detectors_run(data_dir: Path, name: str) -> None:
    network = DarknetNetwork(smaller(parse_cfg(data_dir / "darknet_cfgs" / f"{name}.cfg"), 64))
    maps = run(network)
    assert shapes(maps) == SMALL_DETECTORS[name]
    assert list(network.output_shapes) == SMALL_DETECTORS[name]
    assert all(bool(torch.isfinite(part).all()) for part in maps)


@pytest.mark.parametrize(("name", "classes"), [("cifar", 10), ("efficientnet_b0", 1000), ("resnet50", 1000)])
def test_small_classifiers_run(data_dir: Path, name: str, classes: int) -> None:
    network = DarknetNetwork(smaller(parse_cfg(data_dir / "darknet_cfgs" / f"{name}.cfg"), 64))
    (probabilities,) = run(network)
    assert tuple(probabilities.shape) == (2, classes)
    assert network.num_classes == classes
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2))


@pytest.mark.slow
def test_every_published_file_runs_or_is_refused(data_dir: Path) -> None:
    refused, built = set(), set()
    for path in sorted((data_dir / "darknet_cfgs").glob("*.cfg")):
        cfg = smaller(parse_cfg(path), 128)
        try:
            with warnings.catch_warnings():  # one file lacks a comma in its anchors
                warnings.simplefilter("ignore", UserWarning)
                network = DarknetNetwork(cfg)
        except CfgError:
            refused.add(path.stem)
            continue
        maps = run(network)
        assert all(bool(torch.isfinite(part).all()) for part in maps), path
        expected = list(network.output_shapes)
        assert shapes(maps) == ([(network.num_classes,)] if not network.heads and network.num_classes else expected)
        assert len(network.heads) == sum(section.name in {"yolo", "region"} for section in cfg.layers)
        built.add(path.stem)
    assert refused == set(RECURRENT)
    assert len(built) == 38


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_networks_are_refused(data_dir: Path, name: str) -> None:
    cfg = parse_cfg(data_dir / "darknet_cfgs" / f"{name}.cfg")
    with pytest.raises(CfgError, match=RECURRENT[name]):
        DarknetNetwork(cfg)


def test_heads_say_how_maps_are_read(detector_text: str, data_dir: Path) -> None:
    (head,) = DarknetNetwork(parse_cfg(detector_text)).heads
    assert head.anchors == ((3.0, 4.0), (5.0, 6.0))
    assert (head.kind, head.num_classes, head.scale_x_y, head.new_coords, head.softmax) == (
        "yolo",
        2,
        1.05,
        False,
        False,
    )
    (region,) = DarknetNetwork(parse_cfg(data_dir / "darknet_cfgs" / "tiny-yolo-voc.cfg")).heads
    assert (region.kind, region.softmax, region.anchors[0]) == ("region", True, (1.08, 1.19))


def test_a_detector_computes_what_its_sections_say(detector_text: str) -> None:
    network = DarknetNetwork(parse_cfg(detector_text)).eval()
    x = torch.rand(1, 3, 32, 32)
    first, second, last = (network.layers[index] for index in (0, 2, 4))
    with torch.no_grad():
        a = nn.functional.leaky_relu(first.bn(first.conv(x)), 0.1)
        b = nn.functional.mish(second.bn(second.conv(a[:, 4:])))
        expected = last.conv(torch.cat([b, a[:, 4:]], dim=1))
        (found,) = network(x)
    assert torch.equal(found, expected)
    assert first.bn.eps == BATCH_NORM_EPS
    assert isinstance(first, ConvolutionalLayer)
    assert last.conv.bias is not None
    assert first.conv.bias is None


def test_maps_that_nobody_reads_any_more_are_freed(detector_text: str) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    kept = set(range(-1, len(network.layers)))
    for freed in network._layers_read_last:
        kept -= set(freed)
    assert kept == {5}  # the head


def test_a_network_copies_changes_dtype_exports_and_compiles(detector_text: str) -> None:
    network = DarknetNetwork(parse_cfg(detector_text)).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        (expected,) = network(x)
        (exact,) = copy.deepcopy(network).double()(x.double())
        (exported,) = torch.export.export(network, (x,)).module()(x)
        (compiled,) = torch.compile(network, backend="eager", fullgraph=True)(x)
    torch.testing.assert_close(exact.float(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(exported, expected)
    assert torch.equal(compiled, expected)
    assert network.layers[0].conv.weight.dtype == torch.float32


def test_other_picture_sizes_run_and_other_tensors_are_refused(detector_text: str) -> None:
    network = DarknetNetwork(parse_cfg(detector_text)).eval()
    assert shapes(network(torch.rand(1, 3, 64, 48))) == [(14, 32, 24)]
    with pytest.raises(ShapeError, match=r"got a tensor of shape \(1, 4, 32, 32\); expected \(batch, 3, H, W\)"):
        network(torch.rand(1, 4, 32, 32))
    with pytest.raises(ShapeError, match=r"got a tensor of shape \(3, 32, 32\)"):
        network(torch.rand(3, 32, 32))


def test_summary_has_a_row_a_layer(detector_text: str) -> None:
    rows = DarknetNetwork(parse_cfg(detector_text)).summary()
    assert [row.section for row in rows] == [
        "convolutional",
        "route",
        "convolutional",
        "route",
        "convolutional",
        "yolo",
    ]
    assert (rows[0].filters, rows[0].window, rows[0].input_shape, rows[0].output_shape, rows[0].num_params) == (
        8,
        "3x3/2",
        (3, 32, 32),
        (8, 16, 16),
        3 * 8 * 9 + 16,
    )
    assert rows[1].output_shape == (4, 16, 16)
    assert rows[3].inputs == (2, 1)


def test_a_forgotten_comma_in_anchors_is_read_as_darknet_does(detector_text: str) -> None:
    text = detector_text.replace("anchors=1,2,  3,4,  5,6", "anchors=1,2,  3,4   5,6")
    with pytest.warns(UserWarning, match=r"anchors=1,2,  3,4   5,6: 1 comma missing; read as Darknet does"):
        network = DarknetNetwork(parse_cfg(text))
    assert network.heads[0].anchors == ((3.0, 45.0), (6.0, 0.5))


CONV = "[convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\n"

MISTAKES = [
    ("[convolutional]\nsize=3\n", r"<text>:5: \[convolutional\]: no filters=; expected one"),
    ("[convolutional]\nfilters=0\n", r"<text>:6: \[convolutional\] filters=0: expected an integer of at least 1"),
    (
        "[convolutional]\nfilters=4\nsize=-3\n",
        r"<text>:7: \[convolutional\] size=-3: expected an integer of at least 1",
    ),
    ("[convolutional]\nfilters=4\nstride=0\n", r"stride=0: expected an integer of at least 1"),
    (
        "[convolutional]\nfilters=4\ngroups=2\n",
        r"groups=2: expected a divisor of the 3 channels before and of filters=4",
    ),
    ("[convolutional]\nfilters=4\nactivation=lekay\n", r"activation=lekay: expected one of: elu, gelu, .*mean leaky"),
    ("[convolutional]\nfilters=4\nsize=17\n", r"the map before is 16x16; expected one not smaller than the window"),
    ("[convolutional]\nfilters=4\nantialiasing=1\n", r"antialiasing=1: not supported; expected 0"),
    ("[convolutional]\nfilters=4\nshare_index=0\n", r"share_index=0: weights shared between layers are not supported"),
    (
        CONV + "[route]\nlayers=-2\n",
        r"<text>:11: \[route\] layers=-2: -2 is layer -1; expected a layer before this one",
    ),
    (CONV + "[route]\nlayers=1\n", r"layers=1: 1 is layer 1; expected a layer before this one, which is layer 1"),
    (CONV + "[route]\n", r"<text>:10: \[route\]: no layers=; expected one"),
    (CONV + "[route]\nlayers=-1\ngroups=3\n", r"groups=3: expected a divisor of the 4 channels of layer 0"),
    (CONV + "[route]\nlayers=-1\ngroups=2\ngroup_id=2\n", r"group_id=2: expected less than groups=2"),
    (CONV * 2 + "[route]\nlayers=0,1\n", r"layer 0 is 8x8, layer 1 is 4x4; expected maps of equal height and width"),
    (CONV + "[upsample]\n[shortcut]\nfrom=0\n", r"layer 0 is 8x8, the layer before 16x16; expected equal height"),
    (
        CONV * 2 + "[shortcut]\nfrom=-2\nweights_type=per_channel\n",
        r"from=-2: layer 0 is 4x8x8, the layer before 4x4x4; expected equal shapes where they are weighted",
    ),
    (CONV + "[shortcut]\nfrom=-1\nweights_type=channel\n", r"weights_type=channel: expected one of: none, per_channel"),
    (CONV * 2 + "[scale_channels]\nfrom=0\n", r"the layer before gives 4x4x4 for layer 0 of 4x8x8; expected 4x1x1"),
    (CONV * 2 + "[sam]\nfrom=0\n", r"the layer before gives 4x4x4, layer 0 4x8x8; expected equal shapes"),
    (CONV + "[sam]\nfrom=0,0\n", r"from=0,0: expected one layer"),
    ("[connected]\noutput=4\n[maxpool]\nsize=2\n", r"layer 0 gives a vector of 4; expected a map before this section"),
    ("[maxpool]\nsize=2\npadding=4\n", r"padding=4: expected less than 3, or windows of size=2 see nothing"),
    ("[crop]\ncrop_width=17\ncrop_height=4\n", r"a crop of 4x17 from 16x16; expected a smaller one"),
    ("[reorg]\nstride=2\n", r"stride=2: expected a stride whose square divides the 3 channels before"),
    ("[reorg3d]\nstride=3\n", r"stride=3: expected a divisor of the height and width before, 16x16"),
    ("[dropout]\nprobability=1\n", r"probability=1: expected a number from 0 up to, not including, 1"),
    ("[softmax]\ngroups=5\n", r"groups=5: expected a divisor of the 768 values before"),
    ("[yolo]\nclasses=1\nnum=1\nanchors=1,1\n", r"gives 3 channels; expected 1 anchors x \(5 \+ 1 classes\) = 6"),
    ("[yolo]\nclasses=1\nnum=1\n", r"<text>:5: \[yolo\]: no anchors=; expected one"),
    ("[yolo]\nnum=1\nmask=1\nanchors=1,1\n", r"mask=1: expected numbers from 0 to num - 1 = 0"),
    ("[yolo]\nnum=2\nanchors=1,1\n", r"anchors=1,1: 2 numbers; expected 4, a pair for each of num=2"),
    ("[region]\nnum=1\nanchors=1,1\ncoords=5\n", r"coords=5: expected 4"),
    ("", r"<text>:1: \[net\]: no section follows; expected the layers"),
]


@pytest.mark.parametrize(("sections", "message"), MISTAKES, ids=[message[:50] for _, message in MISTAKES])
def test_what_cannot_be_built_is_named(sections: str, message: str) -> None:
    cfg = parse_cfg("[net]\nwidth=16\nheight=16\nchannels=3\n" + sections)
    with pytest.raises(CfgError, match=message):
        DarknetNetwork(cfg)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("width=16\nheight=16\n", r"<text>:1: \[net\]: no channels=; expected one"),
        ("width=0\nheight=16\nchannels=3\n", r"<text>:2: \[net\] width=0: expected an integer of at least 1"),
    ],
)
def test_the_picture_must_have_a_size(net: str, message: str) -> None:
    with pytest.raises(CfgError, match=message):
        DarknetNetwork(parse_cfg(f"[net]\n{net}[avgpool]\n"))


def test_heads_must_agree_and_end_their_branch(detector_text: str) -> None:
    again = "[route]\nlayers=4\n[yolo]\nmask=0,1\nanchors=1,1,1,1\nclasses={}\nnum=2\n"
    with pytest.raises(CfgError, match=r"\[yolo\]: the layer before gives 14 channels; expected 2 anchors x"):
        DarknetNetwork(parse_cfg(detector_text + again.format(3)))
    assert len(DarknetNetwork(parse_cfg(detector_text + again.format(2))).heads) == 2
    with pytest.raises(CfgError, match=r"\[route\]: reads layer 5, a \[yolo\]; expected a layer that is not an output"):
        DarknetNetwork(parse_cfg(detector_text + "[route]\nlayers=-1\n"))
    other = "[route]\nlayers=4\n[yolo]\nmask=0\nanchors=1,1\nclasses=9\nnum=1\n"
    with pytest.raises(CfgError, match=r"\[yolo\]: heads of 2 and 9 classes; expected equal ones"):
        DarknetNetwork(parse_cfg(detector_text + other))


def yolo_network(rest: str) -> DarknetNetwork:
    text = f"[net]\nchannels=3\nheight=8\nwidth=8\n[conv]\nfilters=21\nactivation=linear\n[yolo]\nclasses=2\n{rest}\n"
    return DarknetNetwork(parse_cfg(text))


@pytest.mark.parametrize(
    "rest",
    ["mask=0,1,2\nnum=6\nanchors=9,27, 31,16, 35,32", "mask=0,1,2\nnum=3\nanchors=9,27, 31,16, 35,32, 1,2, 3,4, 5,6"],
)
def test_a_mask_needs_the_anchors_that_it_uses(rest: str) -> None:
    assert yolo_network(rest).heads[0].anchors == ((9, 27), (31, 16), (35, 32))


@pytest.mark.parametrize(
    "rest",
    [
        "mask=3,4,5\nnum=6\nanchors=9,27, 31,16, 35,32",
        "num=3\nanchors=9,27, 31,16",
        "mask=0,1,2\nnum=6\nanchors=9,27, 31,16, 35,32, 4",
        "mask=0,1,2\nnum=50000000\nanchors=1,2",
    ],
)
def test_anchors_that_a_head_uses_must_be_there(rest: str) -> None:
    with pytest.raises(CfgError, match=r"anchors=.*: \d numbers; expected \d+, a pair for each of num="):
        yolo_network(rest)
