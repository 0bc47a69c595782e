"""Pruned Darknet networks as files: what is written is what was pruned, for every network there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.errors import CfgError, CheckFailedError, SpecError
from sapwood.export import ROUNDING, export_darknet
from sapwood.models import AttributeEdit, Cut, Plan, Shift, apply_plan
from sapwood.models.darknet import DarknetNetwork, Header, compact_cfg, parse_cfg, read_weights

pytestmark = pytest.mark.filterwarnings("ignore:OpenCV would make another network")

EXACT = 1e-6
"""The files hold the network's own float32 values."""


def pruned(network: DarknetNetwork, sparsity: float, **options: Any) -> DarknetNetwork:
    x = torch.rand(1, *network.input_shape)
    model = sapwood.prune(network, x, target=sapwood.Target(sparsity=sparsity), **options).model
    assert isinstance(model, DarknetNetwork)
    return model


def results(network: DarknetNetwork, x: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        result = network(x)
    return result if isinstance(result, tuple) else (result,)


def small(cfg_file: Path, size: int = 96) -> DarknetNetwork:
    """The network of a file for small pictures, with its own weights or with lively random ones."""
    cfg = parse_cfg(cfg_file).with_option(-1, "height", size).with_option(-1, "width", size)
    network = DarknetNetwork(cfg).eval()
    if cfg_file.with_suffix(".weights").exists():
        read_weights(cfg_file.with_suffix(".weights"), network)
        return network
    for bn in (module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)):
        nn.init.normal_(bn.running_mean, 0, 0.3)  # type: ignore[arg-type]
        nn.init.uniform_(bn.running_var, 0.5, 2)  # type: ignore[arg-type]
        nn.init.uniform_(bn.weight, 0.5, 1.5)
        nn.init.normal_(bn.bias, 0, 0.3)
    return network


QUICK = """
    detectors/yolov3-tiny detectors/yolov4-tiny darknet_cfgs/yolov4-tiny-3l detectors/yolo-fastest-1.1
    darknet_cfgs/yolov3-tiny-prn darknet_cfgs/yolov3-tiny_3l darknet_cfgs/cifar
""".split()
SLOW = """
    detectors/yolo-fastest-1.1-xl
    darknet_cfgs/tiny-yolo-voc darknet_cfgs/yolov2-tiny-voc darknet_cfgs/yolo darknet_cfgs/yolo-voc
    darknet_cfgs/yolov2-voc darknet_cfgs/yolov3 darknet_cfgs/yolov3-voc darknet_cfgs/yolov3-openimages
    darknet_cfgs/yolov3_5l darknet_cfgs/csresnext50-panet-spp darknet_cfgs/yolov4 darknet_cfgs/yolov4-csp
    darknet_cfgs/yolov4-csp-swish darknet_cfgs/yolov4-csp-x-swish-frozen darknet_cfgs/yolov4x-mish
    darknet_cfgs/yolov4-p5-frozen darknet_cfgs/yolov4-p6 darknet_cfgs/yolov7 darknet_cfgs/cspx-p7-mish-omega
    darknet_cfgs/cspx-p7-mish_hp darknet_cfgs/alexnet darknet_cfgs/darknet19 darknet_cfgs/darknet53
    darknet_cfgs/densenet201 darknet_cfgs/efficientnet_b0 darknet_cfgs/extraction darknet_cfgs/extraction22k
    darknet_cfgs/resnet50 darknet_cfgs/resnet152 darknet_cfgs/strided darknet_cfgs/vgg-16 darknet_cfgs/writing
    darknet_cfgs/tiny-yolo_xnor
""".split()
SIZES = {"vgg-16": 256, "strided": 256, "yolov4-p6": 128, "cspx-p7-mish_hp": 128}
"""Pixels a side, for networks that do not take 96."""


@pytest.mark.filterwarnings("ignore:.*1 comma missing; read as Darknet does")  # in the published cspx-p7-mish_hp
@pytest.mark.parametrize("sparsity", [0.3, 0.5])
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_every_network_is_written_and_read_back(name: str, sparsity: float, data_dir: Path, tmp_path: Path) -> None:
    dense = small(data_dir / f"{name}.cfg", SIZES.get(name.rpartition("/")[2], 96))
    network = pruned(dense, sparsity)
    files = export_darknet(network, tmp_path / "small.cfg")
    assert files.max_abs_error <= EXACT
    again = DarknetNetwork(parse_cfg(files.cfg), initialize=False).eval()
    read_weights(files.weights, again)
    assert again.output_shapes == dense.output_shapes
    x = torch.rand(2, *dense.input_shape)
    for found, wanted in zip(results(again, x), results(network, x), strict=True):
        assert float((found - wanted).abs().max()) <= EXACT * float(wanted.abs().max())
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in network.parameters())
    assert network.cfg == parse_cfg(files.cfg)
    assert network.summary() == again.summary()


def test_the_halves_of_a_route_stay_halves(detector_text: str, tmp_path: Path) -> None:
    network = pruned(DarknetNetwork(parse_cfg(detector_text)).eval(), 0.5)
    files = export_darknet(network, tmp_path / "small.cfg")
    text = detector_text.replace("filters=8", "filters=4").replace(
        "filters=4\nsize=3\nstride=1", "filters=2\nsize=3\nstride=1"
    )
    assert files.cfg.read_text() == text
    assert files.weights == tmp_path / "small.weights"


