"""A convolution on the engine, as a module that takes the place of a :class:`torch.nn.Conv2d`."""

from __future__ import annotations

from torch import Tensor, nn

from sapwood.errors import EngineError
from sapwood.export.flat import plain_copy
from sapwood.runtime.engine.compiled import CompiledModel, compile


class SparseConv2d(nn.Module):
    """A convolution that skips zeros: the weights of a trained :class:`torch.nn.Conv2d`, on the engine.

    It is for evaluation: weights are read once, and no gradient flows. Each call brings the picture into the engine's
    layout and back; a whole network keeps that layout (:func:`sapwood.runtime.compile`). Each size of picture is
    compiled when it comes for the first time.

    Args:
        conv: Read once; masks of ``torch.nn.utils.prune`` count.
        threads: Of a call; all cores unless given.
        tune: As for :func:`sapwood.runtime.compile`.
    """

    def __init__(self, conv: nn.Conv2d, *, threads: int | None = None, tune: bool = False) -> None:
        super().__init__()
        self._threads, self._tune = threads, tune
        self._conv = (plain_copy(conv),)  # in a tuple: no submodule, nothing to train
        self._channels = conv.in_channels
        self._compiled: dict[tuple[int, ...], CompiledModel] = {}

    def forward(self, inputs: Tensor) -> Tensor:  # shapes: (B, C, H, W) -> (B, O, H', W')
        """Runs the pictures of a batch one after the other.

        Raises:
            EngineError: If the shape does not fit, the engine has no such convolution, or weights are NaN or infinite.
            EngineMissingError: If the engine is not built.
        """
        if inputs.dim() != 4 or inputs.shape[1] != self._channels:
            raise EngineError(f"an input of shape {tuple(inputs.shape)}; expected (B, {self._channels}, H, W)")
        size = tuple(inputs.shape[2:])
        if size not in self._compiled:
            example = inputs[:1].detach().to("cpu").float()
            self._compiled[size] = compile(self._conv[0], example, threads=self._threads, tune=self._tune)
        found: Tensor = self._compiled[size](inputs)
        return found.to(inputs.device, inputs.dtype)
