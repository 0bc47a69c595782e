"""A plan sets numbers and texts that a module keeps, where they are what the plan was made for, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.errors import SavedModelError, ShapeError
from sapwood.models import AttributeEdit, Merge, Plan, Shift, apply_plan


class Net(nn.Module):
    width = 8  # of the class

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)
        self.size = 8
        self.shape: Any = (2, 4)
        self.sizes = [8, 8]
        self.nested = ((8, 2), "name")
        self.flag = True
        self.nothing = None
        self.mode = "nearest"
        self.scale = np.int64(2)
        self.table = {"size": 8}
        self.function = torch.relu
        self.view = torch.Size([2, 4])

    @property
    def area(self) -> int:
        return self.size

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x).reshape(-1, self.size)
        return result


def edited(attribute: str, before: Any, after: Any, module: str = "") -> Any:
    return apply_plan(Net(), Plan(attributes=(AttributeEdit(module, attribute, before, after),)))


@pytest.mark.parametrize(
    ("attribute", "before", "after"),
    [
        ("size", 8, 4),
        ("shape", (2, 4), (1, 4)),
        ("nested", ((8, 2), "name"), ((4, 2), "name")),
        ("flag", True, False),
        ("nothing", None, 3),
        ("mode", "nearest", "bilinear"),
        ("scale", 2, 1),
        ("view", torch.Size([2, 4]), torch.Size([1, 4])),
    ],
)
def test_plain_data_is_set(attribute: str, before: Any, after: Any) -> None:
    assert getattr(edited(attribute, before, after), attribute) == after


def test_elements_of_lists_and_tuples_are_set() -> None:
    assert edited("sizes[1]", 8, 4).sizes == [8, 4]
    assert edited("shape[0]", 2, 1).shape == (1, 4)
    assert edited("nested[0]", (8, 2), (4, 2)).nested == ((4, 2), "name")


@pytest.mark.parametrize(
    ("attribute", "before", "found"),
    [
        ("size", 7, "8"),
        ("size", "8", "8"),
        ("size", None, "8"),
        ("flag", 1, "True"),
        ("shape", [2, 4], r"\(2, 4\)"),
        ("shape", (2, 4, 1), r"\(2, 4\)"),
        ("sizes[1]", 7, "8"),
        ("nothing", 0, "None"),
        ("view", (2, 4), r"torch\.Size"),
    ],
)
def test_another_value_before_is_refused(attribute: str, before: Any, found: str) -> None:
    with pytest.raises(ShapeError, match=rf"the plan sets .* of '' from .* to 4; the model has {found}.* there"):
        edited(attribute, before, 4)


@pytest.mark.parametrize(
    "attribute", ["forward", "eval", "state_dict", "__class__", "area", "layer", "weight", "T", "missing"]
)
def test_what_a_module_does_not_keep_as_data_is_refused(attribute: str) -> None:
    with pytest.raises(ShapeError, match=rf"the plan sets {attribute} of ''; the model has none that it keeps as data"):
        edited(attribute, 8, 4)


def test_a_number_of_the_class_is_set_for_one_module_alone() -> None:
    small = edited("width", 8, 4)
    assert (small.width, type(small).width) == (4, 8)


@pytest.mark.parametrize("attribute", ["training", "_forward_hooks", "_parameters", "_modules", "_backward_pre_hooks"])
def test_what_is_pytorchs_own_is_refused(attribute: str) -> None:
    before = vars(Net().eval())[attribute]
    with pytest.raises(ShapeError, match=rf"the plan sets {attribute} of '', which is PyTorch's own"):
        edited(attribute, before, True)


def test_private_numbers_of_a_network_are_its_widths_and_those_of_a_layer_are_not() -> None:
    class Private(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._width = 8
            self.layer = nn.Conv2d(1, 1, 3, padding=1)

    edit = AttributeEdit("", "_width", 8, 4)
    assert apply_plan(Private(), Plan(attributes=(edit,)))._width == 4
    padding = AttributeEdit("layer", "_reversed_padding_repeated_twice", [1, 1, 1, 1], [0, 0, 0, 0])
    with pytest.raises(ShapeError, match="_reversed_padding_repeated_twice of 'layer', which is PyTorch's own"):
        apply_plan(Private(), Plan(attributes=(padding,)))


@pytest.mark.parametrize("attribute", ["table", "function"])
def test_what_is_not_plain_is_refused(attribute: str) -> None:
    with pytest.raises(
        ShapeError, match=rf"{attribute} of '', which is a \w+; expected a number, a bool, None, a text"
    ):
        edited(attribute, None, 4)
    with pytest.raises(ShapeError, match=r"the plan sets size of '' to a \w+; expected a number, a bool, None"):
        edited("size", 8, vars(Net())[attribute])


@pytest.mark.parametrize("attribute", ["sizes[2]", "mode[0]", "table[0]", "size[0]", "layer[0]"])
def test_elements_that_are_not_there_are_refused(attribute: str) -> None:
    with pytest.raises(ShapeError, match=r"the plan sets .*; the model has (a \w+ without it|none that it keeps)"):
        edited(attribute, 8, 4)


@pytest.mark.parametrize("attribute", ["sizes[-1]", "sizes[x]", "sizes[0", "sizes[]", "sizes[²]"])
def test_places_that_are_none_are_refused(attribute: str) -> None:
    with pytest.raises(ShapeError, match=r"expected a name, or name\[index\]"):
        edited(attribute, 8, 4)


def test_modules_that_are_not_there_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"the plan sets size of 'layer.x'; the model has no such module"):
        edited("size", 8, 4, "layer.x")


def test_a_forged_plan_does_not_load(tmp_path: Path) -> None:
    pruned = sapwood.prune(Net().eval(), torch.randn(2, 4), target=sapwood.Target(sparsity=0.0))
    directory = sapwood.save(pruned, tmp_path / "saved")
    plan = json.loads((directory / "plan.json").read_text())
    plan["plans"][0]["attributes"] = [{"module": "", "attribute": "forward", "before": None, "after": 3}]
    (directory / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(
        SavedModelError, match=r"plan\.json: does not fit .*: the plan sets forward of ''; the model has"
    ):
        sapwood.load(directory, model=Net)


def test_only_biases_are_made() -> None:
    with pytest.raises(ShapeError, match=r"the plan makes weight; expected the bias of a module that has a weight"):
        apply_plan(nn.LayerNorm(4, elementwise_affine=False), Plan(shifts=(Shift("weight", (1.0,) * 4),)))
    with pytest.raises(ShapeError, match=r"the plan makes bias; expected the bias of a module that has a weight"):
        apply_plan(nn.LayerNorm(4, elementwise_affine=False), Plan(shifts=(Shift("bias", (1.0,) * 4),)))


def test_a_merge_of_nothing_is_refused() -> None:
    with pytest.raises(
        ShapeError, match=r"the plan merges slices \(\) of weight\[0\], which has 3, into slice 1 with 0"
    ):
        apply_plan(nn.Linear(2, 3), Plan(merges=(Merge("weight", 0, 1, (), ()),)))
