"""Plans go to JSON and back exactly, and what does not fit is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sapwood.errors import SavedModelError, ShapeError
from sapwood.models import AttributeEdit, Cut, Plan, Rescale, Shift, apply_plan
from sapwood.models.plan_json import plan_from_dict, plan_to_dict

VALUES = [3, 0.1, True, None, "relu", (3, 4), [3, 4], torch.Size([2, 3]), ((1, 2), [3]), ()]
PLAN = Plan(
    cuts=(Cut("0.weight", 0, 4, (0, 2)), Cut("0.bias", 0, 4, (0, 2)), Cut("1.weight", 1, 4, (0, 2))),
    attributes=(AttributeEdit("0", "out_features", 4, 2), AttributeEdit("1", "in_features", 4, 2)),
    rescales=(Rescale("0.weight", (0, 1), 2**-0.5),),
    shifts=(Shift("1.bias", (0.1, -1e-30, 3.0)),),
    aliases={"0.weight": ("0.weight", "twin.weight")},
)


def through_json(plan: Plan) -> Plan:
    return plan_from_dict(json.loads(json.dumps(plan_to_dict(plan))))


def test_a_plan_comes_back_as_it_was() -> None:
    assert through_json(PLAN) == PLAN
    assert through_json(Plan()) == Plan()


def test_what_stays_may_be_in_another_order() -> None:
    plan = Plan(cuts=(Cut("0.weight", 0, 4, (3, 0, 2)),))
    assert through_json(plan) == plan
    model = nn.Sequential(nn.Linear(2, 4, bias=False))
    assert torch.equal(apply_plan(model, through_json(plan))[0].weight, model[0].weight[[3, 0, 2]])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.floats(1e-300, 1e300))
def test_floats_are_exact(values: list[float], factor: float) -> None:
    plan = Plan(rescales=(Rescale("a", (0,), factor),), shifts=(Shift("b", tuple(values)),))
    assert through_json(plan) == plan


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_attribute_values_keep_their_types(value: Any) -> None:
    edit = AttributeEdit("norm", "shape", value, value)
    again = through_json(Plan(attributes=(edit,))).attributes[0].after
    assert again == value
    assert type(again) is type(value)


def test_an_attribute_that_json_does_not_know_is_named() -> None:
    edit = AttributeEdit("norm", "shape", 1, torch.float32)
    with pytest.raises(SavedModelError, match=r"attribute shape of norm is a dtype; expected a number, a text, or"):
        plan_to_dict(Plan(attributes=(edit,)))


def damaged(table: str, **changes: Any) -> dict[str, Any]:
    data = plan_to_dict(PLAN)
    data[table] = [{**data[table][0], **changes}]
    return data


BAD = [
    (damaged("cuts", kept=[2, 2]), r"cuts.0.kept: Value error, expected indices from 0 to 3, each at most once"),
    (damaged("cuts", kept=[0, 4]), r"cuts.0.kept: Value error, expected indices from 0 to 3, each at most once"),
    (damaged("cuts", kept=[]), r"cuts.0.kept: Tuple should have at least 1 item"),
    (damaged("cuts", dim=-1), r"cuts.0.dim: Input should be greater than or equal to 0"),
    (damaged("cuts", extra=1), r"cuts.0.extra: Extra inputs are not permitted"),
    (damaged("attributes", attribute="__class__"), r"attributes.0.attribute: String should match pattern"),
    (damaged("attributes", after={"set": [1]}), r"attribute out_features of 0: .*; expected a number or a tuple"),
    (damaged("attributes", after={"torch.Size": ["a"]}), r"attribute out_features of 0"),
    (damaged("rescales", rows=[-1]), r"rescales.0.rows.0: Input should be greater than or equal to 0"),
    ({}, r"cuts: Field required"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=range(len(BAD)))
def test_damaged_plans_are_named(data: dict[str, Any], message: str) -> None:
    with pytest.raises(SavedModelError, match=message):
        plan_from_dict(data)


MISFITS = [
    (Plan(cuts=(Cut("0.weight", 2, 4, (0,)),)), r"0.weight has None indices in dimension 2; expected 4"),
    (Plan(cuts=(Cut("0.weight", 0, 5, (0,)),)), r"0.weight has 4 indices in dimension 0; expected 5"),
    (Plan(attributes=(AttributeEdit("0", "heads", 4, 2),)), r"the plan sets heads of '0'; the model has none"),
    (
        Plan(attributes=(AttributeEdit("7", "heads", 4, 2),)),
        r"the plan sets heads of '7'; the model has no such module",
    ),
    (Plan(rescales=(Rescale("0.weight", (4,), 2.0),)), r"the plan scales row 4 of 0.weight, which has 4"),
    (Plan(shifts=(Shift("0.bias", (1.0,)),)), r"the plan adds 1 values to 0.bias, which has shape \(4,\)"),
]


@pytest.mark.parametrize(("plan", "message"), MISFITS, ids=range(len(MISFITS)))
def test_a_plan_for_another_model_is_named(plan: Plan, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        apply_plan(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3)), plan)
