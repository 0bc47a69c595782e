"""The public surface: what `import sapwood` promises is there, and costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from torch import nn

import sapwood
import sapwood.goals
import sapwood.pipeline
from sapwood.compaction import Compacted
from sapwood.pipeline import Pruned


@pytest.mark.parametrize("name", sapwood.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(sapwood, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'sapwood' has no attribute 'nothing'"):
        _ = sapwood.nothing


@pytest.mark.parametrize("name", ["Calibration", "Deployment", "Limits", "Target"])
def test_what_prune_takes_stands_at_the_top_and_where_it_was(name: str) -> None:
    assert getattr(sapwood, name) is getattr(sapwood.pipeline, name) is getattr(sapwood.goals, name)


@pytest.mark.parametrize("part", sapwood.PARTS)
def test_every_public_part_is_there_and_documented(part: str) -> None:
    assert getattr(sapwood, part).__doc__
    assert part in dir(sapwood)


def test_parts_load_on_first_use() -> None:
    code = (
        "import sys, sapwood; before = 'sapwood.runtime' in sys.modules; sapwood.runtime.compile; "
        "print(before, 'sapwood.runtime' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["False", "True"]


def test_every_public_name_has_a_home() -> None:
    assert set(sapwood.__all__) == set(sapwood._HOMES)


def test_pruned_and_compacted_name_what_stayed_alike() -> None:
    shared = {"model", "plan", "verification", "unpruned"}
    for kind in (Pruned, Compacted):
        assert shared <= {field.name for field in fields(kind)}


def test_what_compacted_called_it_before_works_with_a_warning() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[0] = 0
        model[0].bias[0] = 0
    compacted = sapwood.compact(model, torch.randn(1, 2), ignore={"0.weight[0]": "asked for"})
    assert [(entry.tensor, entry.indices, entry.reason) for entry in compacted.unpruned] == [
        ("0.weight", (0,), "asked for")
    ]
    with pytest.warns(DeprecationWarning, match=r"^Compacted\.kept is Compacted\.unpruned now, as of Pruned$"):
        assert compacted.kept is compacted.unpruned


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, sapwood, sapwood.cli.app; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"


@pytest.mark.parametrize(
    "module", ["report", "config", "recipe", "files", "reading", "registry", "layer_times", "task_kinds"]
)
def test_what_never_sees_a_model_does_not_load_torch(module: str) -> None:
    code = f"import sys, sapwood.{module}; print(sorted({{'torch', 'scipy', 'numpy'}} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_pruning_does_not_load_the_compiler() -> None:
    code = (
        "import sys, torch, sapwood; target = sapwood.Target(sparsity=0.5); "
        "sapwood.prune(torch.nn.Linear(2, 2), torch.ones(1, 2), target=target); print('torch._dynamo' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"


def test_knowing_that_there_is_a_task_does_not_load_it() -> None:
    code = "import sys; from sapwood.task_kinds import *; print(is_task('detection'), *TASKS, 'torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "True causal_lm classification detection masked_lm text_classification False"


def test_the_report_loads_its_own_modules_and_few_others() -> None:
    code = "import sys, sapwood.report; print(*(name for name in sys.modules if name.startswith('sapwood.')))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in printed.stdout.split()}
    assert rooms == {"report", "errors", "layer_times"}
