"""How large a model is: parameters, non-zeros, bytes in a file."""

from __future__ import annotations

import torch
from safetensors.torch import save
from torch import Tensor, nn

from sapwood.masks import distinct_slots, live_hooks, own_name
from sapwood.types import ModelBundle


def count_params(model: nn.Module) -> int:
    """Counts the elements of a model's parameters; masks and other buffers do not count.

    A shared one counts once, or once for each live mask where its holders have different ones.

    Examples:
        >>> count_params(nn.Linear(4, 2))
        10
    """
    return sum(slot.tensor.numel() for slot in distinct_slots(model))


def count_nonzeros(model: nn.Module) -> int:
    """Counts the parameter elements that the model computes with and that are not 0; live masks are applied.

    Examples:
        >>> from torch.nn.utils import prune
        >>> count_nonzeros(prune.l1_unstructured(nn.Linear(4, 2), "weight", amount=0.75))
        4
    """
    return sum(int(slot.effective().count_nonzero()) for slot in distinct_slots(model))


def count_buffers(model: nn.Module) -> int:
    """Counts the elements of a model's buffers (BatchNorm statistics and the like), masks left out.

    Examples:
        >>> count_buffers(nn.BatchNorm2d(3))
        7
    """
    return sum(buffer.numel() for buffer in _own_buffers(model).values())


def file_size_bytes(model: nn.Module | ModelBundle) -> int:
    """Returns the size of the model saved dense: its safetensors file in bytes, zeros stored, live masks applied.

    Masking alone leaves this figure as it is; that is the point of showing it.

    Args:
        model: A module, or a bundle that holds one. It is not changed.

    Examples:
        >>> file_size_bytes(nn.Linear(256, 256)) - 4 * (256 * 256 + 256) < 200  # a short header
        True
    """
    module = model.model if isinstance(model, ModelBundle) else model
    return len(save(effective_state(module)))


def effective_state(model: nn.Module) -> dict[str, Tensor]:
    """Returns copies of the tensors a dense file of the model holds: as its state dict after ``remove``.

    A shared parameter stands once, under its first name, and buffers that are not persistent are left out.
    """
    saved = model.state_dict().keys()
    tensors = {slot.name: slot.effective() for slot in distinct_slots(model)}
    tensors.update((name, buffer) for name, buffer in _own_buffers(model).items() if name in saved)
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _own_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The model's buffers by name, without the masks of :mod:`torch.nn.utils.prune`."""
    masks = {own_name(path, f"{name}_mask") for path, module in model.named_modules() for name in live_hooks(module)}
    return {name: buffer for name, buffer in model.named_buffers() if name not in masks}
