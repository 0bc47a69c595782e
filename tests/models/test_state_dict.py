"""State dicts from elsewhere: unwrapped, checked, never executed."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from sapwood.errors import WeightsError
from sapwood.models import live_masks
from sapwood.models.state_dict import fitted_state, load_state_, read_state


def model() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_all_common_wrappings_are_read(tmp_path: Path) -> None:
    state = dict(model().state_dict())
    wrapped: dict[str, Any] = {
        "plain": state,
        "lightning": {"state_dict": state, "epoch": 3},
        "data parallel": {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        "compiled": {"model": {f"_orig_mod.{name}": tensor for name, tensor in state.items()}},
        "training": {"model_state_dict": state, "optimizer_state_dict": {}},
    }
    for name, content in wrapped.items():
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        assert equal(read_state(path), state), name
    safetensors.torch.save_file(state, tmp_path / "x.safetensors")
    assert equal(read_state(tmp_path / "x.safetensors"), state)


def test_averages_come_before_the_last_step(tmp_path: Path) -> None:
    last, mean = dict(model().state_dict()), dict(model().state_dict())
    behind = {f"module.{name}": tensor for name, tensor in mean.items()}
    forms: dict[str, Any] = {
        "timm": {"state_dict": last, "state_dict_ema": mean, "args": argparse.Namespace(lr=1.0)},
        "torchvision": {"model": last, "model_ema": {"n_averaged": torch.tensor(3), **behind}, "epoch": 3},
        "RT-DETR": {"model": last, "ema": {"module": mean, "updates": 9}},
    }
    for name, content in forms.items():
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.warns(
            UserWarning, match=r"holds the weights of the last step \(.*\) and averages of them \(.*ema.*"
        ):
            assert equal(read_state(tmp_path / f"{name}.pth"), mean), name


def test_the_only_dict_of_tensors_is_taken(tmp_path: Path) -> None:
    state = dict(model().state_dict())
    torch.save({"generator": state, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}, tmp_path / "a.pth")
    assert equal(read_state(tmp_path / "a.pth"), state)
    torch.save({"student": state, "teacher": state}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match=r"b\.pth: holds a dict with student, teacher that are no tensors"):
        read_state(tmp_path / "b.pth")


def test_prefixes_of_wrappers_come_off_in_any_order(tmp_path: Path) -> None:
    state = dict(model().state_dict())
    for prefix in ("module._orig_mod.", "_orig_mod.module.", "module.module."):
        torch.save({f"{prefix}{name}": tensor for name, tensor in state.items()}, tmp_path / "a.pth")
        assert equal(read_state(tmp_path / "a.pth"), state), prefix


def test_a_module_that_was_saved_whole_gives_its_tensors(tmp_path: Path) -> None:
    whole = model()
    for content in (whole, {"model": whole, "epoch": 3}):
        torch.save(content, tmp_path / "a.pt")
        assert equal(read_state(tmp_path / "a.pt"), dict(whole.state_dict()))
    torch.save(nn.ReLU(), tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"b\.pt: holds an object of torch\.nn\.modules\.activation\.ReLU; expected"):
        read_state(tmp_path / "b.pt")


def test_safetensors_under_another_name_are_read(tmp_path: Path) -> None:
    state = dict(model().state_dict())
    safetensors.torch.save_file(state, tmp_path / "a.bin")
    assert equal(read_state(tmp_path / "a.bin"), state)


def test_a_model_inside_of_what_trained_it_is_found() -> None:
    state = dict(model().state_dict())
    inside = {f"net.{name}": tensor for name, tensor in state.items()}
    assert equal(fitted_state(inside, model(), "x"), state)
    assert equal(fitted_state(state, model(), "x"), state)
    with pytest.warns(UserWarning, match=r"x: loss\.weight: not read, the model has no such tensors"):
        assert equal(fitted_state({**inside, "loss.weight": torch.ones(1)}, model(), "x"), state)
    twice = {**inside, **{f"mean.{name}": tensor for name, tensor in state.items()}}
    with pytest.raises(WeightsError, match=r"x: holds the tensors of the model 2 times, as mean\., net\."):
        fitted_state(twice, model(), "x")
    other = {"net.1.weight": torch.ones(4)}
    assert equal(fitted_state(other, model(), "x"), other)
    with pytest.raises(WeightsError, match=r"expected the 7 tensors of the model, of which it has none"):
        load_state_(model(), other, "x")


def test_published_checkpoints_are_read(data_dir: Path) -> None:
    for name in ("resnet20-12fca82f.th", "resnet56-4bfd9763.th", "resnet56-jpeg.pt"):
        assert read_state(data_dir / "resnet_cifar10" / name)["conv1.weight"].shape == (16, 3, 3, 3)


def test_masks_in_a_state_dict_are_live_afterwards() -> None:
    source, target = model(), model()
    prune.l1_unstructured(source[0], "weight", 0.5)
    load_state_(target, source.state_dict(), "x")
    assert live_masks(target) == ("0.weight",)
    x = torch.randn(1, 3, 5, 5)
    assert torch.equal(target.eval()(x), source.eval()(x))


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["SAPWOOD_TEST_TRAP"],)


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "executed"
    monkeypatch.setenv("SAPWOOD_TEST_TRAP", str(trap))
    torch.save({"state_dict": Harmful()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Harmful()))
    named = r"holds \w+\.mkdir, of which nothing is looked up or executed"
    for name, said in {"a.pth": named, "b.pth": "is a pickle that torch.save did not write.*"}.items():
        with pytest.raises(WeightsError, match=rf"\.pth: {said}; expected tensors by name.* without executing code"):
            read_state(tmp_path / name)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], r"holds a list; expected tensors by name"),
        ({}, r"holds an empty dict; expected tensors by name"),
        ({"epoch": 3, "lr": 0.1}, r"holds a dict with epoch, lr that are no tensors; expected tensors by name"),
    ],
)
def test_other_contents_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "x.pth")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none.pth: no such file; expected tensors by name"):
        read_state(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"is a directory; expected tensors by name"):
        read_state(tmp_path)
    for name in ("x.pth", "x.safetensors"):
        for content in (b"", b"not a model", b"\x80\x02]q\x00.", b"\x80\x02K", b"PK\x03\x04", b"\x80\x02}q\x00(X\xff"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(
                WeightsError, match=rf"{name}: (is damaged|is empty|is a pickle|holds an?).*; expected tensors by name"
            ):
                read_state(tmp_path / name)


def test_states_that_do_not_fit_are_refused() -> None:
    state = dict(model().state_dict())
    lacking = {name: tensor for name, tensor in state.items() if name != "0.bias"}
    with pytest.raises(WeightsError, match=r"x: lacks 0.bias; expected the 7 tensors of the model"):
        load_state_(model(), lacking, "x")
    with pytest.raises(WeightsError, match=r"x: has unknown a, b, c and 1 more; expected the 7"):
        load_state_(model(), {**state, **dict.fromkeys("abcd", torch.zeros(1))}, "x")
    with pytest.raises(WeightsError, match=r"x: 0.bias has shape \(3,\); expected \(4,\)"):
        load_state_(model(), {**state, "0.bias": torch.zeros(3)}, "x")
    with pytest.raises(WeightsError, match=r"x: 0.bias: 1 of 4 values are NaN or infinite"):
        load_state_(model(), {**state, "0.bias": torch.tensor([0, 0, float("nan"), 0])}, "x")
    masked = {**state, "9.weight_orig": torch.zeros(1), "9.weight_mask": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"x: holds a mask for what the model has not: .*9"):
        load_state_(model(), masked, "x")


def test_old_checkpoints_have_no_batch_counters() -> None:
    state = {name: tensor for name, tensor in model().state_dict().items() if not name.endswith("num_batches_tracked")}
    target = model()
    load_state_(target, state, "x")
    assert torch.equal(target[0].weight, state["0.weight"])
