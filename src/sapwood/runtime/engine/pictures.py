"""Tensors as the library reads and writes them: an address is taken only of what is surely float32, dense and whole."""

from __future__ import annotations

import torch
from torch import Tensor

from sapwood.errors import EngineError
from sapwood.runtime.engine.interface import PictureStruct


def picture(tensor: Tensor) -> PictureStruct:
    """Where a tensor's numbers are, and how many.

    Raises:
        EngineError: If they are not float32 numbers one after the other in this process's memory.

    Examples:
        >>> picture(torch.zeros(2, 3)).floats
        6
        >>> picture(torch.zeros(2, 3, dtype=torch.uint8))
        Traceback (most recent call last):
        ...
        sapwood.errors.EngineError: a picture of torch.uint8, torch.strided, on cpu; expected dense float32 on the cpu
    """
    if tensor.dtype is not torch.float32 or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise EngineError(
            f"a picture of {tensor.dtype}, {tensor.layout}, on {tensor.device}; expected dense float32 on the cpu"
        )
    if not tensor.is_contiguous() or tensor.is_neg():
        raise EngineError("a picture whose numbers do not stand one after the other; expected a contiguous tensor")
    try:
        address = tensor.data_ptr()
    except RuntimeError as error:  # of compilers' tensors, which hold no numbers
        raise EngineError(
            f"a picture without numbers: a {type(tensor).__name__}; expected a tensor that holds some"
        ) from (error)
    if not address:
        raise EngineError(f"a picture of shape {tuple(tensor.shape)} without numbers; expected some")
    return PictureStruct(address, tensor.numel())
