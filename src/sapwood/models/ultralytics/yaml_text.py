"""The ``.yaml`` of a network: read as data, and checked to name nothing but layers before Ultralytics builds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from torch import nn

from sapwood.errors import SpecError
from sapwood.models.sizes import check_size
from sapwood.models.ultralytics.package import ultralytics_tasks
from sapwood.reading import parse_yaml, shown

_ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Za-z0-9]+\([0-9., A-Za-z_=-]*\)")


def yaml_text(content: Mapping[str, Any]) -> str:
    """Returns what a network says of itself as text; what is no plain data is left out."""
    return yaml.safe_dump(_plain(content), sort_keys=False, default_flow_style=None, width=120)


def read_yaml_text(text: str, where: str) -> dict[str, Any]:
    """Reads the ``.yaml`` of a network.

    Raises:
        SpecError: If it is none, or names something else than layers of Ultralytics and PyTorch.
    """
    content = parse_yaml(text, where, "the .yaml of an Ultralytics network", SpecError).value
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in ("backbone", "head")):
        raise SpecError(f"{where}: has no backbone and head; expected the .yaml of an Ultralytics network")
    for row in (*content["backbone"], *content["head"]):
        if not isinstance(row, list) or len(row) != 4 or not _is_layer(row[2]):
            raise SpecError(
                f"{where}: the row {shown(row)}; expected [from, repeats, layer, arguments] of a known layer"
            )
    activation = content.get("activation")
    if activation is not None and not (isinstance(activation, str) and _ACTIVATION.fullmatch(activation)):
        raise SpecError(f"{where}: the activation {shown(activation)}; expected one like nn.SiLU()")
    return content


def build(content: Mapping[str, Any], where: str) -> nn.Module:
    """Builds the network that a ``.yaml`` describes, with random weights.

    Raises:
        SpecError: If Ultralytics cannot.
    """
    tasks = ultralytics_tasks()
    kinds = {
        "detect": tasks.DetectionModel,
        "segment": tasks.SegmentationModel,
        "pose": tasks.PoseModel,
        "obb": tasks.OBBModel,
        "classify": tasks.ClassificationModel,
    }
    task = tasks.guess_model_task(dict(content))
    if task not in kinds or "RTDETR" in str(content["head"][-1][2]):
        raise SpecError(f"{where}: a network for {task!r}; expected one of: {', '.join(kinds)} (RT-DETR not)")
    channels, classes = int(content.get("channels", 3)), content.get("nc")
    try:
        check_size(lambda: kinds[task](_fresh(content), ch=channels, nc=classes, verbose=False), where)
        return kinds[task](_fresh(content), ch=channels, nc=classes, verbose=False)  # type: ignore[no-any-return]
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(f"{where}: Ultralytics builds no network of it: {type(error).__name__}: {error}") from error


def _fresh(content: Mapping[str, Any]) -> dict[str, Any]:
    return _plain(content)  # type: ignore[no-any-return]  # Ultralytics changes what it is given


def _plain(value: Any) -> Any:
    """Copies plain data; anything else becomes text."""
    if isinstance(value, Mapping):
        return {str(key) if not isinstance(key, int | str) else key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | type(None)) else str(value)


def _is_layer(name: Any) -> bool:
    """Whether a row names a module: of PyTorch (``nn.Upsample``), or one of Ultralytics' own."""
    if not isinstance(name, str):
        return False
    home, last = (nn, name.rpartition("nn.")[2]) if "nn." in name else (ultralytics_tasks(), name)
    known = getattr(home, last, None)
    return isinstance(known, type) and issubclass(known, nn.Module)
