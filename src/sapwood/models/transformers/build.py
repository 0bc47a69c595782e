"""From a configuration to a model: the class that it names, and the task that class is for."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from torch import nn

from sapwood.errors import SpecError, WeightsError
from sapwood.models.sizes import check_size
from sapwood.models.transformers.package import quietly, table, transformers
from sapwood.reading import reading

TASKS = {
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "text_classification",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES": "classification",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "causal_lm",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES": "masked_lm",
}
"""Tables of transformers whose classes have a task here."""

SHOWN = 3


def make_config(content: dict[str, Any], where: str) -> Any:
    """Returns the configuration object.

    Raises:
        SpecError: If transformers has no such type of model, or a value is none that it takes.
    """
    kind = content["model_type"]
    package = transformers()
    if kind not in package.CONFIG_MAPPING:
        raise SpecError(
            f"{where}: transformers {package.__version__} has no model_type {kind!r}; expected one that it has, "
            "or a later release"
        )
    with reading(where, f"the configuration of a {kind} model", SpecError), quietly():
        return package.CONFIG_MAPPING[kind].from_dict(content)


def model_class(config: Any, where: str) -> type[Any]:
    """Returns the class that ``architectures`` names, else the one without a head.

    Raises:
        SpecError: If transformers has no such class, or it is for another type of model.
    """
    package = transformers()
    named = list(getattr(config, "architectures", None) or [])
    if not named:
        name = table("MODEL_MAPPING_NAMES").get(config.model_type)
        named = [name] if isinstance(name, str) else list(name or [])
    if not named:
        raise SpecError(f"{where}: names no architectures; expected the class of a {config.model_type} model")
    found = getattr(package, named[0], None)
    if not (inspect.isclass(found) and issubclass(found, package.PreTrainedModel)):
        raise SpecError(
            f"{where}: transformers {package.__version__} has no model {named[0]!r} (architectures); expected one that "
            "it has, or a later release"
        )
    wanted = getattr(found, "config_class", None)
    if wanted is not None and not isinstance(config, wanted):
        raise SpecError(f"{where}: architectures names {named[0]}, which is no {config.model_type} model")
    return found


def make_model(kind: type[Any], config: Any, where: str) -> nn.Module:
    """Builds a model with random weights.

    Raises:
        SpecError: If its class cannot, or it is too large.
    """
    check_size(lambda: kind(config), where)
    with reading(where, f"what builds a {kind.__name__}", SpecError), quietly():
        model: nn.Module = kind(config)
    return model.float().eval()


def read_model(kind: type[Any], config: Any, folder: Path) -> tuple[nn.Module, list[str]]:
    """Builds a model with the weights of a folder, whatever names an earlier release gave them.

    Returns:
        The model, in float32, and the tensors of the folder that it has no use for.

    Raises:
        WeightsError: If a tensor is missing, of another shape, or cannot be read.
    """
    check_size(lambda: kind(config), str(folder))
    with reading(folder, f"the weights of a {kind.__name__}", WeightsError), quietly():
        model, told = kind.from_pretrained(
            str(folder),
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # told, and refused below by name
            output_loading_info=True,
        )
    lacking = sorted(told.get("missing_keys", ()))
    if lacking:
        raise WeightsError(
            f"{folder}: lacks {_few(lacking)}; expected every tensor of a {kind.__name__}, which architectures names"
        )
    other = sorted(told.get("mismatched_keys", ()))
    if other:
        name, came, wanted = other[0]
        raise WeightsError(f"{folder}: {name} has shape {tuple(came)}; expected {tuple(wanted)}, as config.json says")
    if told.get("error_msgs"):
        raise WeightsError(f"{folder}: {str(told['error_msgs'])[:300]}; expected the weights of a {kind.__name__}")
    return model.float().eval(), sorted(told.get("unexpected_keys", ()))


def task_of(kind: type[Any]) -> str:
    """The task of a class, ``"none"`` where it has none here."""
    for name, task in TASKS.items():
        for found in table(name).values():
            if kind.__name__ == found or (isinstance(found, (tuple, list)) and kind.__name__ in found):
                return task
    return "none"


def parameters_of(model: nn.Module) -> tuple[str, ...]:
    """The names that a model's ``forward`` takes."""
    return tuple(inspect.signature(model.forward).parameters)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
