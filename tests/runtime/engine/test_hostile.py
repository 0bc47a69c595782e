"""Networks that somebody else's program wrote: nothing in them is executed, and parts that disagree are refused.

The digest of each is right, so that what is looked at is the network itself.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, treespec_dumps

from sapwood.errors import EngineError
from sapwood.runtime import compile as compile_model
from sapwood.runtime import load
from sapwood.runtime.engine import saved
from sapwood.runtime.engine.operators import NAMES, _check_leaf, check_call, operator
from support.forging import Change, forged, node, refused, resized

pytestmark = pytest.mark.usefixtures("engine")


class Everything(nn.Module):
    """A node of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.more = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> dict[str, Any]:
        x = self.conv(x).relu()
        summed = self.more(x) * x.sigmoid()
        halves = torch.cat([summed[:, 4:], F.interpolate(self.pool(summed)[:, :4], scale_factor=2)], 1)
        out = F.softplus(F.interpolate(halves, scale_factor=2.0, mode="bilinear"))
        return {"a": [halves, out], "b": (out.sum((2, 3)), 7, None)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    compiled = compile_model(Everything().eval(), torch.randn(1, 3, 8, 10), threads=1, tune=False)
    return compiled.save(tmp_path_factory.mktemp("hostile") / "saved")


def call(content: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in content["nodes"] if one.get("op", "").startswith(f"aten.{name}."))
    return found


def test_what_was_written_is_read(written: Path, tmp_path: Path) -> None:
    """The harness itself changes nothing."""
    picture = torch.randn(1, 3, 8, 10)
    one, other = load(written, threads=1), load(forged(written, tmp_path / "f", lambda _: None), threads=1)
    assert torch.equal(one(picture)["a"][1], other(picture)["a"][1])
    kinds = {
        one["node"] for one in json.loads(json.loads((written / saved.NETWORK_NAME).read_text())["content"])["nodes"]
    }
    assert len(kinds) == 9  # all that there are


# --- executes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_no_module_that_a_file_names_is_imported(
    version: int, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "executed"
    (tmp_path / "harmless_marker.py").write_text(
        f"import pathlib; pathlib.Path({str(marker)!r}).touch()\nclass Form: ..."
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = [1, {"type": "harmless_marker.Form", "context": "null", "children_spec": []}]
    named = [1, {
        "type": "collections.namedtuple",
        "context": json.dumps({"class_module": "harmless_marker", "class_name": "Form"}),
        "children_spec": [],
    }]  # fmt: skip
    for number, form in enumerate((json.dumps(spec), json.dumps(named), {"harmless_marker.Form": []})):
        refused(
            written,
            tmp_path / str(number),
            lambda content, form=form: content.update(form=form),
            "form|the JSON object must be str",
            version,
        )
    assert not marker.exists()
    assert "harmless_marker" not in sys.modules


@pytest.mark.parametrize("name", [
    "aten.from_file.default", "aten.set_.source_Tensor", "aten.resize_.default", "aten._reshape_alias.default",
    "aten.rand_like.default", "aten.bernoulli.default", "aten.normal_.default", "aten.record_stream.default",
    "aten.add.out", "aten.relu.nothing", "aten.__class__.__name__", "prims.add.default", "aten.add", "aten", "", None,
    5,
    "aten.nothing.default", "profiler._record_function_enter.default", "aten.save.default", "aten.empty.memory_format",
])  # fmt: skip
def test_operators_that_no_file_may_name(name: Any, written: Path, tmp_path: Path) -> None:
    refused(
        written, tmp_path / "f", lambda content: call(content, "softplus").update(op=name),
        "is no operation on tensors that a saved network may name|changes other tensors than its first",
    )  # fmt: skip


def test_no_operator_of_the_list_takes_a_path() -> None:
    """Text is taken where PyTorch has names for ways to compute, and those are listed."""
    seen = set()
    for name in sorted(NAMES):
        packet = getattr(torch.ops.aten, name)
        for overload in packet.overloads():
            try:
                op = operator(f"aten.{name}.{overload}")
            except EngineError:
                continue
            seen.add(name)
            kinds = [str(one.type) for one in op._schema.arguments]
            assert not any(kind in text for kind in ("Storage", "Stream", "Any") for text in kinds), op
            for one, kind in zip(op._schema.arguments, kinds, strict=True):
                if "str" in kind:
                    with pytest.raises(EngineError, match="is given 'a/path'"):
                        _check_leaf(op, name, one.name, "a/path")
    assert seen == NAMES


@pytest.mark.parametrize(("argument", "message"), [
    ("/etc/passwd", "is given '/etc/passwd' as beta; expected tensors, numbers and types on the cpu"),
    ({"device": "cuda"}, "expected cpu"),
    ({"torch": "load"}, "'load'; expected float32"),
    ({"torch": "quint8"}, "'quint8'; expected float32"),
    ({"generator": 1}, "expected a tensor, a number or a type"),
    ({"items": {}}, "expected a tensor, a number or a type"),
])  # fmt: skip
def test_arguments_that_no_file_may_give(argument: Any, message: str, written: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        one = call(content, "softplus")
        one["args"] = [one["args"][0], argument]

    refused(written, tmp_path / "f", change, message)


# --- parts that disagree -------------------------------------------------------------------------------------------


def fewer_sums(content: dict[str, Any]) -> None:
    out = call(content, "sum")["out"]
    next(row for row in content["sizes"] if row[0] == out)[1] = 4
    next(row for row in content["outputs"] if row[0] == out)[1] = [1, 4]


DISAGREEING: list[tuple[Change, str]] = [
    (lambda content: content["inputs"][0].__setitem__(1, 4), "node 0 .*: a map of .* that is an input of shape"),
    (lambda content: content["inputs"].append([3]), "1 of 2 inputs are read|types of"),
    (lambda content: content.update(inputs=[]), "input 0 of 0; expected them in order|types of 0"),
    (lambda content: node(content, "Input").update(index=1), "input 1 of 1; expected them in order"),
    (lambda content: content.update(dtypes=["uint8"]), "a map that is an input of another type; expected float32"),
    (lambda content: content.update(dtypes=["Tensor"]), "KeyError: 'Tensor'"),
    (lambda content: content.update(dtypes=[]), "0 types of 1 inputs"),
    (lambda content: node(content, "Conv", 1).update(out=node(content, "Conv")["out"]), "is made twice"),
    (lambda content: content["nodes"].append(content["nodes"][1]), "is made twice"),
    (lambda content: node(content, "Conv").update(inputs=[10**6]), "made of what comes later"),
    (lambda content: node(content, "Conv").update(inputs=[]), "it is made of 0 values; expected 1 or 2"),
    (lambda content: node(content, "Pool").update(inputs=[]), "it is made of 0 values; expected 1"),
    (lambda content: node(content, "Conv").update(label=5), "node 1: 5; expected a text"),
    (lambda content: node(content, "Conv").update(node="Convolution"), "a 'Convolution'; expected Input, Conv"),
    (lambda content: node(content, "Conv").update(more=1), "a Conv with"),
    (lambda content: node(content, "Conv").pop("spec"), "a Conv with"),
    (lambda content: node(content, "Conv")["spec"].update(groups=3), "node 1 .*'conv'.*: it does not fit|in 3 groups"),
    (lambda content: node(content, "Conv")["spec"].update(groups=0), "0; expected a whole number from 1"),
    (
        lambda content: node(content, "Conv")["spec"]["geometry"].update(stride=[0, 1]),
        "0; expected a whole number from 1",
    ),
    (lambda content: node(content, "Conv")["spec"]["geometry"].update(padding=[-1, 1]), "-1; expected a whole number"),
    (lambda content: node(content, "Conv")["spec"]["geometry"].update(padding=[9, 1]), "it does not fit its maps"),
    (lambda content: node(content, "Conv")["spec"]["geometry"].update(dilation=[2**31, 1]), "expected a whole number"),
    (
        lambda content: node(content, "Conv")["spec"].update(bias="none"),
        "an array 'none' that is not among the weights",
    ),
    (lambda content: node(content, "Conv")["activation"].update(name="exec"), "an activation 'exec'; expected linear"),
    (lambda content: node(content, "Conv")["activation"].update(slope=float("nan")), "a slope of nan; expected 0 to 1"),
    (
        lambda content: node(content, "Pool")["geometry"].update(kernel=[2**31 - 1, 2]),
        "the engine refuses a program: .*kernel, step and",
    ),
    (lambda content: node(content, "Pool")["geometry"].update(stride=[7, 7]), "it does not fit its maps"),
    (lambda content: node(content, "Pool")["geometry"].update(padding=[2, 2]), "expected less padding"),
    (lambda content: node(content, "Pool").update(kind="add"), "'add'; expected max or average"),
    (lambda content: node(content, "Pool").update(all_places=1), "1; expected true or false"),
    (lambda content: resized(content, "Pool", [8, 8, 10]), "it does not fit its maps"),
    (lambda content: resized(content, "Pool", [8, 4, 0]), "0; expected a whole number from 1"),
    (lambda content: resized(content, "Pool", [8, 4, 2**31]), "2147483648; expected a whole number from 1"),
    (lambda content: resized(content, "Pool", [8, 4, True]), "True; expected a whole number from 1"),
    (lambda content: resized(content, "Pool", [8, 4, 5.0]), "5.0; expected a whole number from 1"),
    (lambda content: resized(content, "Input", [3, 8, 11]), "a map of .* that is an input of shape"),
    (lambda content: node(content, "Upsample").update(factors=[3, 2]), "it does not fit its maps"),
    (lambda content: node(content, "Combine").update(kind="max"), "'max'; expected add or mul"),
    (lambda content: node(content, "Combine").update(inputs=[node(content, "Input")["out"]] * 2), "it does not fit"),
    (lambda content: resized(content, "Pointwise", [4, 8, 10]), "it does not fit its maps"),
    (lambda content: node(content, "Concat").update(inputs=[]), "it is not made of maps"),
    (
        lambda content: node(content, "Concat")["inputs"].append(node(content, "Conv")["out"]),
        "it does not fit its maps",
    ),
    (lambda content: node(content, "Channels").update(first=5), "it does not fit its maps"),
    (lambda content: node(content, "Channels").update(first=-1), "-1; expected a whole number"),
    (lambda content: content["sizes"].append(content["sizes"][0]), "two sizes of value"),
    (lambda content: content["sizes"].clear(), "has no size|not made of maps|is no map"),
    (lambda content: content["outputs"].append([10**6, [1]]), "2 constants for|an output is never made"),
    (lambda content: content["outputs"][0].__setitem__(0, 10**6), "an output is never made"),
    (lambda content: content["outputs"][0].__setitem__(1, [1, 7]), r"an output of shape \(1, 7\) that is a map of"),
    (lambda content: content["outputs"][2].__setitem__(1, [1, 99]), r"an output of shape \(1, 99\) that is a map of"),
    (lambda content: content.update(constants=[]), "3 outputs and 0 constants for 5 places"),
    (lambda content: content["constants"][0].__setitem__(0, 99), "a constant that is returned in none of 5 places"),
    (lambda content: content["constants"][0].__setitem__(1, {"a": 1}), "is returned; expected a number or a text"),
    (lambda content: content.update(form={"list": [None]}), "3 outputs and 2 constants for 1 places"),
    (lambda content: content.update(form={"tuple": None}), "None in a form of outputs; expected a list"),
    (lambda content: content.update(form={"dict": [["a", None], ["a", None]]}), "or there twice"),
    (lambda content: content.update(form="[1, null]"), "no kind with its parts"),
    (lambda content: content.pop("form"), "KeyError: 'form'"),
    (lambda content: content.pop("nodes"), "KeyError: 'nodes'"),
    (lambda content: content.update(nodes={}), "{}; expected a list"),
    (lambda content: content["nodes"].__setitem__(0, None), "node 0: is damaged"),
    (lambda content: call(content, "softplus").update(outs=[]), "what it makes is not what it is named by"),
    (
        lambda content: call(content, "softplus").update(outs=[call(content, "softplus")["out"], 10**6]),
        "returns 1 tensors",
    ),
    (lambda content: call(content, "softplus").update(inputs=[]), r"it reads \[.*\]; expected \[\]"),
    (lambda content: call(content, "softplus").update(args=[]), r"it reads \[\]; expected"),
    (lambda content: call(content, "softplus")["args"].append("text"), "is given 'text'"),
    (lambda content: call(content, "softplus")["kwargs"].update(items={"none": 1}), "softplus.* takes .*'none'"),
    (lambda content: call(content, "softplus")["args"][0].update(shape=[1, 1]), "RuntimeError|is read as"),
    (lambda content: call(content, "upsample_bilinear2d").update(op="aten.relu.default"), "takes .*; given are"),
    (fewer_sums, "it returns .* of torch.float32; expected a map of"),
    (lambda content: resized(content, "Outside", [8, 8, 10]), r"a map of \(8, 8, 10\) is read as"),
]


@pytest.mark.parametrize(("change", "message"), DISAGREEING, ids=[str(number) for number in range(len(DISAGREEING))])
def test_parts_that_disagree_are_refused(change: Change, message: str, written: Path, tmp_path: Path) -> None:
    refused(written, tmp_path / "f", change, message)


def scaled(content: dict[str, Any], factor: float) -> None:
    one = call(content, "upsample_bilinear2d")
    one["args"] = [factor if isinstance(arg, float) else arg for arg in one["args"]]
    one["args"] = [[factor] * 2 if isinstance(arg, list) and isinstance(arg[0], float) else arg for arg in one["args"]]


@pytest.mark.parametrize("factor", [1e-30, 1e30, -1.0, 3.5])
def test_scales_that_are_not_those_of_the_sizes(factor: float, written: Path, tmp_path: Path) -> None:
    """PyTorch computes places in memory from them."""
    refused(
        written,
        tmp_path / "f",
        lambda content: scaled(content, factor),
        "scales .*; expected the sizes' own|expected a map",
    )


@pytest.mark.parametrize(("op", "args", "message"), [
    ("aten._fft_r2c.default", [[99], 0, True], r"dimensions \[99\] of a tensor that has 4"),
    ("aten._fft_r2c.default", [[-1], 0, True], r"dimensions \[-1\] of a tensor that has 4"),
    ("aten._fft_r2c.default", [[3], 7, True], "normalization 7; expected 0, 1 or 2"),
    ("aten.native_group_norm.default", [None, None, 1, 8, 10**6, 2, 1e-5], r"sizes \(1, 8, 1000000\) of a tensor"),
    ("aten.native_group_norm.default", [None, None, 1, 8, 320, 3, 1e-5], "3 groups of 8 channels; expected a divisor"),
])  # fmt: skip
def test_what_pytorch_trusts_is_checked(op: str, args: list[Any], message: str, written: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        one = call(content, "softplus")
        one.update(op=op, args=[one["args"][0], *args])

    refused(written, tmp_path / "f", change, message)


def test_statistics_have_a_number_for_each_channel() -> None:
    few, inputs = torch.empty(2), torch.empty(1, 8, 4, 4)
    op = torch.ops.aten.native_batch_norm.default
    with pytest.raises(EngineError, match=r"running_mean of shape \(2,\); expected \(8,\)"):
        check_call(op, (inputs, None, None, few, few, False, 0.1, 1e-5), {})


# --- memory --------------------------------------------------------------------------------------------------------


def test_a_small_file_that_asks_for_much_memory_is_refused_before_it_gets_any(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wide(content: dict[str, Any]) -> None:
        """One map of 4.4 GB."""
        content.update(
            nodes=[content["nodes"][0], {**node(content, "Pointwise"), "inputs": [0], "out": 1}],
            inputs=[[3, 20000, 20000]], sizes=[[0, 3, 20000, 20000], [1, 3, 20000, 20000]],
            outputs=[[1, [1, 3, 20000, 20000]]], form=None, constants=[],
        )  # fmt: skip

    monkeypatch.setenv("SAPWOOD_MAX_NETWORK_BYTES", str(1 << 28))
    refused(
        written, tmp_path / "map", wide, r"asks for 4,800,000,000 bytes .*SAPWOOD_MAX_NETWORK_BYTES raises the limit"
    )

    def padded(content: dict[str, Any]) -> None:
        """Small maps, and much zero around one of them."""
        node(content, "Conv")["spec"]["geometry"].update(padding=[10**6, 1], dilation=[10**6, 1])

    refused(written, tmp_path / "padding", padded, r"asks for [\d,]+ bytes of the parameters, or of the maps")

    def heavy(content: dict[str, Any]) -> None:
        node(content, "Conv")["spec"]["weight"] = {"shape": [2**20, 2**10, 3, 3], "mask": "0", "values": "1"}

    refused(written, tmp_path / "weight", heavy, r"asks for 38,654,705,664 bytes of the parameters")

    def repeated(content: dict[str, Any]) -> None:
        call(content, "softplus").update(
            op="aten.repeat.default", args=[call(content, "softplus")["args"][0], [1, 1, 10**4, 10**4]]
        )

    refused(written, tmp_path / "call", repeated, r"asks for [\d,]+ bytes|expected a map")


def test_many_nodes_are_refused(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPWOOD_MAX_SECTIONS", "5")
    refused(written, tmp_path / "f", lambda _: None, r"asks for \d+ sections .*; expected at most 5")


def test_a_limit_is_of_files_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPWOOD_MAX_NETWORK_BYTES", "10")
    monkeypatch.setenv("SAPWOOD_MAX_SECTIONS", "1")
    assert compile_model(nn.ReLU(), torch.zeros(1, 2, 4, 4), threads=1)(torch.ones(1, 2, 4, 4)).sum() == 32


def test_long_chains_are_not_quadratic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Concatenations inside of each other: what each stands in is looked up once."""
    from sapwood.runtime.engine import nodes
    from sapwood.runtime.engine.planning import _ProgramPlanner

    asked = []

    class Counting(dict):  # type: ignore[type-arg]
        def __getitem__(self, key: Any) -> Any:
            asked.append(key)
            return super().__getitem__(key)

    count = 300
    chain: list[nodes.Node] = [nodes.Input(0, (), "", 0), nodes.Pointwise(1, (0,), "", nodes.Activation("silu"))]
    sizes = {0: (1, 4, 4), 1: (1, 4, 4)}
    for number in range(2, count):
        chain.append(nodes.Concat(number, (number - 1,), ""))
        sizes[number] = (1, 4, 4)
    planner = _ProgramPlanner(nodes.Network(chain, sizes, [(count - 1, (1, 1, 4, 4))]))
    planner._homes = Counting(planner._find_homes())
    assert [planner._root(value) for value in range(1, count)] == [(count - 1, 0)] * (count - 1)
    assert len(asked) < 4 * count


# --- earlier files -------------------------------------------------------------------------------------------------


def earlier(content: dict[str, Any], form: Any) -> None:
    del content["dtypes"]
    content["form"] = treespec_dumps(tree_flatten(form)[1])


@pytest.mark.parametrize("form", [
    {"a": [1, 2], "b": (3, 7, None)}, OrderedDict(a=[1, 2], b=(3, 7, None)), [1, (2, 3, 4, 5)],
])  # fmt: skip
def test_files_of_version_1_are_read(form: Any, written: Path, tmp_path: Path) -> None:
    loaded = load(forged(written, tmp_path / "f", lambda content: earlier(content, form), 1), threads=1, tune=False)
    picture = torch.randn(1, 3, 8, 10)
    found, wanted = loaded(picture), load(written, threads=1, tune=False)(picture)
    assert type(found) is type(form)
    assert tree_flatten(found)[1] == tree_flatten(form)[1]
    leaves = zip(tree_flatten(found)[0], tree_flatten(wanted)[0], strict=True)
    assert all(torch.equal(one, other) if isinstance(one, Tensor) else one == other for one, other in leaves)
    with pytest.raises(EngineError, match=r"input 0 is of torch.uint8; compiled for torch.float32"):
        loaded(torch.zeros(1, 3, 8, 10, dtype=torch.uint8))


def test_forms_of_version_1_that_name_classes_say_what_to_do(written: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        del content["dtypes"]
        content["form"] = '[1, {"type": "collections.deque", "context": "null", "children_spec": []}]'

    refused(written, tmp_path / "f", change, "'collections.deque', which no file may name; compile the model again", 1)


def test_operators_are_found_by_their_whole_name() -> None:
    assert operator("aten.add_.Tensor") is torch.ops.aten.add_.Tensor
