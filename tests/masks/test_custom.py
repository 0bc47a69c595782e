from __future__ import annotations

import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sapwood.errors import MaskError
from sapwood.masks import MaskCase, MaskRecord, apply_masks_, read_masks


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2, bias=False))


MASKS = {"0.weight": torch.tensor([[1, 0, 1], [0, 0, 1]]), "2.weight": torch.tensor([[1, 1], [0, 1]])}


def write(path: Path, masks: dict[str, Tensor]) -> str:
    if path.suffix == ".npz":
        np.savez(path, **{name: mask.numpy() for name, mask in masks.items()})  # type: ignore[arg-type]
    else:
        save_file(masks, path)
    return str(path)


def apply_file(model: nn.Module, file: str) -> MaskRecord:
    return apply_masks_(model, MaskCase("custom_from_mask", layers=("linear",), mask_file=file))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_masks_of_a_file_are_applied(model: nn.Module, tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    file = write(tmp_path / f"masks{suffix}", {name: mask.to(dtype) for name, mask in MASKS.items()})
    before = model[0].weight.detach().clone()
    record = apply_file(model, file)
    assert torch.equal(model[0].weight_mask, MASKS["0.weight"].float())
    assert torch.equal(model[0].weight, before * MASKS["0.weight"])
    assert [parameter.num_masked for parameter in record.parameters] == [3, 1]
    assert record.sparsity == 0.4
    assert record.case.sparsity is None


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            {**MASKS, "0.weights": torch.ones(2, 3)},
            r"masks\.\w+: 1 mask is \(0.weights\) for no selected parameter; expected one for each of the 2 that "
            r"layers and pattern select; nearest: 0.weight, 2.weight",
        ),
        ({**MASKS, "0.bias": torch.ones(2)}, r"1 mask is \(0.bias\) for no selected parameter"),
        (
            {"0.weight": MASKS["0.weight"]},
            r"1 parameter has \(2.weight\) no mask; expected one for each of the 2 that layers and pattern select "
            r"\(a mask of ones removes nothing\)",
        ),
        ({}, r"2 parameters have \(0.weight, 2.weight\) no mask"),
        (
            {**MASKS, "2.weight": torch.ones(4)},
            r"2.weight: the mask's shape is \(4,\); expected \(2, 2\)",
        ),
        (
            {**MASKS, "2.weight": torch.tensor([[1.0, 0.5], [2.0, 0.0]])},
            r"2.weight: 2 values are not 0 or 1 \(the first is 0.5\)",
        ),
        (
            {**MASKS, "2.weight": torch.tensor([[1.0, float("nan")], [1.0, 0.0]])},
            r"1 values are not 0 or 1 \(the first is nan",
        ),
    ],
)
def test_files_that_do_not_fit(
    model: nn.Module, tmp_path: Path, suffix: str, masks: dict[str, Tensor], message: str
) -> None:
    file = write(tmp_path / f"masks{suffix}", masks)
    keys = list(model.state_dict())
    with pytest.raises(MaskError, match=message):
        apply_file(model, file)
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("content", [b"", b"not a file of masks", pickle.dumps({"0.weight": [1]}), b"PK\x03\x04 cut"])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_unreadable_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"masks{suffix}"
    file.write_bytes(content)
    with pytest.raises(MaskError, match=rf"masks\{suffix}: is (damaged.*|empty); expected masks, .safetensors or .npz"):
        read_masks(file)


def test_a_cut_archive_is_unreadable(tmp_path: Path) -> None:
    file = tmp_path / "masks.npz"
    np.savez_compressed(file, mask=np.random.default_rng(0).integers(0, 2, 5000))
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes(100) + whole[300:])
    with pytest.raises(MaskError, match=r"masks.npz: is damaged"):
        read_masks(file)


def test_objects_in_an_archive_are_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "exploded",)  # type: ignore[return-value]

    file = tmp_path / "masks.npz"
    np.savez(file, mask=np.array([Bomb()], dtype=object))
    with pytest.raises(MaskError, match=r"ValueError: Object arrays cannot be loaded"):
        read_masks(file)
    assert not (tmp_path / "exploded").exists()


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"masks.pt: the suffix is '.pt'; expected a .safetensors or .npz file"):
        read_masks(tmp_path / "masks.pt")
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(MaskError, match=r"single.npz: holds a single array without a name"):
        read_masks(tmp_path / "single.npz")
    np.savez(tmp_path / "words.npz", mask=np.array(["keep", "drop"]))
    with pytest.raises(MaskError, match=r"words.npz, mask: the values are <U4; expected bool or numbers"):
        read_masks(tmp_path / "words.npz")


def test_an_archive_says_how_much_it_holds_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "masks.npz"
    np.savez_compressed(file, mask=np.zeros(10**6))
    assert file.stat().st_size < 20_000
    monkeypatch.setenv("SAPWOOD_MAX_NETWORK_BYTES", "100000")
    with pytest.raises(MaskError, match=r"masks\.npz: asks for 8,000,\d+ bytes .*SAPWOOD_MAX_NETWORK_BYTES raises"):
        read_masks(file)


def test_an_array_that_claims_more_than_is_there(tmp_path: Path) -> None:
    file = tmp_path / "masks.npz"
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000000,), }"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mask.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(MaskError, match=r"masks\.npz: .*expected masks, \.safetensors or \.npz, one a parameter"):
        read_masks(file)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_damaged_masks_are_named(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"masks{suffix}"
    masks = {"a.weight": np.eye(4, dtype=np.uint8), "b.weight": np.ones(3, dtype=np.uint8)}
    if suffix == ".npz":
        np.savez_compressed(file, **masks)
    else:
        safetensors.numpy.save_file(masks, file)
    whole, messages = file.read_bytes(), []
    for number in range(200):
        chance = random.Random(number)
        data = bytearray(whole[: chance.randrange(len(whole))] if number % 4 == 0 else whole)
        for _ in range(chance.randrange(1, 5) if data else 0):
            data[chance.randrange(len(data))] = chance.randrange(256)
        file.write_bytes(data)
        try:
            read_masks(file)
        except MaskError as error:
            messages.append(str(error))
    assert len(messages) > 150, "most damage is seen"
    assert all(str(file) in message for message in messages)


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.bfloat16, torch.complex64, torch.bool])
def test_masks_of_odd_types_are_read_or_named(dtype: torch.dtype, tmp_path: Path) -> None:
    file = tmp_path / "masks.safetensors"
    try:
        save_file({"a": torch.tensor([1.0, 0.0]).to(dtype)}, file)
    except KeyError:
        pytest.skip("this release of safetensors cannot write the type")
    message = str(file)
    try:
        assert read_masks(file)["a"].tolist() == [True, False]
    except MaskError as error:
        message = str(error)
    assert str(file) in message


def test_an_entry_of_an_npz_that_is_no_array_is_named(tmp_path: Path) -> None:
    file = tmp_path / "masks.npz"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(MaskError, match=r"masks\.npz, readme\.txt: the values are bytes; expected bool or numbers"):
        read_masks(file)