def test_what_was_not_pruned_is_written_as_it_was(detector_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(detector_text)).eval()
    network.header = Header(0, 2, 5, 77)
    files = export_darknet(network, tmp_path / "same.cfg", tmp_path / "other.weights")
    assert files.cfg.read_text() == detector_text
    again = DarknetNetwork(parse_cfg(files.cfg))
    read_weights(files.weights, again)
    assert again.header == network.header


def test_connected_layers_are_narrowed(classifier_text: str, tmp_path: Path) -> None:
    network = pruned(DarknetNetwork(parse_cfg(classifier_text)).eval(), 0.5)
    cfg = parse_cfg(export_darknet(network, tmp_path / "small.cfg").cfg)
    assert [layer.integer("output") for layer in cfg.layers if layer.name == "connected"] == [3, 5]
    assert cfg.layers[0].integer("filters") == 2


def test_a_bias_before_a_norm_goes_into_its_mean(classifier_text: str, tmp_path: Path) -> None:
    dense = DarknetNetwork(parse_cfg(classifier_text)).eval()
    shifts = (
        Shift("layers.0.conv.bias", (0.5, -1.0, 2.0, 0.25)),
        Shift("layers.2.linear.bias", (1.0, -0.5, 0.25, 0.1, 2.0, -1.0)),
    )
    network = apply_plan(dense, Plan(shifts=shifts))
    x = torch.rand(1, 3, 8, 8)
    assert not torch.allclose(results(network, x)[0], results(dense, x)[0])
    files = export_darknet(network, tmp_path / "folded.cfg")
    assert files.max_abs_error <= ROUNDING
    again = DarknetNetwork(parse_cfg(files.cfg)).eval()
    read_weights(files.weights, again)
    torch.testing.assert_close(results(again, x)[0], results(network, x)[0], rtol=ROUNDING, atol=ROUNDING)


def uneven(detector_text: str) -> DarknetNetwork:
    """A network whose route takes the second, whole half of a map whose first half lost channels."""
    kept = (0, 1, 4, 5, 6, 7)
    names = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    widths = (("conv", "out_channels"), ("bn", "num_features"))
    plan = Plan(
        cuts=tuple(Cut(f"layers.0.{name}", 0, 8, kept) for name in names),
        attributes=(
            *(AttributeEdit(f"layers.0.{module}", attribute, 8, 6) for module, attribute in widths),
            AttributeEdit("layers.1.slices.0", "start", 4, 2),
            AttributeEdit("layers.1.slices.0", "stop", 8, 6),
        ),
    )
    return apply_plan(DarknetNetwork(parse_cfg(detector_text)).eval(), plan)


def test_a_part_that_is_no_half_is_named(detector_text: str, tmp_path: Path) -> None:
    network = uneven(detector_text)
    message = (
        r"<text>:15: \[route\]: layer 1 takes channels 2 to 6 of maps with 6; a .cfg says 3 to 6; keep what it reads"
    )
    with pytest.raises(CfgError, match=message):
        export_darknet(network, tmp_path / "uneven.cfg")
    with pytest.raises(CfgError, match=message):
        sapwood.save_model(sapwood.types.ModelBundle(network, (), *UNKNOWN), tmp_path / "uneven")
    assert not list(tmp_path.iterdir())


UNKNOWN = (sapwood.types.TaskSpec("none"), sapwood.types.ModelSource("x", "session"))


def test_a_shortcut_that_adds_fewer_channels_is_named() -> None:
    text = "[net]\nchannels=3\nheight=8\nwidth=8\n" + "[convolutional]\nfilters=4\n" * 2 + "[shortcut]\nfrom=-2\n"
    network = DarknetNetwork(parse_cfg(text))
    network.layers[2].adds[0].shared = 3
    message = r":9: \[shortcut\]: layer 2 adds 3 channels of maps with 4 and 4; a .cfg adds all there are"
    with pytest.raises(CfgError, match=message):
        compact_cfg(network)


def test_tensors_that_do_not_fit_are_named(detector_text: str) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    network.layers[2].conv.weight = nn.Parameter(torch.zeros(4, 3, 3, 3))
    message = r"layer 2 conv.weight has shape \(4, 3, 3, 3\); a .cfg says \(4, 4, 3, 3\)"
    with pytest.raises(CfgError, match=message):
        compact_cfg(network)


def test_masked_networks_are_written_with_their_zeros(detector_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(detector_text)).eval()
    nn.utils.prune.l1_unstructured(network.layers[0].conv, "weight", 0.5)
    files = export_darknet(network, tmp_path / "masked.cfg")
    again = DarknetNetwork(parse_cfg(files.cfg))
    read_weights(files.weights, again)
    assert torch.equal(again.layers[0].conv.weight, network.layers[0].conv.weight)


def test_only_darknet_networks_are_written(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"a Linear cannot be written as .cfg and .weights; expected a Darknet network"):
        export_darknet(nn.Linear(2, 2), tmp_path / "net.cfg")


def test_files_that_give_another_result_are_an_error(
    detector_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(path: Path, network: DarknetNetwork) -> None:
        read_weights(path, network)
        network.layers[0].bn.running_mean += 1.0

    previous = tmp_path / "net.cfg", tmp_path / "net.weights"
    for file in previous:
        file.write_text("what stood here")
    monkeypatch.setattr("sapwood.export.darknet.read_weights", spoil)
    with pytest.raises(CheckFailedError, match=r"read back, differ from the network by .* expected at most 1e-05"):
        export_darknet(DarknetNetwork(parse_cfg(detector_text)).eval(), tmp_path / "net.cfg")
    assert [file.read_text() for file in previous] == ["what stood here"] * 2
    assert sorted(tmp_path.iterdir()) == sorted(previous)
