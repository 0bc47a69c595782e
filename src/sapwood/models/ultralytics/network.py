"""A network of Ultralytics as the other stages see it: pictures in, raw predictions out, both heads of it run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

DETECT, CLASSIFY = "detect", "classify"
"""What Ultralytics calls the tasks that are measured here."""


class UltralyticsNetwork(nn.Module):
    """Holds a network of Ultralytics and returns what its head says of every place.

    Attributes:
        network: The network itself, as ``YOLO(...).model`` has it.
        task: Ultralytics' name of its task.
        end_to_end: Whether it is deployed with its head for one box an object, without NMS (v10, 26). The head for
            many boxes runs beside it all the same, so that what training needs is pruned along.
        yaml: The text of the ``.yaml`` that builds the dense network, number of channels and classes included.
        plans: What was removed from that, step by step: the JSON of each plan.
    """

    def __init__(self, network: nn.Module, task: str, yaml: str, plans: tuple[str, ...] = ()) -> None:
        super().__init__()
        head = _head(network)
        self.network = network
        self.task = task
        self.yaml = yaml
        self.plans = plans
        self.end_to_end = task == DETECT and bool(getattr(head, "end2end", False))
        if self.end_to_end:
            head.end2end = False  # which decodes the places of the other one; nothing reads that
        if hasattr(head, "dynamic"):
            head.dynamic = (
                True  # or it keeps the places of the last size of a batch, and makes other calls for the next
            )
        self.train(network.training)

    def forward(self, pictures: Tensor) -> Any:
        """Returns what the network finds.

        Args:
            pictures: Shape (B, 3, H, W), values in [0, 1].

        Returns:
            Of a classifier logits, shape (B, classes). Of all others what the head gives every place, before it is
            decoded: the tensors of Ultralytics' predictions but the feature maps, of a detector distances to the four
            sides, shape (B, 4 * bins, N), and logits of the classes, shape (B, classes, N).
        """
        found = self.network(pictures)
        raw = found if _head(self.network).training else found[1]  # in training a head decodes nothing
        if self.task == CLASSIFY:
            return raw
        heads = heads_of(raw)
        return tuple(heads["one2one" if self.end_to_end else "one2many"].values())

    def heads(self, pictures: Tensor) -> Mapping[str, Mapping[str, Tensor]]:
        """What every head says of pictures; see :func:`heads_of`."""
        found = self.network(pictures)
        return heads_of(found if _head(self.network).training else found[1])

    def train(self, mode: bool = True) -> UltralyticsNetwork:
        """Sets the mode of all modules but the head itself, which goes on to decode what it finds."""
        super().train(mode)
        _head(self.network).training = False
        return self

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels between two places, of each map that a detector's head reads."""
        return tuple(int(stride) for stride in _head(self.network).stride)

    @property
    def bins(self) -> int:
        """Numbers that a detector's head gives for each distance."""
        return int(_head(self.network).reg_max)

    def own(self) -> nn.Module:
        """The network as Ultralytics knows it: the same module, its head for deployment chosen again."""
        if self.end_to_end:
            _head(self.network).end2end = True
        if "dynamic" in vars(_head(self.network)):
            del _head(self.network).dynamic
        return self.network


def heads_of(raw: Any) -> Mapping[str, Mapping[str, Tensor]]:
    """The tensors that each head of a network gives, by the names that Ultralytics has for both.

    Args:
        raw: What the network gives before anything is decoded: a dict of tensors, one of each head's dicts (v10, 26),
            or a classifier's logits.

    Returns:
        ``"one2many"`` and, where there is one, ``"one2one"``; feature maps are left out. What comes beside another
        tensor, as classes beside masks in training (26), is named ``"proto.1"``.
    """
    if isinstance(raw, Tensor):
        return {"one2many": {"logits": raw}}
    heads = {name: raw[name] for name in ("one2many", "one2one") if name in raw} or {"one2many": raw}
    return {name: _tensors(head) for name, head in heads.items()}


def _tensors(head: Mapping[str, Any]) -> dict[str, Tensor]:
    parts = {name: value if isinstance(value, tuple) else (value,) for name, value in head.items() if name != "feats"}
    return {
        f"{name}.{place}" if place else name: value
        for name, values in parts.items()
        for place, value in enumerate(values)
        if isinstance(value, Tensor)
    }


def _head(network: nn.Module) -> Any:
    return network.model[-1]  # type: ignore[index]
