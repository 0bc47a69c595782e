"""``sapwood prune``, ``compact`` and ``inspect`` as a user types them, and every verb on what they leave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sapwood.errors import ConfigError
from sapwood.masks import MaskCase, find_slots
from sapwood.models import load_model
from sapwood.models.darknet import DarknetNetwork, parse_cfg, read_weights
from sapwood.pipeline.masking import SOLVED

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def printed(capsys: Capture) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


@pytest.fixture
def small(run: Run, cfg: Path, tmp_path: Path) -> Path:
    """The small detector, pruned to half its channels."""
    out = tmp_path / "small"
    assert run("prune", cfg, "--sparsity", 0.5, "-o", out) == 0
    return out


def test_prune_tells_what_it_did(run: Run, cfg: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "small"
    assert run("prune", cfg, "--sparsity", 0.5, "-o", out, "--json") == 0
    record = printed(capsys)
    # 3x3 convolutions 3 -> 8 -> 8 with BatchNorm, 1x1 to 14 with a bias; then 3 -> 4 -> 4 -> 14
    assert record["before"]["params"] == 3 * 8 * 9 + 8 * 8 * 9 + 8 * 14 + 14 + 4 * 8
    assert record["after"]["params"] == 3 * 4 * 9 + 4 * 4 * 9 + 4 * 14 + 14 + 4 * 4
    assert record["before"]["macs"] == 3 * 8 * 9 * 32 * 32 + (8 * 8 * 9 + 8 * 14) * 8 * 8
    assert record["after"]["macs"] == 3 * 4 * 9 * 32 * 32 + (4 * 4 * 9 + 4 * 14) * 8 * 8
    assert record["after"]["file_bytes"] < record["before"]["file_bytes"]
    first = record["layers"][0]
    assert (first["name"], first["before"]["shape"], first["after"]["shape"]) == (
        "layers.0.conv", [8, 3, 3, 3], [4, 3, 3, 3]
    )  # fmt: skip
    assert record["verification"]["passed"]
    assert {"tensor": "layers.2.conv.weight", "dim": 0, "reason": "is an output of the model"} in record["unpruned"]
    assert sorted(path.name for path in out.iterdir()) == [
        "model.cfg", "model.safetensors", "model.weights", "plan.json", "report.html", "report.json"
    ]  # fmt: skip
    saved = json.loads((out / "plan.json").read_text())
    assert saved["record"]["prune"]["options"]["sparsity"] == 0.5
    assert saved["record"]["prune"]["after"] == record["after"]


def test_a_darknet_network_comes_out_as_files_too(run: Run, small: Path) -> None:
    network = DarknetNetwork(parse_cfg(small / "model.cfg")).eval()
    read_weights(small / "model.weights", network)
    saved = load_model(str(small)).model
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(x)[0], saved(x)[0])


def test_every_verb_takes_a_pruned_directory(
    run: Run, small: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    capsys.readouterr()
    assert run("eval", small, "--data", data, "--json") == 0
    assert printed(capsys)["num_images"] == 4
    assert run("detect", small, data / "images" / "val" / "0.png", "-o", tmp_path / "found") == 0
    assert run("mask", small, "--sparsity", 0.5, "-o", tmp_path / "masked") == 0
    assert run("inspect", small) == 0
    cases = tmp_path / "cases.yaml"
    cases.write_text("- {method: l1_unstructured, scope: global, layers: [conv], sparsity: 0.5}\n")
    compared = ("--cases", cases, "-o", tmp_path / "compared", "--rounds", 3)
    assert run("compare", small, "--data", data, *compared) == 0
    trained = ("--epochs", 1, "--batch-size", 2, "-o", tmp_path / "trained")
    assert run("train", small, "--data", data, *trained) == 0
    assert len(load_model(str(tmp_path / "trained" / "model")).source.plans) == 1
    assert run("prune", tmp_path / "masked", "--sparsity", 0.5, "-o", tmp_path / "smaller") == 0
    smaller = load_model(str(tmp_path / "smaller"))
    assert len(smaller.source.plans) == 2
    assert smaller.model.layers[0].conv.out_channels == 2  # type: ignore[union-attr,index]


def test_widths_keep_to_what_was_asked(run: Run, cfg: Path, capsys: Capture) -> None:
    assert run("prune", cfg, "--sparsity", 0.9, "--minimum", 3, "--ignore", "layers.0.conv.weight[0]", "--json") == 0
    shapes = {row["name"]: row["after"]["shape"] for row in printed(capsys)["layers"]}
    assert shapes["layers.0.conv"] == [8, 3, 3, 3]
    assert shapes["layers.1.conv"] == [3, 8, 3, 3]
    assert run("prune", cfg, "--sparsity", 0.7, "--round-to", 4, "--ignore", "layers.0", "--json") == 0
    record = printed(capsys)
    assert {row["name"]: row["after"]["shape"] for row in record["layers"]}["layers.1.conv"] == [4, 8, 3, 3]
    assert "ignored, as asked: layers.0" in {entry["reason"] for entry in record["unpruned"]}


def test_the_tables_can_be_read(run: Run, cfg: Path, capsys: Capture) -> None:
    assert run("prune", cfg, "--sparsity", 0.5, "--layers") == 0
    out = capsys.readouterr().out
    for part in ("parameters", "MACs", "file", "proven", "8x3x3x3", "4x3x3x3", "is an output of the model"):
        assert part in out
    assert run("inspect", cfg) == 0
    out = capsys.readouterr().out
    for part in ("layers.0.bn", "channel groups", "layers.1.conv.weight[0]", "is an output of the model"):
        assert part in out


def test_inspect_lists_layers_groups_and_reasons(run: Run, cfg: Path, capsys: Capture) -> None:
    assert run("inspect", cfg, "--json") == 0
    record = printed(capsys)
    assert record["macs"] == sum(row["macs"] for row in record["layers"])
    assert record["params"] == sum(row["num_params"] for row in record["layers"])
    (group,) = (group for group in record["groups"] if group["name"] == "layers.0.conv.weight[0]")
    assert group["channels"] == 8
    assert "layers.1.conv.weight[1]" in group["members"]
    assert {"tensor": "layers.2.conv.bias", "dim": 0, "reason": "is an output of the model"} in record["unpruned"]


def test_a_module_of_ones_own_takes_the_same_road(run: Run, own_model: Path, capsys: Capture) -> None:
    assert run("prune", "ownnet:factory", "--sparsity", 0.5, "-o", "small") == 0
    assert sorted(path.name for path in Path("small").iterdir()) == [
        "model.safetensors", "plan.json", "report.html", "report.json"
    ]  # fmt: skip
    capsys.readouterr()
    assert run("eval", "small", "--data", "shades", "--json") == 0
    assert printed(capsys)["num_images"] == 8
    assert load_model("small").model[0].weight.shape == (4, 3, 3, 3)  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune", "CFG", "--sparsity", "1.0"], "sparsity 1.0; expected a number in [0, 1)"),
        (["prune", "CFG", "--sparsity", "nan"], "sparsity nan; expected a number in [0, 1)"),
        (["prune", "CFG"], "got no goal; expected exactly one of --sparsity, --params, --macs, --latency"),
        (["prune", "CFG", "--sparsity", "0.5", "--round-to", "0"], "--round-to"),
        (["prune", "CFG", "--sparsity", "0.5", "--at-most"], "--at-most is of --latency; the goal is --sparsity 0.5"),
        (["prune", "CFG", "--macs", "0.5", "--tolerance", "0.1"], "--tolerance is of --latency; the goal is --macs"),
        (["prune", "CFG", "--latency", "0.5", "--runtime", "torch", "--tolerance", "2"], "tolerance 2.0; expected a"),
        (
            ["prune", "CFG", "--latency", "0.5,10ms"],
            "latency '0.5,10ms'; expected the fraction kept, a number in (0, 1], or",
        ),
        (["prune", "CFG", "--latency", "10ms", "--macs", "0.5"], "got --macs 0.5 and --latency 10ms; expected exactly"),
        (["prune", "CFG", "--sparsity", "0.5", "--ignore", "conv9"], "--ignore 'conv9' names nothing; expected a"),
        (["prune", "nothing.cfg", "--sparsity", "0.5"], "nothing.cfg"),
        (["prune", "ownnet:bare", "--sparsity", "0.5"], "ownnet:bare has no example inputs; expected a factory that"),
        (["inspect", "ownnet:bare"], "ownnet:bare has no example inputs"),
        (["inspect", "no-such-model"], "names no model; expected one of"),
    ],
)
@pytest.mark.usefixtures("own_model")
def test_bad_input_is_named_and_exits_with_2(
    arguments: list[str], message: str, run: Run, cfg: Path, capsys: Capture
) -> None:
    assert run(*(str(cfg) if argument == "CFG" else argument for argument in arguments)) == 2
    assert message in capsys.readouterr().err


def test_a_result_that_is_not_proven_exits_with_1(
    run: Run, cfg: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("sapwood.removal.proof.PROOF_TOLERANCE", -1.0)
    assert run("prune", cfg, "--sparsity", 0.5) == 1
    assert "the compact model differs from the masked one" in capsys.readouterr().err


def test_compact_finishes_what_mask_began(run: Run, cfg: Path, tmp_path: Path, capsys: Capture) -> None:
    masked, small = tmp_path / "masked", tmp_path / "small"
    assert run("mask", cfg, "--method", "ln_structured", "--sparsity", 0.5, "-o", masked) == 0
    capsys.readouterr()
    assert run("compact", masked, "-o", small, "--json") == 0
    record = printed(capsys)
    assert record["verification"]["passed"]
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted, found = load_model(str(masked)).model(x)[0], load_model(str(small)).model(x)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert run("compact", masked, "--inexact", "-o", small) == 0
    assert load_model(str(small)).model.layers[0].conv.out_channels == 4  # type: ignore[union-attr,index]
    assert (small / "model.weights").exists()


def test_compact_keeps_what_is_ignored(run: Run, cfg: Path, tmp_path: Path, capsys: Capture) -> None:
    masked = tmp_path / "masked"
    assert run("mask", cfg, "--method", "ln_structured", "--sparsity", 0.5, "-o", masked) == 0
    capsys.readouterr()
    assert run("compact", masked, "--inexact", "--ignore", "layers.0.conv.weight[0]", "--json") == 0
    shapes = {row["name"]: row["after"]["shape"] for row in printed(capsys)["layers"]}
    assert shapes["layers.0.conv"] == [8, 3, 3, 3]


def test_what_no_cfg_can_say_is_held(run: Run, detector_text: str, tmp_path: Path, capsys: Capture) -> None:
    cfg, out = tmp_path / "halves.cfg", tmp_path / "small"
    cfg.write_text(detector_text)
    ignored = ("--ignore", "layers.2.conv.weight[1]", "--ignore", "layers.4.conv.weight[1]")
    assert run("prune", cfg, "--sparsity", 0.5, *ignored, "-o", out, "--json") == 0
    record = printed(capsys)
    network = DarknetNetwork(parse_cfg(out / "model.cfg"))
    assert network.layers[0].conv.out_channels == 8  # half of it is read, and that half was to stay
    assert any("could not be written in a .cfg otherwise" in entry["reason"] for entry in record["unpruned"])


def widths_of(record: dict[str, Any]) -> list[int]:
    return [row["after"]["shape"][0] for row in record["layers"] if row["name"].endswith("conv")]


@pytest.mark.parametrize("allocator", [None, "global", "uniform", "knapsack"])
@pytest.mark.parametrize("kind", ["macs", "params"])
def test_a_share_of_work_or_parameters(kind: str, allocator: str | None, run: Run, cfg: Path, capsys: Capture) -> None:
    chosen = () if allocator is None else ("--allocator", allocator)
    assert run("prune", cfg, f"--{kind}", 0.5, *chosen, "--json") == 0
    record = printed(capsys)
    assert record["after"][kind] <= 0.5 * record["before"][kind]
    assert record["verification"]["passed"]
    assert record["options"][kind] == 0.5


def test_a_route_by_work_needs_no_second_try(run: Run, detector_text: str, tmp_path: Path, capsys: Capture) -> None:
    cfg = tmp_path / "halves.cfg"
    cfg.write_text(detector_text)
    assert run("prune", cfg, "--macs", 0.5, "-o", tmp_path / "small", "--json") == 0
    record = printed(capsys)
    assert record["after"]["macs"] <= 0.5 * record["before"]["macs"]
    assert not any("could not be written" in entry["reason"] for entry in record["unpruned"])
    assert DarknetNetwork(parse_cfg(tmp_path / "small" / "model.cfg")).layers[0].conv.out_channels < 8


def test_criteria_that_look_at_pictures(run: Run, cfg: Path, data: Path, capsys: Capture) -> None:
    given = ("--macs", 0.5, "--criterion", "taylor", "--data", data, "--num-pictures", 2)
    assert run("prune", cfg, *given, "--json") == 0
    record = printed(capsys)
    assert record["after"]["macs"] <= 0.5 * record["before"]["macs"]
    assert run("prune", cfg, *given, "--labels", "own", "--sensitivity", "divergence", "--json") == 0
    assert {row["group"] for row in printed(capsys)["sensitivity"]["rows"]} == {
        "layers.0.conv.weight[0]",
        "layers.1.conv.weight[0]",
    }


@pytest.mark.parametrize("how", ["reconstruct", "distill"])
def test_recovery_without_labels(  # noqa: PLR0917
    how: str, run: Run, cfg: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    given = ("--macs", 0.6, "--criterion", "obs", "--sensitivity", "divergence", "--data", data, "--labels", "own")
    recovered = ("--recover", how, "--recover-steps", 4, "-o", tmp_path / how)
    assert run("prune", cfg, *given, *recovered, "--json") == 0
    record = printed(capsys)
    assert record["recovery"]["method"] == how
    assert {layer["layer"] for layer in record["recovery"]["layers"]} <= {f"layers.{n}.conv" for n in range(1, 3)}
    assert all(layer["error_after"] <= layer["error_before"] for layer in record["recovery"]["layers"])
    assert bool(record["recovery"]["checks"]) == (how == "distill")
    assert 'id="recovery"' in (tmp_path / how / "report.html").read_text()
    saved = load_model(str(tmp_path / how))
    again = load_model(str(tmp_path / how / "model.cfg"), weights=tmp_path / how / "model.weights").model
    picture = torch.rand(1, 3, *saved.task.input_size)
    for one, other in zip(saved.model(picture), again(picture), strict=True):
        torch.testing.assert_close(one, other)
    assert run("prune", cfg, *given, "--recover", how, "--recover-steps", 4) == 0
    assert "pictures without labels" in capsys.readouterr().out


def test_mirror_images_are_for_distilled_classifiers(run: Run, cfg: Path, data: Path, capsys: Capture) -> None:
    given = ("prune", cfg, "--macs", 0.6, "--data", data, "--recover-mirrored")
    assert run(*given, "--recover", "reconstruct") == 2
    assert "expected --recover distill, got reconstruct" in capsys.readouterr().err
    assert run(*given, "--recover", "distill") == 2
    assert "mirrored: answers to mirror images are of classifiers of pictures" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["batchnorm", "reconstruct"])
def test_recovery_from_a_folder_of_pictures(  # noqa: PLR0917
    how: str, run: Run, cfg: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    """No annotation anywhere near; criteria that need none take it, too."""
    folder = tmp_path / "snapshots"
    folder.mkdir()
    for picture in (data / "images" / "train").iterdir():
        shutil.copy(picture, folder)
    given = ("prune", cfg, "--macs", 0.6, "--criterion", "taylor", "--data", folder, "--recover", how, "--json")
    assert run(*given, "--labels", "own") == 0
    record = printed(capsys)
    assert record["recovery"]["method"] == how
    assert record["recovery"]["num_pictures"] == 4
    assert bool(record["recovery"]["norms"]) == (how == "batchnorm")
    assert run(*given, "--labels", "data") == 2
    assert "no data set recognised" in capsys.readouterr().err


def test_masked_weights_take_over(run: Run, cfg: Path, data: Path, tmp_path: Path, capsys: Capture) -> None:
    given = ("mask", cfg, "--method", "scored", "--sparsity", 0.6, "--budget", "lamp", "--data", data)
    how = ("--criterion", "obs", "--labels", "own", "--reselect", "--recover", "distill", "--recover-steps", 3)
    assert run(*given, *how, "-o", tmp_path / "masked", "--json") == 0
    record = printed(capsys)
    assert record["recovery"]["method"] == "distill"
    assert record["masked"]["sparsity"] == record["after_remove"]["sparsity"]
    masked = load_model(str(tmp_path / "masked")).model
    slots = [slot for slot in find_slots(masked) if slot.mask is not None]
    assert len(slots) == 3
    kept, total = sum(float(slot.mask.sum()) for slot in slots), sum(slot.mask.numel() for slot in slots)  # type: ignore[union-attr]
    assert kept / total == pytest.approx(0.4, abs=1.0 / total)
    assert run(*given, *how) == 0
    assert "pictures without labels" in capsys.readouterr().out
    assert run("mask", cfg, "--recover", "reconstruct") == 2
    assert "looks at pictures (labels are not needed); expected --data" in capsys.readouterr().err
    assert run(*given, "--reselect", "--recover", "batchnorm") == 2
    assert "expected --method scored and --recover reconstruct" in capsys.readouterr().err


def test_masks_that_layers_are_solved_under_need_no_method(
    run: Run, cfg: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    """What was left open is what serves recovery; what is said holds, and without recovery nothing changes."""
    given = ("mask", cfg, "--sparsity", 0.6, "--json", "--data", data)

    def case_of(*how: object) -> tuple[str, str]:
        assert run(*given, *how) == 0
        case = printed(capsys)["case"]
        return case["method"], case["budget"]

    solved = ("--recover", "reconstruct")
    assert case_of(*solved, "-o", tmp_path / "plain") == ("scored", SOLVED[1])
    said = ("--method", "scored", "--budget", SOLVED[1], "--reselect")
    assert case_of(*solved, *said, "-o", tmp_path / "said") == ("scored", SOLVED[1])
    assert case_of(*solved, "--no-reselect", "-o", tmp_path / "given") == ("scored", SOLVED[1])
    windows = (*given[:2], "--blocks", "2:4", *given[4:])
    assert run(*windows, *solved, "-o", tmp_path / "windows") == 0
    assert printed(capsys)["case"]["budget"] == "uniform", "as many of each window stay: nothing is shared"
    plain, same, other = (
        {slot.name: slot.mask for slot in find_slots(load_model(str(tmp_path / name)).model) if slot.mask is not None}
        for name in ("plain", "said", "given")
    )
    assert all(torch.equal(mask, same[name]) for name, mask in plain.items())
    assert any(not torch.equal(mask, other[name]) for name, mask in plain.items())
    assert case_of(*solved, "--method", "l1_unstructured") == ("l1_unstructured", "uniform")
    assert case_of(*solved, "--scope", "global") == ("l1_unstructured", "uniform")
    assert case_of("--recover", "batchnorm") == ("l1_unstructured", "uniform")


def test_a_latency_of_zeros_needs_no_method(
    run: Run, cfg: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: object, case: MaskCase, **__: object) -> None:
        raise ConfigError(f"asked for {case.method}")

    monkeypatch.setattr("sapwood.pipeline.mask_", stop, raising=False)
    assert run("mask", cfg, "--latency", 0.5) == 2
    assert "asked for scored" in capsys.readouterr().err
    assert run("mask", cfg, "--latency", 0.5, "--method", "l1_unstructured") == 2
    assert "asked for l1_unstructured" in capsys.readouterr().err
    assert run("mask", cfg, "--latency", 0.5, "--scope", "global") == 2
    assert "scope" in capsys.readouterr().err


def test_bounds_and_equal_layers(run: Run, cfg: Path, capsys: Capture) -> None:
    assert run("prune", cfg, "--macs", 0.7, "--bounds", "layers.0.conv=0.75:0.75", "--json") == 0
    assert widths_of(printed(capsys))[0] == 6
    assert run("prune", cfg, "--macs", 0.6, "--equal", "layers.0.conv, layers.1.conv", "--json") == 0
    first, second, _ = widths_of(printed(capsys))
    assert first == second < 8


GOALS = "expected exactly one of --sparsity, --params, --macs, --latency"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--macs", "0.5", "--params", "0.5"], f"got --params 0.5 and --macs 0.5; {GOALS}"),
        ([], f"got no goal; {GOALS}"),
        (["--macs", "0"], "macs 0.0; expected the fraction kept, a number in (0, 1]"),
        (["--macs", "0.5", "--criterion", "taylor"], "expected data to collect that on (--data"),
        (["--macs", "0.5", "--criterion", "best"], "unknown criterion 'best'; expected one of: "),
        (["--macs", "0.5", "--allocator", "best"], "unknown allocator 'best'; expected one of: "),
        (["--latency", "0.5", "--runtime", "best"], "unknown runtime 'best'; expected one of: "),
        (["--macs", "0.5", "--bounds", "layers.0"], "--bounds 'layers.0'; expected GLOB=LOW:HIGH, as layers.3=0.5:1"),
        (["--macs", "0.5", "--bounds", "layers.0=1"], "--bounds 'layers.0=1'; expected GLOB=LOW:HIGH"),
        (["--macs", "0.5", "--bounds", "layers.0=1:0"], "bounds of 'layers.0': got (1.0, 0.0); expected two fractions"),
        (["--macs", "0.5", "--bounds", "conv9=0.5:1"], "bounds 'conv9' names no channels that can go"),
        (["--macs", "0.5", "--bounds", "=0.5:1"], "--bounds '=0.5:1'; expected GLOB=LOW:HIGH"),
        (["--macs", "0.5", "--equal", "layers.0"], "--equal 'layers.0'; expected two or more layers with commas"),
        (["--macs", "0.5", "--sensitivity", "loss"], "expected --data"),
        (["--macs", "0.5", "--recover", "distill"], "--recover distill looks at pictures (labels are not needed)"),
    ],
)
def test_bad_goals_and_options_exit_with_2(
    arguments: list[str], message: str, run: Run, cfg: Path, capsys: Capture
) -> None:
    assert run("prune", cfg, *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_goal_that_cannot_be_reached_exits_with_1(run: Run, cfg: Path, capsys: Capture) -> None:
    assert run("prune", cfg, "--macs", 0.001) == 1
    assert "no allowed widths cost so little" in " ".join(capsys.readouterr().err.split())


def test_blocks_are_listed_and_go_whole(
    run: Run, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory = tmp_path / "resnet_of_ten.py"
    factory.write_text(
        "import torch, torchvision\n\n\ndef make():\n    torch.manual_seed(0)\n"
        "    return torchvision.models.resnet18(num_classes=10).eval(), torch.randn(1, 3, 64, 64)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert run("inspect", "resnet_of_ten:make", "--blocks", "--json") == 0
    blocks = printed(capsys)["blocks"]
    assert [block["name"] for block in blocks] == ["layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"]
    assert blocks[0]["macs"] == 2 * 64 * 64 * 9 * 16 * 16
    out = tmp_path / "small"
    assert run("prune", "resnet_of_ten:make", "--remove-blocks", "layer4.*,layer1.0", "-o", out, "--json") == 0
    record = printed(capsys)
    assert record["removed_blocks"] == ["layer1.0", "layer4.1"]
    assert record["before"]["params"] - record["after"]["params"] == 2 * 9 * (64**2 + 512**2) + 4 * (64 + 512)
    assert "removed" in (out / "plan.json").read_text()
    assert run("prune", "resnet_of_ten:make", "--remove-blocks", 9) == 2
    assert "5 residual blocks can go; expected at most as many" in capsys.readouterr().err


RESIDUAL = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(8, 24), nn.Linear(24, 8)

    def forward(self, x):
        return x + self.down(self.up(x).relu())


def make():
    torch.manual_seed(0)
    model = nn.Sequential(*(Block() for _ in range(3)), nn.Linear(8, 3)).eval()
    model[1].down.weight.data *= 0.01
    return model, torch.randn(4, 8)
"""


