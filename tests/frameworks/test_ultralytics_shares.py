"""Of YOLO networks at their own widths goes what is asked for: at least 0.99 of what half of every width would take."""

from __future__ import annotations

import fnmatch
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood

ultralytics = pytest.importorskip("ultralytics", reason="needs pip install sapwood[ultralytics]")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that Ultralytics imports

ENOUGH = 0.99
SIZE = 64

PREDICTORS = (
    *("*.cv2.?.2", "*.cv3.?.2", "*.cv4.?.2", "*.one2one_cv2.?.2", "*.one2one_cv3.?.2", "*.one2one_cv4.?.2"),
    "*.proto.cv3.conv",
)
"""Layers whose outputs are the network's; the second of the two heads of v10 and 26 is one as well."""

OTHERS = (
    *("yolov6n", "yolov8n-seg-p6", "yolov8n-pose-p6", "yolo12n-seg", "yolo12n-obb", "yolo12n-pose", "yolo12n-cls"),
    *("yolo26n-seg", "yolo26n-obb"),
)


def work(model: nn.Module, places: dict[str, int], *, halved: bool = False) -> float:
    """Multiply-accumulates of the convolutions; with every width but the fixed ones halved."""
    total = 0.0
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d) or name not in places:
            continue
        own = float(places[name] * module.weight.numel())
        if halved and not name.endswith(".dfl.conv"):  # which takes the mean of a distribution
            own *= 1.0 if any(fnmatch.fnmatchcase(name, one) for one in PREDICTORS) else 0.5
            own *= 1.0 if module.weight.shape[1] in (1, 3) else 0.5  # depthwise, or of the picture
        total += own
    return total


def places_of(model: nn.Module, picture: Tensor) -> dict[str, int]:
    """At how many places each convolution is computed."""
    found = Counter[str]()

    def counted(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, made: Tensor) -> None:
            found[name] += made[0, 0].numel()

        return hook

    hooks = [
        module.register_forward_hook(counted(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        model(picture)
    for one in hooks:
        one.remove()
    return found


@pytest.mark.parametrize(
    "name", ["yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n", *OTHERS]
)
def test_half_of_every_width_goes(name: str) -> None:
    torch.manual_seed(0)
    model = ultralytics.YOLO(f"{name}.yaml").model.eval()
    picture = torch.rand(1, 3, SIZE, SIZE)
    pruned = sapwood.prune(model, picture, target=sapwood.Target(sparsity=0.5))
    assert pruned.verification.passed
    places = places_of(model, picture)
    dense, wanted = work(model, places), work(model, places, halved=True)
    assert (dense - work(pruned.model, places)) / (dense - wanted) >= ENOUGH
