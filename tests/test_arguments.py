"""What is of a wrong kind is an error of Sapwood's that says what came and what was expected, at every door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sapwood
from sapwood import Target
from sapwood.errors import ConfigError, DataError, MaskError, SapwoodError
from sapwood.masks import MaskCase
from sapwood.pipeline import Deployment, Limits
from sapwood.recovery import distill, reconstruct
from sapwood.runtime import engine
from sapwood.runtime.engine import instruction_set

HALF = Target(sparsity=0.5)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()


X = torch.ones(1, 3, 8, 8)
MODEL = network()
PRUNED = sapwood.prune(MODEL, X, target=HALF)
DETECTOR = sapwood.load_model("builtin:digits-half")
SCORED = MaskCase("scored", 0.5, layers=("conv",))


def pruned(**options: Any) -> Any:
    return sapwood.prune(options.pop("model", MODEL), options.pop("inputs", X), **{"target": HALF, **options})


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "target": (lambda: pruned(target=0.5), r"target is a float; expected what to reach, as sapwood.Target\(spars"),
    "target text": (lambda: pruned(target="half"), "target is a str; expected what to reach"),
    "Target of a text": (lambda: Target(sparsity="0.5"), "sparsity '0.5'; expected a number"),
    "Target of a bool": (lambda: Target(macs=True), "macs True; expected a number"),
    "criterion": (lambda: pruned(criterion=2), "criterion is an int; expected a name, or what make_criterion returns"),
    "criterion class": (lambda: pruned(criterion=sapwood.criteria.CRITERIA["l2"]), "criterion is the class"),
    "calibration": (lambda: pruned(calibration=[X]), "calibration is a list; expected a sapwood.Calibration"),
    "sensitivity": (lambda: pruned(sensitivity={}), "sensitivity is a dict; expected a sapwood.pipeline.Sensitivity"),
    "limits": (lambda: pruned(limits=8), "limits is an int; expected a sapwood.Limits, or None"),
    "deployment": (lambda: pruned(deployment=3), "deployment is an int; expected the name of a runtime, or a"),
    "unknown runtime": (lambda: pruned(deployment="tvm"), "unknown runtime 'tvm'; expected one of"),
    "Deployment": (lambda: Deployment("tvm"), "unknown runtime 'tvm'; expected one of"),
    "bounds": (lambda: Limits(bounds=["0"]), "bounds is a list; expected a dict of layers"),
    "a bound": (lambda: Limits(bounds={"0": 0.5}), "bounds of '0': got 0.5; expected two"),
    "bound of texts": (lambda: Limits(bounds={"0": "01"}), "bounds of '0': got '01'; expected"),
    "equal": (lambda: Limits(equal=("0", "2")), "equal: got '0'; expected a set of layers"),
    "whole_heads": (lambda: Limits(whole_heads="no"), "whole_heads is a str; expected True or False"),
    "state dict": (lambda: pruned(model=MODEL.state_dict()), "model is an OrderedDict; expected a torch.nn.Module$"),
    "class": (lambda: pruned(model=nn.Sequential), "model is the class Sequential; expected a torch.nn.Module$"),
    "result": (lambda: pruned(model=PRUNED), "model is a Pruned; expected a torch.nn.Module; its .model is one"),
    "no inputs": (lambda: pruned(inputs=None), "example_inputs is None; expected a tensor, a tuple of positional or"),
    "array": (lambda: pruned(inputs=X.numpy()), r"example_inputs is a ndarray; expected a tensor \(torch.from_numpy"),
    "size": (lambda: pruned(inputs=X.shape), r"example_inputs is a Size; expected a tensor \(torch.randn makes"),
    "numbers": (lambda: pruned(inputs=(1, 3, 8, 8)), "Sequential does not run on the example inputs: TypeError: Seq"),
    "other size": (lambda: pruned(inputs=X[:, :2]), "does not run on the example inputs: RuntimeError: Given groups=1"),
    "other word": (lambda: pruned(inputs={"y": X}), "does not run on the example inputs: TypeError: .*argument 'y'"),
    "compact model": (lambda: sapwood.compact(None, X), "model is None; expected a torch.nn.Module"),
    "compact size": (
        lambda: sapwood.compact(MODEL, X[:, :2]),
        "Sequential does not run on the example inputs: Runtime",
    ),
    "compact exact": (lambda: sapwood.compact(MODEL, X, exact="no"), "exact is a str; expected True or False"),
    "mask case": (lambda: sapwood.apply_masks_(network(), {}), "case is a dict; expected a sapwood.MaskCase"),
    "masked model": (lambda: sapwood.apply_masks_(None, SCORED), "model is None; expected a torch.nn.Mod"),
    "scores": (lambda: sapwood.apply_masks_(network(), SCORED, scores=[X]), "scores is a list; expected a dict"),
    "kept": (lambda: sapwood.apply_masks_(network(), SCORED, kept=3), "kept is an int; expected a dict"),
    "remove_masks_": (lambda: sapwood.remove_masks_(PRUNED), "model is a Pruned; .*its .model is one"),
    "masking_state": (lambda: sapwood.masking_state(None), "model is None; expected a torch.nn.Module"),
    "count_params": (lambda: sapwood.count_params(PRUNED), "model is a Pruned; .*its .model is one"),
    "count_macs": (lambda: sapwood.count_macs(MODEL, None), "example_inputs is None; expected a tensor"),
    "copy_model": (lambda: sapwood.copy_model(3), "model is an int; expected a torch.nn.Module"),
    "save a module": (lambda: sapwood.save(MODEL, "x"), "pruned is a Sequential; expected what sapwood.prune or"),
    "save where": (lambda: sapwood.save(PRUNED, 3), "directory is an int; expected a path"),
    "save source": (lambda: sapwood.save(PRUNED, "x", MODEL), "source is a Sequential; expected what sapwood.load"),
    "save_model": (lambda: sapwood.save_model(MODEL, "x"), "bundle is a Sequential; expected a model with its task"),
    "load": (lambda: sapwood.load(None), "directory is None; expected a path"),
    "load_saved": (lambda: sapwood.load_saved(3), "directory is an int; expected a path"),
    "load_plans": (lambda: sapwood.load_plans(3), "directory is an int; expected a path"),
    "load_model": (lambda: sapwood.load_model(MODEL), "spec is a Sequential; expected a path"),
    "weights": (lambda: sapwood.load_model("a.cfg", weights=3), "weights is an int; expected a path"),
    "apply_plan": (lambda: sapwood.apply_plan(MODEL, PRUNED), "plan is a Pruned; .*its .plan is one"),
    "onnx path": (lambda: sapwood.export_onnx(MODEL, X, 3), "path is an int; expected a path"),
    "onnx inputs": (lambda: sapwood.export_onnx(MODEL, None, "a.onnx"), "example_inputs is None; expected a te"),
    "torch model": (lambda: sapwood.export_torch(PRUNED, X, "a.pt2"), "model is a Pruned; .*its .model is one"),
    "evaluate": (lambda: sapwood.evaluate(MODEL, None), "bundle is a Sequential; expected a model with its task"),
    "evaluate data": (lambda: sapwood.evaluate(DETECTOR, 3), "dataset is an int; expected a data set, or the folder"),
    "pictures": (lambda: sapwood.detect(DETECTOR, [3]), r"pictures\[0\] is an int; expected a NumPy array"),
    "detect": (lambda: sapwood.detect(MODEL, []), "bundle is a Sequential; expected a model with its task"),
    "trace": (lambda: sapwood.trace(None, X), "model is None; expected a torch.nn.Module"),
    "build_groups": (lambda: sapwood.build_groups(MODEL), "graph is a Sequential; expected what sapwood.trace"),
    "candidates": (lambda: sapwood.measure_latency(MODEL, baseline="a"), "candidates is a Sequential; expected a"),
    "distill": (lambda: distill(None, MODEL, PRUNED.plan, [X], None), "dense is None; expected a torch.nn.Module"),
    "distill plan": (lambda: distill(MODEL, PRUNED.model, PRUNED, [X], None), "plan is a Pruned; expected the plan"),
    "reconstruct": (lambda: reconstruct(MODEL, PRUNED, PRUNED.plan, [X]), "pruned is a Pruned; .*its .model is one"),
    "batches": (lambda: reconstruct(MODEL, PRUNED.model, PRUNED.plan, X), "batches is a Tensor; expected a list of"),
    "carry": (lambda: sapwood.carry_optimizer_(None, MODEL, PRUNED), "optimizer is None; expected that of"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_kind_is_named(name: str) -> None:
    call, message = CALLS[name]
    with pytest.raises(ConfigError, match=f"^{message}" if not message.startswith("does") else message):
        call()


def test_scores_and_counts_of_a_wrong_kind() -> None:
    with pytest.raises(ConfigError, match=r"^0.weight: its scores is an int; expected a tensor"):
        sapwood.apply_masks_(network(), SCORED, scores={"0.weight": 3, "2.weight": 2})
    with pytest.raises(MaskError, match=r"^0.weight: kept is 'a'; expected a number from 1"):
        sapwood.apply_masks_(network(), SCORED, kept={"0.weight": "a", "2.weight": 2})


def test_threads_of_the_engine() -> None:
    instruction_set()  # or it is not built
    with pytest.raises(SapwoodError, match=r"^threads is a str; expected a whole number"):
        engine.compile(MODEL, X, threads="2")


@pytest.mark.parametrize("deployment", ["torch", Deployment("torch", threads=1)])
def test_a_runtime_may_be_named_alone(deployment: Any) -> None:
    assert pruned(deployment=deployment).latency.conditions["runtime"] == "torch"


class Nested(nn.Module):
    """A network whose argument is a dict, or a list."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, batch: Any, scale: float = 1.0) -> torch.Tensor:
        return self.net(batch["x"] if isinstance(batch, dict) else batch[0]) * scale


@pytest.mark.parametrize(
    "inputs",
    [({"x": X},), ([X],), ((X,), 2.0), {"batch": {"x": X}, "scale": 2.0}],
    ids=["dict", "list", "two", "words"],
)
def test_inputs_inside_each_other(inputs: Any, tmp_path: Path) -> None:
    small = sapwood.prune(Nested(), inputs, target=HALF)
    assert small.model.net[0].out_channels == 4
    assert sapwood.compact(Nested(), inputs).verification.passed
    assert sapwood.count_macs(small.model, inputs).total < sapwood.count_macs(Nested(), inputs).total


def test_a_list_of_inputs_is_a_tuple() -> None:
    assert pruned(inputs=[X]).model[0].out_channels == 4


def test_a_data_set_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"^nowhere: no such file or folder; expected a data set"):
        sapwood.evaluate(DETECTOR, "nowhere")