def test_the_goal_says_which_blocks_go(
    run: Run, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "residual_net.py").write_text(RESIDUAL)
    monkeypatch.syspath_prepend(tmp_path)
    assert run("inspect", "residual_net:make", "--blocks", "--json") == 0
    changes = {block["name"]: block["change"] for block in printed(capsys)["blocks"]}
    assert min(changes, key=lambda name: changes[name]) == "1"
    for asked in ("auto", "only"):
        out = tmp_path / asked
        words = ("--remove-blocks", asked, "--macs", 0.5, "-o", out)
        assert run("prune", "residual_net:make", *words, "--json") == 0
        record = printed(capsys)
        assert "1" in record["removed_blocks"]
        assert record["after"]["macs"] <= 0.5 * record["before"]["macs"]
        assert {row["name"] for row in record["sensitivity"]["blocks"]} == {"0", "1", "2"}
        assert ("channels" in record) is (asked == "auto")
        assert run("report", out) == 0
        capsys.readouterr()
    assert run("prune", "residual_net:make", "--remove-blocks", "auto") == 2
    assert "got no goal; expected exactly one of --sparsity" in " ".join(capsys.readouterr().err.split())
    assert run("prune", "residual_net:make", "--remove-blocks", "only", "--macs", 0.01) == 1
    assert "without the 3 blocks that can go 96 MACs stay" in " ".join(capsys.readouterr().err.split())
