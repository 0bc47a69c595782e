"""What the words of `ignore` name, in Python as on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import sapwood
from sapwood.errors import ConfigError
from sapwood.models import whole_tensors


class Residual(nn.Module):
    """A stem, a block of two convolutions in a list of their own, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.res = nn.ModuleDict({"a": nn.Sequential(nn.Conv2d(8, 12, 1), nn.ReLU(), nn.Conv2d(12, 8, 1))})
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        return self.head(self.norm(x + self.res["a"](x)))


def pruned_width(ignore: Any, verb: str = "prune") -> int:
    """Channels of `res.a.0` after half of all went, or those that a mask silenced."""
    torch.manual_seed(0)
    model, x = Residual().eval(), torch.randn(1, 3, 8, 8)
    if verb == "compact":
        with torch.no_grad():
            model.res["a"][0].weight[:6] = 0.0
            model.res["a"][0].bias[:6] = 0.0
        return sapwood.compact(model, x, ignore=ignore).model.res["a"][0].out_channels
    small = sapwood.prune(model, x, target=sapwood.Target(sparsity=0.5), ignore=ignore).model
    return small.res["a"][0].out_channels


@pytest.mark.parametrize("verb", ["prune", "compact"])
@pytest.mark.parametrize(
    "ignore",
    [
        {"res.a.0": "keep"},
        {"res": "keep"},
        {"res*": "keep"},
        {"res.a.?": None},
        {"res.a.0.weight[0]": ""},
        {"type:Conv2d": "keep"},
        ["res.a.0"],
        ("res.a.0.w*",),
        "res.a.0",
    ],
    ids=repr,
)
def test_what_is_ignored_stays_whole(ignore: Any, verb: str) -> None:
    assert pruned_width(None, verb) == 6
    assert pruned_width(ignore, verb) == 12


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        ({"nothere": "keep"}, r"^ignore 'nothere' names nothing; expected a parameter or a module, as 'stem.weight'"),
        (["res.b*"], r"^ignore 'res.b\*' names nothing"),
        (["type:GRU"], r"^ignore 'type:GRU' names nothing"),
        (["stem.weight[4]"], r"^ignore 'stem.weight\[4\]' names nothing; 'stem.weight' has no dimension 4"),
        ({"head": 1}, r"^ignore 'head': the reason is an int; expected a text, or None"),
        ([3], r"^ignore: got an int; expected the name of a parameter or a module"),
        (0.5, r"^ignore: got a float; expected names, or a dict of names and reasons"),
    ],
)
@pytest.mark.parametrize("verb", ["prune", "compact"])
def test_what_names_nothing_is_an_error(ignore: Any, message: str, verb: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pruned_width(ignore, verb)


def test_a_model_without_parameters_has_no_names() -> None:
    with pytest.raises(ConfigError, match="names nothing; expected a parameter or a module, and the model has none"):
        whole_tensors(nn.Sequential(nn.ReLU()), ["0"])


def test_the_reason_is_told() -> None:
    model, x = Residual().eval(), torch.randn(1, 3, 8, 8)
    pruned = sapwood.prune(
        model, x, target=sapwood.Target(sparsity=0.5), ignore={"res.a.0[0]": "keep", "head[1]": None}
    )
    reasons = {(entry.tensor, entry.dim): entry.reason for entry in pruned.unpruned}
    assert reasons["res.a.0.weight", 0] == "keep"
    assert reasons["head.weight", 1] == "ignored, as asked: head[1]"


def test_buffers_have_names_too_but_modules_mean_parameters() -> None:
    model = Residual()
    assert list(whole_tensors(model, ["norm.running_mean"])) == ["norm.running_mean"]
    assert list(whole_tensors(model, ["norm"])) == ["norm.weight", "norm.bias"]


def test_names_that_look_like_patterns_name_themselves() -> None:
    model = nn.ParameterDict({"a[0]": nn.Parameter(torch.zeros(2)), "a0": nn.Parameter(torch.zeros(2))})
    assert list(whole_tensors(model, ["a[0]"])) == ["a[0]"]


@pytest.mark.parametrize(
    "norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm]
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("name", ["0.weight", "type:Conv2d"])
def test_a_computed_weight_goes_by_its_name(norm: Callable[[nn.Module], nn.Module], name: str) -> None:
    model = nn.Sequential(norm(nn.Conv2d(3, 8, 3)), nn.ReLU(), nn.Conv2d(8, 4, 1))
    own = {key for key, _ in model.named_parameters() if key.startswith("0.") and "bias" not in key}
    assert own <= set(whole_tensors(model, [name]))
