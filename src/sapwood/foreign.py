"""What a file is that cannot be read as what was expected: told by its first bytes, with what to do about it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

_READ = 512
_TAR_AT = 257
_MOST_HEADER = 100_000_000
"""Bytes of a safetensors header, at most."""

_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"Rar!", "rar"),
)


def foreign(path: str | Path) -> str:
    """What a file is, if it is of a kind that often stands where another file should; empty where nothing is known.

    Args:
        path: Of the file; nothing of it is executed, and nothing is unpacked.

    Examples:
        >>> foreign("no/such/file")
        ''
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_READ)
    except (OSError, ValueError):
        return ""
    for found in _KINDS:
        said = found(head)
        if said:
            return said
    return _archive(path) if head.startswith(b"PK\x03\x04") else ""


def stands_for_another(head: bytes) -> str:
    """What a file is that was brought in the place of another one, by its first bytes; empty of all others.

    Examples:
        >>> stands_for_another(b"<!DOCTYPE html><html>")[:13], stands_for_another(b"[net]")
        ('is a web page', '')
    """
    return _pointer(head) or _web_page(head)


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as safetensors do: how long the header is, and JSON."""
    return len(head) > 9 and 1 < int.from_bytes(head[:8], "little") < _MOST_HEADER and head[8:9] == b"{"


def _nothing(head: bytes) -> str:
    return "" if head else "is empty"


def _pointer(head: bytes) -> str:
    if not head.startswith(b"version https://git-lfs.github.com/"):
        return ""
    return "is a pointer of Git LFS and not the file itself, which `git lfs pull` brings"


def _web_page(head: bytes) -> str:
    begins = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not begins.startswith((b"<!doctype html", b"<html")):
        return ""
    return "is a web page and not the file itself: its address is another one, or asks for a login"


def _of_a_runtime(head: bytes) -> str:
    if head.startswith(b"GGUF"):
        return "is a GGUF file of llama.cpp, which no network of PyTorch is built from"
    if head.startswith(b"\x89HDF\r\n"):
        return "is an HDF5 file, as Keras writes it"
    if head[4:8] == b"TFL3":
        return "is a file for LiteRT (TFLite), made of another network"
    onnx = head[:1] == b"\x08" and len(head) > 2 and head[1] < 32 and head[2:3] in (b"\x12", b"\x3a", b"\x1a")
    return "looks like an ONNX file, made of another network" if onnx else ""


def _packed(head: bytes) -> str:
    how = next((name for begins, name in _PACKED if head.startswith(begins)), None)
    if how is None and head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        how = "tar"
    return "" if how is None else f"is an archive ({how}): unpack it first"


_KINDS: tuple[Callable[[bytes], str], ...] = (_nothing, _pointer, _web_page, _of_a_runtime, _packed)


def _archive(path: str | Path) -> str:
    """What a zip archive is; empty for what ``torch.save`` writes, and for a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return ""
    if "constants.pkl" in names:
        return (
            "is TorchScript, whose code cannot follow smaller widths: save the module before torch.jit.script or trace"
        )
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return "is a program of torch.export: save the module before torch.export"
    arrays = bool(names) and all(name.endswith(".npy") for name in names)  # NumPy's .npz
    return "" if arrays or "data.pkl" in names else "is an archive (zip): unpack it first"
