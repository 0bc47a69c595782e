"""Sizes that a ``.cfg`` states: counted before anything is made of them, refused with the layer's name."""

from __future__ import annotations

import math
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch

from sapwood.errors import CfgError, WeightsError
from sapwood.models import load_model
from sapwood.models.darknet import DarknetNetwork, parse_cfg, read_weights
from sapwood.models.darknet.adapt import adapt_anchors, adapt_classes

NET = "[net]\nwidth=8\nheight=8\nchannels=3\n"
RAISED = r"expected at most 8,589,934,592 \(SAPWOOD_MAX_NETWORK_BYTES raises the limit\)"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[net]\nwidth=1000000000\nheight=8\nchannels=3\n[empty]\n", r":1: \[net\]: the picture \(its values\): asks"),
        (NET + "[conv]\nfilters=1000000000\n", r":5: \[conv\]: layer 0 \(weights\): asks for 12,000,000,000 bytes"),
        (
            NET + "[conv]\nfilters=1\nsize=1000001\npad=1\n",
            r"layer 0 \(weights\): asks for 12,000,024,000,012",
        ),
        (NET + "[conv]\nfilters=3\ngroups=3\nsize=1000001\npad=1\n", r"layer 0 \(weights\): asks for"),
        (NET + "[conv]\nfilters=1\npadding=1000000\n", r"layer 0 \(maps of one picture up to here\): asks for"),
        (NET + "[conn]\noutput=2000000000\n", r"\[conn\]: layer 0 \(weights\): asks for 1,536,000,000,000 bytes"),
        (NET + "[upsample]\nstride=100000\n", r"layer 0 \(maps of one picture up to here\): asks for"),
        (NET + "[maxpool]\nsize=1000000\nstride=1\n", r"layer 0 \(the map with its padding\): asks for"),
        (
            NET + "[upsample]\nstride=1000\n" * 2,
            r":7: \[upsample\]: layer 1 \(maps of one picture .*: asks for",
        ),
        (
            NET + "[upsample]\nstride=2000\n" + "[route]\nlayers=-1\n" * 2,
            r":9: \[route\]: layer 2 \(maps of one picture up to here\): asks for 9,216,000,768 bytes",
        ),
        (
            NET + "[conn]\noutput=20000\n" + "[conn]\noutput=20000\n" * 6,
            r":17: \[conn\]: layer 6 \(parameters up to here\): asks for 9,615,920,000 bytes",
        ),
    ],
)
def test_networks_beyond_memory_are_refused(text: str, problem: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CfgError, match=f"{problem}.*{RAISED}"):
            DarknetNetwork(parse_cfg(text))
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


def test_the_limit_can_be_raised_and_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = parse_cfg(NET + "[conv]\nfilters=4\n")  # a map of 3 and one of 4 times 64 values
    monkeypatch.setenv("SAPWOOD_MAX_NETWORK_BYTES", str(7 * 64 * 4))
    assert DarknetNetwork(cfg).output_shapes == ((4, 8, 8),)
    monkeypatch.setenv("SAPWOOD_MAX_NETWORK_BYTES", str(7 * 64 * 4 - 1))
    with pytest.raises(CfgError, match=r"layer 0 \(maps of one picture up to here\): asks for 1,792 bytes"):
        DarknetNetwork(cfg)


@pytest.mark.parametrize("value", ["2147483648", "-2147483648", "9" * 18, "9" * 19, "9" * 5000])
def test_integers_are_those_of_darknet(value: str) -> None:
    with pytest.raises(CfgError, match=r":6: \[conv\] filters=.*: expected an integer .*, below 2\^31") as raised:
        DarknetNetwork(parse_cfg(NET + f"[conv]\nfilters={value}\n"))
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("value", ["1_0", "\u0663", "0x10", "1e3", "1.0"])
def test_integers_are_plain(value: str) -> None:
    with pytest.raises(CfgError, match=r"\[conv\] filters=.*: expected an integer of at least 1"):
        DarknetNetwork(parse_cfg(NET + f"[conv]\nfilters={value}\n"))


