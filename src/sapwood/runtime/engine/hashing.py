"""Hashes of what programs are made of: every number of every weight, every call, Sapwood's own code."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

import sapwood
from sapwood.ops import Graph
from sapwood.runtime.engine.library import library

CODE = ("ops", "graph", "models", "export", "runtime")
"""Folders of Sapwood's code that a network goes through until it runs."""


class ContentHash:
    """A hash of texts and tensors, one after the other.

    Examples:
        >>> one, other = ContentHash(), ContentHash()
        >>> one.tensor(torch.tensor([0.0, 1.0]))
        >>> other.tensor(torch.tensor([-0.0, 1.0]))
        >>> one.hexdigest() == other.hexdigest()
        False
    """

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._state = (ctypes.c_uint64 * 8)()

    def text(self, text: str) -> None:
        """Takes a text."""
        data = text.encode()
        self._sha.update(len(data).to_bytes(8, "little") + data)

    def tensor(self, tensor: Tensor) -> None:
        """Takes type, sizes, order in memory and each bit of the values."""
        self.text(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()} {tensor.device}")
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        library().sw_hash(plain.data_ptr(), plain.numel() * plain.element_size(), self._state)
        self._sha.update(bytes(self._state))

    def hexdigest(self) -> str:
        """Of all that was taken."""
        return self._sha.hexdigest()[:40]


def take_run(into: ContentHash, graph: Graph, tensors: Mapping[int, Tensor]) -> None:
    """Takes a recorded run: its calls in order with all that they are given, and the tensors that the model owns.

    Args:
        into: What takes it.
        graph: The run.
        tensors: Parameters, buffers and constants by the number of their tensor.
    """
    into.text(repr((graph.inputs, graph.outputs, graph.parameters, graph.buffers, graph.output_names)))
    for call in graph.calls:
        into.text(repr((str(call.op), call.args, dict(call.kwargs), call.outputs)))
    for number, tensor in sorted(tensors.items()):
        into.text(str(number))
        into.tensor(tensor)


@cache
def code() -> str:
    """A hash of the engine's library and of Sapwood's own code, and the version of PyTorch.

    Raises:
        OSError: If the code is not there to be read.
    """
    digest = hashlib.sha256(Path(library()._name).read_bytes())
    package = Path(sapwood.__file__).parent
    for path in sorted(path for folder in CODE for path in (package / folder).rglob("*.py")):
        digest.update(f"\n{path.name}\n".encode() + path.read_bytes())
    if not Path(__file__).is_file():
        raise FileNotFoundError(__file__)
    return f"{torch.__version__} {digest.hexdigest()}"
