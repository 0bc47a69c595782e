"""What networks of Ultralytics need beside being modules: their files, their plans, and their own loss."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sapwood.models.framework import FRAMEWORKS, Framework
from sapwood.models.plan import Plan
from sapwood.models.plan_json import plan_to_dict
from sapwood.models.ultralytics.loader import NAME, PLANS_NAME, YAML_NAME, ultralytics_bundle
from sapwood.models.ultralytics.network import DETECT, UltralyticsNetwork
from sapwood.models.ultralytics.package import settings
from sapwood.models.ultralytics.precision import average_precision
from sapwood.types import Detections, DetectionSample, ModelBundle


class Ultralytics(Framework[UltralyticsNetwork]):
    """``.pt`` and ``.yaml``."""

    title: ClassVar[str] = "Ultralytics"
    describes: ClassVar[bool] = True
    exporter: ClassVar[str | None] = NAME
    own_files: ClassVar[tuple[str, ...]] = (YAML_NAME, PLANS_NAME, "model.pt")
    clips_boxes: ClassVar[bool] = False

    def owns(self, model: nn.Module) -> bool:
        """Whether it holds a network of Ultralytics, as :func:`sapwood.load_model` gives it."""
        return isinstance(model, UltralyticsNetwork)

    def bundle(self, model: UltralyticsNetwork) -> ModelBundle:
        """Its head says the task."""
        return ultralytics_bundle(model)

    def own_widths(self, model: UltralyticsNetwork) -> Mapping[str, int]:
        """Of blocks that Ultralytics exports by another method: ``c``, into which their first convolution is split."""
        return {
            f"{name}.c": module.cv1.conv.weight.shape[0] // 2
            for name, module in model.named_modules()
            if hasattr(module, "forward_split") and isinstance(getattr(module, "c", None), int)
        }

    def describe(self, model: UltralyticsNetwork) -> Mapping[str, str]:
        """The ``.yaml`` of the dense network, and what was removed from it since."""
        return {YAML_NAME: model.yaml, PLANS_NAME: json.dumps(list(model.plans))}

    def refit_(self, model: UltralyticsNetwork, plan: Plan) -> None:
        """Notes the plan."""
        model.plans = (*model.plans, json.dumps(plan_to_dict(plan)))

    def average_precision(
        self, model: UltralyticsNetwork, pairs: Iterable[tuple[Detections, DetectionSample]]
    ) -> Mapping[int, tuple[float, float]]:
        """As ``yolo val`` counts it."""
        del model
        return average_precision(pairs)

    def has_loss(self, model: UltralyticsNetwork) -> bool:
        """Whether it is a detector."""
        return model.task == DETECT

    def loss(
        self,
        model: UltralyticsNetwork,
        pictures: Tensor,  # shape: (B, 3, H, W)
        targets: Sequence[tuple[Tensor, Tensor]],
    ) -> Tensor:  # shape: ()
        """The loss that Ultralytics trains the network with, a picture; its weights are those it was trained with."""
        network: Any = model.network
        height, width = pictures.shape[2:]
        size = pictures.new_tensor((width, height, width, height))
        boxes = torch.cat([boxes for boxes, _ in targets]).to(pictures) / size
        corners, far = boxes[:, :2], boxes[:, 2:]
        batch = {
            "img": pictures,
            "bboxes": torch.cat(((corners + far) / 2, far - corners), 1),
            "cls": torch.cat([labels for _, labels in targets]).to(pictures)[:, None],
            "batch_idx": torch.cat(
                [torch.full((len(labels),), float(index)) for index, (_, labels) in enumerate(targets)]
            ).to(pictures),
        }
        before = network.__dict__.get("args")
        kept = before if isinstance(before, dict) else vars(before) if before is not None else {}
        network.args = settings({name: kept[name] for name in ("box", "cls", "dfl") if name in kept})
        try:
            total, _ = network.init_criterion()(network(pictures), batch)
        finally:
            network.args = before
        loss: Tensor = total.sum() / len(pictures)
        return loss


FRAMEWORKS.register(NAME)(Ultralytics())