@pytest.mark.parametrize("value", ["1_0", "\u0663", "1e400", "nan", "inf"])
def test_numbers_are_plain_and_finite(value: str) -> None:
    with pytest.raises(CfgError, match=r"\[upsample\] scale=.*: expected a number"):
        DarknetNetwork(parse_cfg(NET + f"[upsample]\nscale={value}\n"))


@pytest.mark.parametrize("option", ["dilation", "stride", "stride_x"])
def test_the_largest_integers_run_or_are_refused(option: str) -> None:
    network = DarknetNetwork(parse_cfg(NET + f"[conv]\nfilters=1\nsize=3\npad=1\n{option}=2147483647\n")).eval()
    assert network(torch.zeros(1, 3, 8, 8)).numel() == math.prod(network.output_shapes[0])


def head(classes: int, extra: str = "") -> str:
    return f"[conv]\nfilters={5 + classes}\nactivation=linear\n[yolo]\nclasses={classes}\nanchors=1,2\n{extra}"


def test_anchors_that_are_not_there_are_not_counted_out() -> None:
    text = NET + "[conv]\nfilters=7\n[yolo]\nclasses=2\nnum=50000000\nanchors=1,2\n"
    tracemalloc.start()
    try:
        with pytest.raises(CfgError, match=r"anchors=1,2: 2 numbers; expected 100000000, a pair for each"):
            DarknetNetwork(parse_cfg(text))
        with pytest.raises(CfgError, match=r"anchors=1,2: 2 numbers; expected a pair for each anchor"):
            adapt_anchors(parse_cfg(text), _Many(50_000_000))
        assert "filters=350000000\n" in adapt_classes(parse_cfg(text), 2).layers[0].body[0].text
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


class _Many(list[tuple[float, float]]):
    """As many anchors as one says."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def __len__(self) -> int:
        return self._count


def test_classes_without_names_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.cfg").write_text(NET + head(12))
    monkeypatch.setenv("SAPWOOD_MAX_CLASSES", "12")
    assert load_model(str(tmp_path / "net.cfg")).task.class_names[-1] == "class11"
    monkeypatch.setenv("SAPWOOD_MAX_CLASSES", "11")
    with pytest.raises(CfgError, match=r"net\.cfg: asks for 12 classes without names.*SAPWOOD_MAX_CLASSES"):
        load_model(str(tmp_path / "net.cfg"))
    (tmp_path / "net.names").write_text("\n".join(f"name{number}" for number in range(12)))
    assert load_model(str(tmp_path / "net.cfg")).task.class_names[-1] == "name11"


def test_sections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPWOOD_MAX_SECTIONS", "3")
    assert len(parse_cfg(NET + "[empty]\n" * 2).layers) == 2
    with pytest.raises(CfgError, match=r"<text>: asks for 4 sections .*; expected at most 3 \(SAPWOOD_MAX_SECTIONS"):
        parse_cfg(NET + "[empty]\n" * 3)


def num_steps(num_sections: int) -> int:
    """Lines that the interpreter runs to read and build so many sections."""
    steps = 0

    def watch(*_: object) -> object:
        nonlocal steps
        steps += 1
        return watch

    before = sys.gettrace()
    sys.settrace(watch)  # type: ignore[arg-type]
    try:
        DarknetNetwork(parse_cfg(NET + "[empty]\n" * num_sections))
    finally:
        sys.settrace(before)
    return steps


def test_twice_the_sections_take_twice_the_steps() -> None:
    assert num_steps(800) < 2.2 * num_steps(400)


@pytest.mark.parametrize("data", [b"\0", b"[net]\n\xff=1", b"[net]\nwidth=\0\n"])
def test_damaged_files_are_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "net.cfg").write_bytes(data)
    with pytest.raises(CfgError, match=r"net\.cfg:\d: byte 0x(00|ff) is not UTF-8 text; expected a Darknet \.cfg file"):
        parse_cfg(tmp_path / "net.cfg")


def test_names_that_no_system_takes(tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(NET + head(2)))
    for name in ("n" * 300, "a\0"):
        with pytest.raises(CfgError, match=r"expected a Darknet \.cfg file"):
            parse_cfg(tmp_path / f"{name}.cfg")
        with pytest.raises(WeightsError, match=r"expected a Darknet \.weights file"):
            read_weights(tmp_path / name, network)
