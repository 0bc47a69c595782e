"""``.weights`` files: the same bytes after a round trip, and every wrong file named."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

import sapwood
from sapwood.errors import WeightsError
from sapwood.export import export_darknet
from sapwood.models.darknet import DarknetNetwork, Header, parse_cfg, read_weights, write_weights

DETECTORS = ["yolov3-tiny", "yolo-fastest-1.1", "yolo-fastest-1.1-xl"]


def test_the_published_files_are_written_as_they_were(data_dir: Path, tmp_path: Path) -> None:
    for name in DETECTORS:
        network = DarknetNetwork(parse_cfg(data_dir / "detectors" / f"{name}.cfg"), initialize=False)
        source = data_dir / "detectors" / f"{name}.weights"
        result = read_weights(source, network)
        assert (result.complete, result.num_layers) == (True, len(network.layers))
        written = write_weights(tmp_path / "copy.weights", network)
        assert written.read_bytes() == source.read_bytes(), name


@pytest.mark.parametrize(
    "header",
    [Header(0, 1, 0, 2**32 - 1), Header(0, 2, 5, 2**40), Header(0, 0, 0, 1), Header(1, 0, 0, 3), Header(0, 1001, 0, 5)],
)
def test_both_header_versions_survive(header: Header, classifier_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(classifier_text))
    network.header = header
    first = write_weights(tmp_path / "first.weights", network)
    assert first.stat().st_size == (20 if header.major or header.minor >= 2 else 16) + 4 * num_values(network)
    twin = DarknetNetwork(parse_cfg(classifier_text))
    read_weights(first, twin)
    assert twin.header == header
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), twin.state_dict().values(), strict=True)
    )
    assert write_weights(tmp_path / "second.weights", twin).read_bytes() == first.read_bytes()


def num_values(network: DarknetNetwork) -> int:
    return sum(tensor.numel() for tensor in network.state_dict().values() if tensor.is_floating_point())


def test_values_stand_in_darknets_order(classifier_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(classifier_text))
    count = num_values(network)
    path = tmp_path / "counted.weights"
    path.write_bytes(struct.pack("<3iI", 0, 1, 0, 0) + np.arange(count, dtype="<f4").tobytes())
    read_weights(path, network)
    conv, hidden, last = network.layers[0], network.layers[2], network.layers[3]
    parts = [
        conv.bn.bias,
        conv.bn.weight,
        conv.bn.running_mean,
        conv.bn.running_var,
        conv.conv.weight,
        hidden.bn.bias,  # the matrix of a connected layer comes before its statistics
        hidden.linear.weight,
        hidden.bn.weight,
        hidden.bn.running_mean,
        hidden.bn.running_var,
        last.linear.bias,
        last.linear.weight,
    ]
    found = torch.cat([part.detach().flatten() for part in parts])
    assert torch.equal(found, torch.arange(count, dtype=torch.float32))


def test_old_files_store_connected_matrices_transposed(classifier_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(classifier_text))
    plain = write_weights(tmp_path / "plain.weights", network).read_bytes()
    network.header = Header(0, 1001, 0, 0)
    turned = write_weights(tmp_path / "turned.weights", network).read_bytes()
    matrix = network.layers[3].linear.weight.detach().numpy()
    assert turned[-matrix.nbytes :] == matrix.T.tobytes()
    assert plain[-matrix.nbytes :] == matrix.tobytes()


def test_a_float64_network_writes_float32(detector_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    before = write_weights(tmp_path / "a.weights", network).read_bytes()
    assert write_weights(tmp_path / "b.weights", network.double()).read_bytes() == before
    read_weights(tmp_path / "a.weights", network)
    assert network.layers[0].conv.weight.dtype == torch.float64


def test_under_a_live_mask_the_masked_values_are_written(detector_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    conv = network.layers[4].conv
    mask = torch.zeros_like(conv.weight)
    prune.custom_from_mask(conv, "weight", mask)
    path = write_weights(tmp_path / "masked.weights", network)
    twin = DarknetNetwork(parse_cfg(detector_text))
    read_weights(path, twin)
    assert not bool(twin.layers[4].conv.weight.any())
    with pytest.raises(WeightsError, match=r"layer 4 \[convolutional\] \(line 31\) weights is under a live mask"):
        read_weights(path, network)


def test_a_beginning_fills_the_first_layers(detector_text: str, tmp_path: Path) -> None:
    network, twin = (DarknetNetwork(parse_cfg(detector_text)) for _ in range(2))
    data = write_weights(tmp_path / "all.weights", network).read_bytes()
    beginning = tmp_path / "net.conv.1"
    first_layer = 4 * (8 * 4 + 8 * 3 * 9)
    beginning.write_bytes(data[: 20 + first_layer])
    result = read_weights(beginning, twin, partial=True)
    assert (result.num_layers, result.num_values, result.complete) == (1, first_layer // 4, False)
    assert torch.equal(twin.layers[0].conv.weight, network.layers[0].conv.weight)
    assert not torch.equal(twin.layers[2].conv.weight, network.layers[2].conv.weight)
    with pytest.raises(WeightsError, match="too short: layer 2"):
        read_weights(beginning, twin)
    beginning.write_bytes(data[: 20 + first_layer - 4])
    with pytest.raises(WeightsError, match=r"too short: layer 0 \[convolutional\] \(line 7\) weights wants 864 bytes"):
        read_weights(beginning, twin, partial=True)


def damaged(data: bytes, value: float, index: int) -> bytes:
    at = 20 + 4 * index
    return data[:at] + struct.pack("<f", value) + data[at + 4 :]


WRONG = {
    "short": (
        lambda data: data[:-8],
        r"net.weights: too short: layer 4 \[convolutional\] \(line 31\) weights wants 448 bytes, found 440; "
        r"<text> wants 2136 bytes of weights, the file holds 2128",
    ),
    "long": (
        lambda data: data + b"12345678",
        r"net.weights: too long: 8 bytes are left behind layer 4 \[convolutional\] \(line 31\) weights; "
        r"<text> wants 2136 bytes of weights, the file holds 2144",
    ),
    "odd": (lambda data: data + b"1", r"net.weights: too long: 1 bytes are left behind layer 4"),
    "empty": (lambda data: b"", r"net.weights: 0 bytes found; expected a header of 16 or 20 bytes and the weights"),
    "header only": (lambda data: data[:18], r"net.weights: 18 bytes found; expected a header of 16 or 20 bytes"),
    "no weights": (
        lambda data: data[:20],
        r"too short: layer 0 \[convolutional\] \(line 7\) biases wants 32 bytes, found 0",
    ),
    "another format": (
        lambda data: b"\x89PNG\r\n\x1a\n" + data,
        r"net.weights: the header says version 1196314761.169478669..*; expected a Darknet .weights file",
    ),
    "NaN": (
        lambda data: damaged(data, float("nan"), 8),
        r"layer 0 \[convolutional\] \(line 7\) scales: 1 of 8 values are NaN or infinite; expected finite numbers",
    ),
    "infinite": (
        lambda data: damaged(data, float("inf"), 40),
        r"layer 0 .* weights: 1 of 216 values are NaN or infinite",
    ),
    "variance": (
        lambda data: damaged(data, -1.0, 24),
        r"layer 0 .* rolling variance: a variance below 0; expected none",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_named(name: str, detector_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    path = tmp_path / "net.weights"
    data = write_weights(path, network).read_bytes()
    damage, message = WRONG[name]
    path.write_bytes(damage(data))
    with pytest.raises(WeightsError, match=message):
        read_weights(path, network)


def test_absent_files_and_directories_are_named(detector_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    with pytest.raises(WeightsError, match=r"none.weights: no such file; expected a Darknet .weights file"):
        read_weights(tmp_path / "none.weights", network)
    with pytest.raises(WeightsError, match=r"is a directory; expected a Darknet .weights file"):
        read_weights(tmp_path, network)


@pytest.mark.parametrize("version", [(0, 0, 0), (0, 1, 0)])
@pytest.mark.parametrize("seen", [0, 6400, 2**40])
def test_a_header_of_five_words_is_told_by_the_size(
    version: tuple[int, ...], seen: int, detector_text: str, tmp_path: Path
) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    data = write_weights(tmp_path / "a.weights", network).read_bytes()
    (tmp_path / "port.weights").write_bytes(struct.pack("<3iQ", *version, seen) + data[20:])
    twin = DarknetNetwork(parse_cfg(detector_text))
    assert read_weights(tmp_path / "port.weights", twin).complete
    assert twin.header == Header(0, 2, 5, seen)
    own, other = network.state_dict(), twin.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert write_weights(tmp_path / "b.weights", twin).read_bytes() == struct.pack("<3iQ", 0, 2, 5, seen) + data[20:]


def test_four_bytes_too_many_behind_a_long_header_stay_an_error(detector_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    data = write_weights(tmp_path / "a.weights", network).read_bytes()
    for header in (struct.pack("<3iQ", 0, 2, 5, 0), struct.pack("<3iQ", 0, 0, 0, 0) + b"1234"):
        (tmp_path / "long.weights").write_bytes(header + b"1234" * (len(header) == 20) + data[20:])
        with pytest.raises(WeightsError, match=r"too long: [48] bytes are left behind"):
            read_weights(tmp_path / "long.weights", network)


@pytest.mark.parametrize("kind", ["per_channel", "per_feature"])
def test_weights_of_shortcuts_are_read_written_and_pruned(kind: str, tmp_path: Path) -> None:
    conv = "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nstride=1\nactivation={}\n"
    weighted = f"[shortcut]\nfrom=-2,-3\nactivation=leaky\nweights_type={kind}\nweights_normalization=softmax\n"
    layers = [conv.format("hard_mish"), conv.format("leaky"), conv.format("gelu"), weighted, conv.format("linear")]
    network = DarknetNetwork(parse_cfg("[net]\nchannels=3\nheight=9\nwidth=9\n" + "".join(layers)))
    values = 3 * (8 if kind == "per_channel" else 1)
    assert network.layers[3].weight.numel() == values
    torch.nn.init.normal_(network.layers[3].weight)
    write_weights(tmp_path / "a.weights", network)
    numbers = np.fromfile(tmp_path / "a.weights", dtype="<f4", offset=network.header.size)
    last = 4 * 8 + 8 * 8 * 9
    np.testing.assert_array_equal(numbers[-last - values : -last], network.layers[3].weight.detach().flatten())
    twin = DarknetNetwork(network.cfg)
    read_weights(tmp_path / "a.weights", twin)
    for tensor, other in zip(network.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(tensor, other)
    small = sapwood.prune(network.eval(), torch.rand(1, 3, 9, 9), target={"sparsity": 0.5}).model
    assert {layer.conv.out_channels for layer in small.layers[:3]} == {4}
    with pytest.warns(UserWarning, match=r"layer 3 .* adds the first layer only; .* reads no weights of it"):
        export_darknet(small, tmp_path / "small.cfg")
    again = DarknetNetwork(parse_cfg(tmp_path / "small.cfg"))
    read_weights(tmp_path / "small.weights", again)
    x = torch.rand(1, 3, 9, 9)
    assert torch.equal(again.eval()(x), small(x))
