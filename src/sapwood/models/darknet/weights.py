"""Darknet ``.weights`` files: read into a network and written from it, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sapwood.errors import WeightsError
from sapwood.files import write_bytes
from sapwood.foreign import foreign
from sapwood.models.darknet.header import Header
from sapwood.models.darknet.layers import ConnectedLayer, ConvolutionalLayer, WeightedShortcut
from sapwood.models.darknet.network import DarknetNetwork
from sapwood.reading import opened

_FLOAT_BYTES = 4
_HEADER = 20
"""Bytes of the longest header."""


@dataclass(frozen=True)
class WeightsBlock:
    """A run of float32 values in a weights file.

    Attributes:
        layer: The layer's number.
        module: The module that holds them.
        name: The parameter or buffer of ``module``.
        role: What Darknet calls them.
        matrix: Whether they are the matrix of a ``[connected]`` layer, which some files store transposed.
        bias: Of a rolling mean: the module before the norm. A file has no place for a bias that it got since;
            subtracted from the mean it does the same.
    """

    layer: int
    module: nn.Module
    name: str
    role: str
    matrix: bool = False
    bias: nn.Module | None = None

    @property
    def tensor(self) -> Tensor:
        """The values as the network uses them: under a live mask, the masked ones."""
        bias = getattr(self.bias, "bias", None)
        if bias is not None:
            return getattr(self.module, self.name) - bias  # type: ignore[no-any-return]
        original = getattr(self.module, f"{self.name}_orig", None)
        if original is None:
            return getattr(self.module, self.name)  # type: ignore[no-any-return]
        return original * getattr(self.module, f"{self.name}_mask")  # type: ignore[no-any-return]

    @property
    def num_bytes(self) -> int:
        """Bytes of the block in a file."""
        return self.tensor.numel() * _FLOAT_BYTES


@dataclass(frozen=True)
class ReadResult:
    """What was read.

    Attributes:
        num_layers: Layers of the network up to and with the last one that was filled.
        num_values: Values read.
        complete: Whether all weights of the network were in the file.
    """

    num_layers: int
    num_values: int
    complete: bool


def weight_blocks(network: DarknetNetwork) -> tuple[WeightsBlock, ...]:
    """Returns the blocks of a weights file of ``network``, in the order of the file."""
    return tuple(_blocks(network))


def _blocks(network: DarknetNetwork) -> Iterator[WeightsBlock]:
    for index, layer in enumerate(network.layers):
        if isinstance(layer, ConvolutionalLayer):
            yield from _norm_blocks(index, layer, layer.conv, with_bias=True)
            yield WeightsBlock(index, layer.conv, "weight", "weights")
        elif isinstance(layer, ConnectedLayer):
            yield WeightsBlock(index, getattr(layer, "bn", layer.linear), "bias", "biases")
            yield WeightsBlock(index, layer.linear, "weight", "weights", matrix=True)
            yield from _norm_blocks(index, layer, layer.linear, with_bias=False)
        elif isinstance(layer, WeightedShortcut):
            yield WeightsBlock(index, layer, "weight", "weights")


def _norm_blocks(index: int, layer: nn.Module, linear: nn.Module, *, with_bias: bool) -> Iterator[WeightsBlock]:
    bn = getattr(layer, "bn", None)
    if with_bias:
        yield WeightsBlock(index, linear if bn is None else bn, "bias", "biases")
    if bn is not None:
        yield WeightsBlock(index, bn, "weight", "scales")
        yield WeightsBlock(index, bn, "running_mean", "rolling mean", bias=linear)
        yield WeightsBlock(index, bn, "running_var", "rolling variance")


def read_weights(path: str | Path, network: DarknetNetwork, *, partial: bool = False) -> ReadResult:
    """Fills ``network`` from a weights file and remembers the file's header.

    Args:
        path: The file.
        network: Changed in place; on an error it may be filled in part.
        partial: Accept a file that ends behind an earlier layer, as pre-trained beginnings (``yolov4-tiny.conv.29``).

    Returns:
        How far the file reached. A header of 20 bytes with a version below 0.2, as tools in Python write it, is told by
        the size of the file, and becomes 0.2.5.

    Raises:
        WeightsError: If the file is missing, a directory, empty, no weights file, shorter or longer than the network
            needs, or holds values that are not finite; the message names file, layer, bytes wanted and bytes found.
    """
    path = Path(path)
    header = _read_header(path)
    blocks = weight_blocks(network)
    num_bytes = path.stat().st_size
    if num_bytes - header.size - _FLOAT_BYTES == sum(block.num_bytes for block in blocks) and header.size < _HEADER:
        with opened(path, "a Darknet .weights file", WeightsError) as file:
            header = Header.of_ports(file.read(_HEADER))
    found = num_bytes - header.size
    count = _num_blocks_in(path, blocks, found, network, partial)
    data = np.fromfile(path, dtype="<f4", offset=header.size)
    offset = 0
    for block in blocks[:count]:
        size = block.num_bytes // _FLOAT_BYTES
        _fill(path, network, block, data[offset : offset + size], header)
        offset += size
    network.header = header
    last = blocks[count - 1].layer + 1 if count else 0
    return ReadResult(len(network.layers) if count == len(blocks) else last, offset, count == len(blocks))


def write_weights(path: str | Path, network: DarknetNetwork) -> Path:
    """Writes the weights of ``network`` as Darknet does, with ``network.header``.

    Values are written as float32; under live masks the masked ones. The file appears whole or not at all.

    Args:
        path: Where to.
        network: Read only.

    Returns:
        ``path``.
    """
    parts = [network.header.to_bytes()]
    with torch.no_grad():
        for block in weight_blocks(network):
            values = block.tensor.detach().cpu().float()
            if block.matrix and network.header.transposed:
                values = values.t()
            parts.append(values.contiguous().numpy().astype("<f4", copy=False).tobytes())
    write_bytes(path, b"".join(parts))
    return Path(path)


def _read_header(path: Path) -> Header:
    with opened(path, "a Darknet .weights file", WeightsError) as file:
        data = file.read(_HEADER)
    header = Header.from_bytes(data)
    if header is None:
        raise WeightsError(f"{path}: {len(data)} bytes found; expected a header of 16 or 20 bytes and the weights")
    if not header.plausible:
        said = foreign(path) or f"the header says version {header.major}.{header.minor}.{header.revision}"
        raise WeightsError(f"{path}: {said}; expected a Darknet .weights file, such as 0.2.5")
    return header


def _num_blocks_in(
    path: Path, blocks: tuple[WeightsBlock, ...], found: int, network: DarknetNetwork, partial: bool
) -> int:
    """How many blocks the file holds, which must be all of them, or, if ``partial``, all up to the end of a layer."""
    wanted = sum(block.num_bytes for block in blocks)
    totals = f"{network.cfg.path} wants {wanted} bytes of weights, the file holds {found}"
    offset = 0
    for index, block in enumerate(blocks):
        if partial and offset == found and (index == 0 or blocks[index - 1].layer != block.layer):
            return index
        if offset + block.num_bytes > found:
            raise WeightsError(
                f"{path}: too short: {_where(network, block)} wants {block.num_bytes} bytes, found {found - offset}; "
                f"{totals}"
            )
        offset += block.num_bytes
    if found > wanted:
        last = _where(network, blocks[-1]) if blocks else "a network without weights"
        raise WeightsError(f"{path}: too long: {found - wanted} bytes are left behind {last}; {totals}")
    return len(blocks)


def _where(network: DarknetNetwork, block: WeightsBlock) -> str:
    section = network.cfg.layers[block.layer]
    return f"layer {block.layer} [{section.written_name}] (line {section.line}) {block.role}"


def _fill(
    path: Path, network: DarknetNetwork, block: WeightsBlock, values: npt.NDArray[np.float32], header: Header
) -> None:
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise WeightsError(
            f"{path}: {_where(network, block)}: {bad} of {values.size} values are NaN or infinite; "
            "expected finite numbers"
        )
    if block.role == "rolling variance" and (values < 0).any():
        raise WeightsError(f"{path}: {_where(network, block)}: a variance below 0; expected none")
    if hasattr(block.module, f"{block.name}_orig"):
        raise WeightsError(f"{path}: {_where(network, block)} is under a live mask; expected a network without masks")
    tensor = block.tensor
    source = torch.from_numpy(values)
    if block.matrix and header.transposed:
        source = source.view(tensor.shape[1], tensor.shape[0]).t()
    with torch.no_grad():
        tensor.copy_(source.reshape(tensor.shape))
