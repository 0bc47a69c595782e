"""``--device``: where verbs compute that can do so on a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from sapwood.errors import ConfigError
from sapwood.meant import meant_name

if TYPE_CHECKING:
    from sapwood.types import ModelBundle

DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="Where the network computes, as PyTorch names it: `cpu`, `cuda`, `cuda:1`, `mps`, `xpu`."
    ),
]


def on_device(bundle: ModelBundle, device: str) -> ModelBundle:
    """Returns a model on a device, which has to be there.

    Raises:
        ConfigError: If there is no such device, or this PyTorch cannot use it.
    """
    if device == "cpu":
        return bundle
    import torch

    try:
        place = torch.device(device)
        torch.zeros(1, device=place).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        kind, known = device.partition(":")[0], ("cpu", "cuda", "mps", "xpu")
        others = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps"}
        meant = "" if kind in known else meant_name(device, known, others)
        told = "is the name of no device" if meant else reason
        raise ConfigError(f"--device {device}: {told}; expected one that this PyTorch can use, as cpu{meant}") from None
    return replace(bundle, model=bundle.model.to(place))
