"""A `.cfg` in which convolutions are two: numbers of layers follow, and the network computes the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sapwood.errors import ConfigError
from sapwood.models import own_basis, parse_cfg, write_cfg
from sapwood.models.darknet import DarknetNetwork
from sapwood.models.darknet.inserting import two_convolutions
from sapwood.models.darknet.two_layers import in_two_layers

NET = "[net]\nchannels=3\nheight=16\nwidth=16\n"
CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
LINEAR = "[convolutional]\nfilters=6\nsize=1\nactivation=linear"
JOINED = (
    NET
    + CONV.format(6)
    + CONV.format(6)
    + "[shortcut]\nfrom=-2\nactivation=linear\n"
    + "[route]\nlayers=-1, 0\n"
    + CONV.format(6)
    + "[route]\nlayers=1,-3\ngroups=2\ngroup_id=1\n"
    + "[maxpool]\nsize=2\nstride=2\n"
    + LINEAR
)


def numbers(text: str, ranks: dict[int, int]) -> list[tuple[int, ...]]:
    """The layers that routes and shortcuts read, counted from the first."""
    cfg = two_convolutions(parse_cfg(text), ranks)
    return [
        tuple(layer + index if layer < 0 else layer for layer in section.integers(key))
        for index, section in enumerate(cfg.layers)
        for key in ("from", "layers")
        if key in section
    ]


def test_numbers_of_layers_follow() -> None:
    assert numbers(JOINED, {}) == [(0,), (2, 0), (1, 2)]
    assert numbers(JOINED, {0: 2}) == [(1,), (3, 1), (2, 3)]
    assert numbers(JOINED, {1: 2}) == [(0,), (3, 0), (2, 3)]
    assert numbers(JOINED, {4: 2}) == [(0,), (2, 0), (1, 2)]
    assert numbers(JOINED, {0: 2, 1: 2, 4: 2, 7: 2}) == [(1,), (4, 1), (3, 4)]


def test_what_was_written_relative_stays_so_and_text_that_need_not_change_stays() -> None:
    text = write_cfg(two_convolutions(parse_cfg(JOINED), {4: 2}))
    assert "layers=-1, 0" in text
    assert "layers=1,-4" in text
    assert write_cfg(two_convolutions(parse_cfg(JOINED), {})) == JOINED


def drawn(cfg: str) -> DarknetNetwork:
    torch.manual_seed(0)
    network = DarknetNetwork(parse_cfg(cfg)).double().eval()
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5) if name.endswith("var") else buffer.normal_()
    return network


def as_two(network: DarknetNetwork, *, able: bool = True) -> DarknetNetwork:
    names = [
        name
        for name, module in network.named_modules()
        if type(module) is torch.nn.Conv2d and module.groups == 1 and min(module.weight.flatten(1).shape) > 1
    ]
    assert names or not able
    bases = {name: own_basis(network.get_submodule(name)) for name in names}  # type: ignore[arg-type]
    made = in_two_layers(network, bases)
    assert isinstance(made.model, DarknetNetwork)
    for name in names:
        first, second = made.names[name]
        assert made.model.get_submodule(first).weight.shape[1:] == network.get_submodule(name).weight.shape[1:]  # type: ignore[union-attr,index]
        assert made.model.get_submodule(second).out_channels == network.get_submodule(name).out_channels
    return made.model


def test_the_network_computes_the_same() -> None:
    network = drawn(JOINED)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert torch.allclose(as_two(network)(x), network(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["yolov4-tiny", "resnet50", "efficientnet_b0", "yolov3-tiny-prn", "densenet201"])
def test_published_networks_compute_the_same(name: str, data_dir: Path) -> None:
    path = data_dir / "darknet_cfgs" / f"{name}.cfg"
    cfg = parse_cfg(Path(path), warn=False)
    for key in ("height", "width"):
        cfg = cfg.with_option(-1, key, 64)
    network = drawn(write_cfg(cfg))
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        found, wanted = as_two(network)(x), network(x)
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    for one, other in pairs:
        assert (one - other).abs().max() <= 1e-9 * other.abs().max()


def test_frozen_layers_stay_frozen() -> None:
    network = drawn(JOINED)
    network.layers[0].requires_grad_(False)
    wide = as_two(network)
    assert [all(not one.requires_grad for one in wide.layers[place].parameters()) for place in (0, 1, 2)] == [
        True,
        True,
        False,
    ]


def test_only_a_convolution_can_be_two() -> None:
    network = drawn(JOINED)
    basis = own_basis(network.layers[0].conv)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"layers\.2: a \.cfg has no word for two of it"):
        in_two_layers(network, {"layers.2": basis})
