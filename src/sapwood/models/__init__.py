"""Models: from a specification to a model with its task, and back to files that load without pickle."""

from __future__ import annotations

from sapwood.models import builtin_loader as builtin_loader
from sapwood.models import darknet_loader as darknet_loader
from sapwood.models import factory_loader as factory_loader
from sapwood.models import timm_loader as timm_loader
from sapwood.models import torchvision_loader as torchvision_loader
from sapwood.models.apply_plan import apply_plan, with_shapes
from sapwood.models.builtin_loader import builtin_file
from sapwood.models.computed import refresh_computed, refresh_masked
from sapwood.models.config_fields import (
    ConfigFields,
    check_built,
    config_fields,
    config_module,
    config_skeleton,
    rebuilt,
)
from sapwood.models.config_layers import ConfigLayers, LayerCount, config_layers
from sapwood.models.containers import attributes, held, map_tensors
from sapwood.models.copying import copy_model, deep_copy, named_things, same_modes_, shared_things
from sapwood.models.darknet import (
    DarknetNetwork,
    cfg_bytes,
    compact_cfg,
    opencv_misreads,
    parse_cfg,
    read_weights,
    write_cfg,
    write_weights,
)
from sapwood.models.darknet import framework as darknet_framework  # noqa: F401 - registers it
from sapwood.models.detectors import framework as detectors_framework  # noqa: F401 - registers it
from sapwood.models.factory_loader import find_factory, is_factory, remember_factory
from sapwood.models.framework import FRAMEWORKS, Framework, InTwo, Tokenizer, framework_of, shrink_describable
from sapwood.models.gains import gain_factors
from sapwood.models.live_masks import drop_masks_, live_masks, used_parts
from sapwood.models.low_rank import LAYERS, Basis, LowRank, own_basis
from sapwood.models.places import is_plain as is_plain_value
from sapwood.models.plan import (
    AttributeEdit,
    Cut,
    Factored,
    Gain,
    Gives,
    Merge,
    Plan,
    Removal,
    Rescale,
    Shift,
    Shortened,
)
from sapwood.models.quantisers import quieten_
from sapwood.models.removed import Removed
from sapwood.models.saved import load_saved, needs_factory, save_model
from sapwood.models.saved_format import check_no_model, check_target, load_plans, new_saved
from sapwood.models.session import Compact, load, save
from sapwood.models.shortened import later_name, named_as_left
from sapwood.models.spec import LOADERS, Loader, NamedBuild, load_model
from sapwood.models.transformers import TransformersNetwork
from sapwood.models.transformers import framework as transformers_framework  # noqa: F401 - registers it
from sapwood.models.ultralytics import UltralyticsNetwork
from sapwood.models.ultralytics import framework as ultralytics_framework  # noqa: F401 - registers it
from sapwood.models.ultralytics import own as ultralytics_own  # noqa: F401 - registers it
from sapwood.models.ultralytics.loader import read_ultralytics, write_ultralytics
from sapwood.models.unsuited import check_has_values, check_suited, whole_parts
from sapwood.models.walking import (
    all_modules,
    evaluating_,
    kinds_of,
    module_of,
    named_buffers,
    named_modules,
    named_parameters,
    named_tensors,
)
from sapwood.models.whole import Ignored, whole_tensors
from sapwood.models.widening import wide_copy, wide_type, widen_, widened

__all__ = [
    "FRAMEWORKS",
    "LAYERS",
    "LOADERS",
    "AttributeEdit",
    "Basis",
    "Compact",
    "ConfigFields",
    "ConfigLayers",
    "Cut",
    "DarknetNetwork",
    "Factored",
    "Framework",
    "Gain",
    "Gives",
    "Ignored",
    "InTwo",
    "LayerCount",
    "Loader",
    "LowRank",
    "Merge",
    "NamedBuild",
    "Plan",
    "Removal",
    "Removed",
    "Rescale",
    "Shift",
    "Shortened",
    "Tokenizer",
    "TransformersNetwork",
    "UltralyticsNetwork",
    "all_modules",
    "apply_plan",
    "attributes",
    "builtin_file",
    "cfg_bytes",
    "check_built",
    "check_has_values",
    "check_no_model",
    "check_suited",
    "check_target",
    "compact_cfg",
    "config_fields",
    "config_layers",
    "config_module",
    "config_skeleton",
    "copy_model",
    "deep_copy",
    "drop_masks_",
    "evaluating_",
    "find_factory",
    "framework_of",
    "gain_factors",
    "held",
    "is_factory",
    "is_plain_value",
    "kinds_of",
    "later_name",
    "live_masks",
    "load",
    "load_model",
    "load_plans",
    "load_saved",
    "map_tensors",
    "module_of",
    "named_as_left",
    "named_buffers",
    "named_modules",
    "named_parameters",
    "named_tensors",
    "named_things",
    "needs_factory",
    "new_saved",
    "opencv_misreads",
    "own_basis",
    "parse_cfg",
    "quieten_",
    "read_ultralytics",
    "read_weights",
    "rebuilt",
    "refresh_computed",
    "refresh_masked",
    "remember_factory",
    "same_modes_",
    "save",
    "save_model",
    "shared_things",
    "shrink_describable",
    "used_parts",
    "whole_parts",
    "whole_tensors",
    "wide_copy",
    "wide_type",
    "widen_",
    "widened",
    "with_shapes",
    "write_cfg",
    "write_ultralytics",
    "write_weights",
]
