"""Numbers of a config that a plan sets, as it does attributes of modules; here of a class by the same name."""

from __future__ import annotations

import json
import re

import pytest
from torch import nn

from sapwood.errors import ShapeError
from sapwood.models import AttributeEdit, Plan, apply_plan, config_module
from sapwood.models.plan_json import plan_from_dict, plan_to_dict


class PreTrainedConfig:
    """What transformers calls so has its numbers as attributes, and configs of parts."""

    def __init__(self, width: int, text: PreTrainedConfig | None = None) -> None:
        self.width = width
        self.text = text


class Net(nn.Module):
    """Two modules share a config, as in transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.config = PreTrainedConfig(8, PreTrainedConfig(4))
        self.inner = nn.Linear(2, 2)
        self.inner.config = self.config  # type: ignore[assignment]
        self.other = [8]


def edit(attribute: str, before: object, after: object) -> Plan:
    return Plan(attributes=(AttributeEdit("", attribute, before, after),))


def test_a_number_of_a_config_is_set_in_the_copy_alone_and_for_all_modules_that_share_it() -> None:
    net = Net()
    plan = plan_from_dict(json.loads(json.dumps(plan_to_dict(edit("config.text.width", 4, 2)))))
    small = apply_plan(net, plan)
    assert small.config.text is not None
    assert (small.config.text.width, net.config.text.width if net.config.text else None) == (2, 4)
    assert small.inner.config is small.config


def test_a_number_that_the_config_does_not_have_yet_is_added() -> None:
    assert apply_plan(Net(), edit("config.head_dim", None, 8)).config.head_dim == 8  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (edit("config.width", 9, 4), "the plan sets config.width of '' from 9 to 4; the model has 8 there"),
        (edit("other.width", 8, 4), "the plan sets other.width of ''; the model has no config there"),
        (edit("config.missing.width", 8, 4), "the plan sets config.missing.width of ''; the model has no config there"),
        (edit("config.text", None, 4), "the plan sets config.text of '', which is a PreTrainedConfig; expected a"),
    ],
)
def test_anything_else_is_refused(plan: Plan, expected: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(expected)):
        apply_plan(Net(), plan)


def test_a_class_of_the_same_name_is_no_model_of_transformers() -> None:
    assert config_module(Net()) is None
