"""Files that stand where another should are named by what they are, whoever reads them."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from sapwood.errors import CfgError, DataError, WeightsError
from sapwood.foreign import foreign, is_safetensors
from sapwood.models import load_model
from sapwood.pickled import read_pickled
from sapwood.reading import read_bytes, read_json, read_safetensors, read_text, read_yaml

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5613764\n"
CONTENTS = {
    b"": "is empty",
    POINTER: r"is a pointer of Git LFS and not the file itself, which `git lfs pull` brings",
    b"\n<!DOCTYPE html><html>Not found</html>": "is a web page and not the file itself",
    b"GGUF\x03\x00\x00\x00" + b"\0" * 64: r"is a GGUF file of llama\.cpp",
    b"\x89HDF\r\n\x1a\n" + b"\0" * 64: "is an HDF5 file, as Keras writes it",
    b"\x1c\0\0\0TFL3" + b"\0" * 64: "is a file for LiteRT",
    b"\x08\x07\x12\x07pytorch": "looks like an ONNX file, made of another network",
    b"\x1f\x8b\x08\0" + b"\0" * 64: r"is an archive \(gzip\): unpack it first",
}


@pytest.mark.parametrize("content", CONTENTS, ids=CONTENTS.values())
def test_whoever_reads_it_says_what_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    for reader in (read_json, read_safetensors, read_pickled):
        with pytest.raises(DataError, match=rf"a\.bin: {CONTENTS[content]}.*; expected weights"):
            reader(path, "weights", DataError)


@pytest.mark.parametrize("reader", [read_bytes, read_text, read_yaml], ids=lambda reader: reader.__name__)
def test_what_was_brought_in_the_place_of_a_text_is_named(reader: Any, tmp_path: Path) -> None:
    for content, said in {POINTER: "a pointer of Git LFS", b"<html>": "a web page"}.items():
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(DataError, match=rf"a\.txt: is {said} and not the file itself.*; expected labels"):
            reader(tmp_path / "a.txt", "labels", DataError)


def test_networks_of_darknet_that_are_pointers(tmp_path: Path) -> None:
    for name in ("net.cfg", "net.weights"):
        (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(CfgError, match=r"net\.cfg: is a pointer of Git LFS"):
        load_model(tmp_path / "net.cfg")
    with pytest.raises(WeightsError, match=r"net\.weights: is a pointer of Git LFS"):
        load_model("builtin:digits", weights=tmp_path / "net.weights")


def test_archives_are_told_apart(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("script", "export", "saved", "zip", "tar", "cut")}
    with zipfile.ZipFile(paths["script"], "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"net/{name}", "")
    torch.save({"a": torch.ones(1)}, paths["saved"])
    with zipfile.ZipFile(paths["export"], "w") as archive:
        archive.writestr("net/archive_format", "pt2")
    with zipfile.ZipFile(paths["zip"], "w") as archive:
        archive.writestr("net/model.safetensors", "")
    with tarfile.open(paths["tar"], "w") as packed:
        packed.add(paths["zip"])
    paths["cut"].write_bytes(paths["saved"].read_bytes()[:100])
    found = {name: foreign(path).split(":")[0] for name, path in paths.items()}
    assert found == {
        "script": "is TorchScript, whose code cannot follow smaller widths",
        "export": "is a program of torch.export",
        "saved": "",
        "zip": "is an archive (zip)",
        "tar": "is an archive (tar)",
        "cut": "",
    }


def test_what_is_as_it_should_be_is_of_no_other_kind(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "a.yaml").write_text("a: 1")
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    assert [foreign(path) for path in sorted(tmp_path.iterdir())] == ["", "", ""]
    assert is_safetensors((tmp_path / "a.safetensors").read_bytes())
    assert not is_safetensors(b"PK\x03\x04 and more")
    assert read_yaml(tmp_path / "a.yaml", "options", DataError).value == {"a": 1}
