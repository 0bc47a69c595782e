"""What a result tells of itself: short where it is printed, whole where it is asked, and plain types are taken."""

from __future__ import annotations

import copy
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sapwood
from sapwood import Limits, Target
from sapwood.errors import ConfigError
from sapwood.pipeline import Pruned


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()


X = torch.ones(1, 3, 8, 8)


@pytest.fixture(scope="module")
def pruned() -> Pruned:
    return sapwood.prune(model(), X, target=Target(sparsity=0.5), limits=Limits(round_to=1))


def test_printed_it_is_a_few_lines_with_what_is_not_proven(pruned: Pruned) -> None:
    lines = repr(pruned).splitlines()
    assert lines[:3] == [
        "Pruned Sequential",
        "  channels     24 -> 12  (kept 50 %)",
        "  parameters   1.63 k -> 526  (kept 32 %)",
    ]
    assert re.fullmatch(
        r"  proven: the smaller network computes what the masked one does \(largest difference \S+ of the largest "
        r"output, float64\)",
        lines[3],
    )
    assert re.fullmatch(
        r"  accuracy was not measured: outputs moved by \d+ % of the largest one; sapwood.evaluate measures it",
        lines[4],
    )
    assert len(lines) <= 6
    assert str(pruned) == repr(pruned)


def test_a_notebook_gets_a_table_in_which_nothing_is_markup(pruned: Pruned) -> None:
    html = pruned._repr_html_()
    assert "<td>channels</td><td>24</td><td>12</td><td>50 %</td>" in html
    assert html.count("<table>") == html.count("</table>") == 1


def test_notes_are_printed_as_well(pruned: Pruned) -> None:
    told = replace(pruned, notes=("its config does not say these widths",))
    assert repr(told).splitlines()[-1] == "  note: its config does not say these widths"
    assert "note: its config does not say these widths" in told._repr_html_()


def test_the_summary_is_what_the_command_line_prints(pruned: Pruned) -> None:
    text = pruned.summary()
    for part in ("before", "parameters", "MACs", "file", "is an output of the model"):
        assert part in text
    assert "16x3x3x3" not in text
    assert "16x3x3x3" in pruned.summary(layers=True)


def test_the_report_is_one_page(pruned: Pruned, tmp_path: Path) -> None:
    path = pruned.report(tmp_path / "x.html")
    assert path == tmp_path / "x.html"
    assert "The network keeps 32 % of its parameters" in path.read_text().replace("\u00a0", " ")
    with pytest.raises(ConfigError, match=r"x\.pdf: a report is a page; expected a name that ends in \.html$"):
        pruned.report(tmp_path / "x.pdf")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_leaves_the_model_before_behind_and_still_prints(pruned: Pruned, copied: Any) -> None:
    other = copied(pruned)
    assert repr(other) == repr(pruned)
    with pytest.raises(ConfigError, match=r"^the model before is not with this result, which was copied; expected"):
        other.summary()


def test_fields_as_a_dict_mean_what_the_class_means() -> None:
    wanted = sapwood.prune(model(), X, target=Target(sparsity=0.5), limits=Limits(round_to=4))
    found = sapwood.prune(model(), X, target={"sparsity": 0.5}, limits={"round_to": 4})
    assert found.plan == wanted.plan
    with pytest.raises(ConfigError, match=r"^Target has no 'macz'; expected of sparsity, params, macs, latency"):
        sapwood.prune(model(), X, target={"macz": 0.5})
    with pytest.raises(
        ConfigError, match=r"^target is a float; expected what to reach, as sapwood.Target\(sparsity=0.5\)"
    ):
        sapwood.prune(model(), X, target=0.5)  # type: ignore[arg-type]


def test_a_loaded_model_brings_its_inputs() -> None:
    bundle = sapwood.load_model("builtin:digits")
    assert sapwood.prune(bundle, target={"sparsity": 0.2}).verification.passed
    assert sapwood.compact(bundle).verification.passed
    with pytest.raises(ConfigError, match=r"^example_inputs is None; expected a tensor"):
        sapwood.prune(model(), target={"sparsity": 0.2})


class Nested(nn.Module):
    """Returns tensors in dicts in lists in dicts, beside what is none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3), nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        h = self.first(x).relu()
        return {"maps": [self.left(h), {"deep": (self.right(h),)}], "count": 3}


def test_of_nested_outputs_it_is_told_how_far_they_moved() -> None:
    torch.manual_seed(0)
    net = Nested().eval()
    pruned = sapwood.prune(net, torch.randn(1, 3, 8, 8), target=Target(sparsity=0.5))
    assert pruned.verification.distance_from_dense is not None
    assert pruned.verification.distance_from_dense > 0.0
    assert pruned.model(X)["maps"][1]["deep"][0].shape == net(X)["maps"][1]["deep"][0].shape
