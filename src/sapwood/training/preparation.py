"""What happens to a model before its first step: a copy of it, fitted to the data, with fresh weights where wanted."""

from __future__ import annotations

from sapwood.config import TrainConfig
from sapwood.data import box_sizes, fit_anchors
from sapwood.errors import TrainingError
from sapwood.models import framework_of
from sapwood.types import Dataset, DetectionDataset, ModelBundle, TaskSpec


def prepare(bundle: ModelBundle, dataset: Dataset, config: TrainConfig) -> ModelBundle:
    """Returns a copy of ``bundle`` to train: other classes, input size or anchors, fresh weights, as ``config`` says.

    Weights that still fit are kept where they are not drawn anew; a head whose classes changed starts fresh.

    Args:
        bundle: Never changed.
        dataset: The training data, for its classes and its boxes.
        config: ``init``, ``num_classes``, ``input_size``, ``anchors`` and ``seed`` are used.

    Raises:
        TrainingError: If ``config`` asks to change the structure or draw the weights anew of a model whose framework
            cannot, or it has weights that are not finite.
    """

    def anchors(task: TaskSpec, count: int) -> list[tuple[float, float]]:
        if not isinstance(dataset, DetectionDataset):
            raise TrainingError(f"anchors: auto needs boxes; {dataset.name} holds classes")
        centres = fit_anchors(box_sizes(dataset, task), count, seed=config.seed)
        return [(round(float(width), 1), round(float(height), 1)) for width, height in centres]

    prepared = framework_of(bundle.model).fit_to_data(bundle, dataset, config, anchors)
    _check_finite(prepared)
    return prepared


def _check_finite(bundle: ModelBundle) -> None:
    for name, value in bundle.model.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise TrainingError(f"{bundle.source.spec}: {name} holds values that are not finite; nothing can be learnt")
